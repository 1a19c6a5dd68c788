//! Partitions that are new here: made, entered in the roster, served, in this order. Some at a time, since thousands take a while.

use std::{path::Path, sync::Arc};

use futures::{StreamExt as _, stream};
use taffrail_api::WireError;
use taffrail_core::{ClusterId, Durability, TopicConfig, TopicPartition};
use taffrail_log::{Disk, LogConfig, LogError, PartitionIdentity, PartitionLog};

use super::{
    apply::{Conductor, blocking, log_config, missing},
    view::Topic,
};
use crate::{
    datadir::roster::Roster,
    error::BrokerError,
    partition::{Fault, Partition},
    repeats::Repeats,
};

/// Logs that are created at a time.
const CREATING_MAX: usize = 8;
/// Partitions that are made between two updates: some tenths of a second on a slow disk, and few enough entries of the roster are written anew.
const CREATED_AT_ONCE_MAX: usize = 128;

/// Partitions that are to be created.
#[derive(Debug, Default)]
pub(crate) struct Uncreated {
    /// So many have not been tried since it was looked last.
    left: usize,
    /// The last one that was tried: those that cannot be created hold nothing up.
    last: Option<TopicPartition>,
    /// Those that could not be, for want of room.
    refused: Repeats,
}

impl Uncreated {
    /// So many are missing now.
    pub(super) fn look(&mut self, missing: usize) {
        self.left = missing;
    }

    /// Is there something to be created?
    pub(super) fn are_left(&self) -> bool {
        self.left > 0
    }

    /// The next ones of what is `missing`.
    fn next<T>(&mut self, mut missing: Vec<(TopicPartition, T)>) -> Vec<(TopicPartition, T)> {
        let tried = missing.partition_point(|(id, _)| Some(*id) <= self.last);
        missing.rotate_left(tried);
        self.left = self.left.min(missing.len());
        let now = self.left.min(CREATED_AT_ONCE_MAX);
        self.left -= now;
        missing.truncate(now);
        self.last = missing.last().map(|(id, _)| *id);
        missing
    }
}

/// A new partition that is not served yet.
struct Created {
    partition: Arc<Partition>,
    log: PartitionLog,
    durability: Durability,
}

impl Conductor {
    /// Makes some of the partitions that are missing, and tells the controller. No more: whoever is elected does not wait until all others are made.
    pub(super) async fn create_some(&mut self) {
        if !self.uncreated.are_left() {
            return;
        }
        let known = Arc::clone(&self.known.borrow());
        let (Some(me), Ok(cluster)) = (self.broker.membership.number(), known.cluster()) else {
            return self.uncreated.look(0);
        };
        let next: Vec<(_, Topic)> = self.uncreated.next(missing(&self.broker, me, &known));
        let created: Vec<Created> = stream::iter(next)
            .map(|(id, topic)| self.create(id, cluster, topic.name, topic.config))
            .buffer_unordered(CREATING_MAX)
            .filter_map(async |created| created)
            .collect()
            .await;
        self.adopt(created).await;
        self.tell(me, &known).await;
        self.broker.report_now.notify_one();
    }

    /// Makes the log of a partition that is not there, without serving it.
    async fn create(
        &self,
        id: TopicPartition,
        cluster: ClusterId,
        topic_name: Arc<str>,
        config: TopicConfig,
    ) -> Option<Created> {
        let identity = PartitionIdentity {
            cluster,
            topic: id.topic,
            partition: id.partition,
            topic_name: topic_name.to_string(),
        };
        let (disk, path) = (
            Arc::clone(&self.broker.environment.disk),
            self.dir.partition(id),
        );
        let log_config = log_config(Some(&config));
        let created = blocking(move || make_log(&disk, &path, &identity, &log_config)).await;
        let metrics = self.broker.metrics.topic(&topic_name);
        match created {
            Ok(Ok(log)) => {
                tracing::info!(topic = %topic_name, partition = %id.partition, "created a partition");
                let partition = Partition::new(id, topic_name, log.reader(), metrics);
                if let Some(kept) = self.rebuilds.kept(id) {
                    partition.set_quarantine(kept);
                }
                return Some(Created {
                    partition: Arc::new(partition),
                    log,
                    durability: config.durability,
                });
            }
            Ok(Err(error @ LogError::DiskFull { .. })) => {
                let now_ms = self.broker.uptime_ms();
                if let Some(more) = self.uncreated.refused.happened(now_ms, error.code().name()) {
                    tracing::warn!(topic = %topic_name, partition = %id.partition, %error, more,
                        "cannot create a partition yet; there may be others");
                }
                self.broker.space.report_full();
            }
            Ok(Err(error)) => {
                let partition = Partition::broken(id, topic_name, Fault::of(&error), metrics);
                tracing::error!(partition = %partition.label(), %error, "cannot create a partition");
                self.broker.partitions.insert(Arc::new(partition));
            }
            Err(error) => {
                tracing::error!(topic = %topic_name, partition = %id.partition, %error, "cannot create a partition");
            }
        }
        None
    }

    /// Takes new partitions into service, once the roster has them: no record is taken for one whose loss nobody would notice.
    async fn adopt(&mut self, created: Vec<Created>) {
        let made: Vec<_> = created
            .iter()
            .map(|c| (c.partition.id, Arc::clone(&c.partition.topic_name)))
            .collect();
        if let Err(error) = self.change_roster(move |roster| roster.add(made)).await {
            tracing::error!(%error, "new partitions are not served yet");
            return;
        }
        for Created {
            partition,
            log,
            durability,
        } in created
        {
            self.broker.disk.adopt(&partition, log, durability);
            self.broker.partitions.insert(partition);
        }
    }

    /// In force only once it is durable.
    pub(super) async fn change_roster(
        &mut self,
        change: impl FnOnce(&mut Roster) -> Result<(), BrokerError> + Send + 'static,
    ) -> Result<(), WireError> {
        let mut roster = self.roster.clone();
        self.roster = blocking(move || change(&mut roster).map(|()| roster))
            .await?
            .map_err(|e| WireError::new(e.code(), e.to_string()))?;
        Ok(())
    }
}

/// Makes a log, or opens the one that was made when the roster could not be written. Blocking.
pub(crate) fn make_log(
    disk: &Arc<dyn Disk>,
    path: &Path,
    identity: &PartitionIdentity,
    config: &LogConfig,
) -> Result<PartitionLog, LogError> {
    match PartitionLog::create(Arc::clone(disk), path, identity, config.clone()) {
        Err(LogError::AlreadyExists { .. }) => {
            PartitionLog::open(Arc::clone(disk), path, config.clone()).map(|opened| opened.log)
        }
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    fn id(partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: PartitionIndex(partition),
        }
    }

    fn missing(partitions: impl Iterator<Item = u32>) -> Vec<(TopicPartition, ())> {
        partitions.map(|partition| (id(partition), ())).collect()
    }

    #[test]
    fn all_are_tried_once_also_if_none_can_be_created() {
        let mut uncreated = Uncreated::default();
        uncreated.look(300);
        let mut tried = Vec::new();
        while uncreated.are_left() {
            tried.extend(uncreated.next(missing(0..300)));
        }
        assert_eq!(tried, missing(0..300));
    }

    #[test]
    fn what_cannot_be_created_holds_nothing_up_that_comes_later() {
        let mut uncreated = Uncreated::default();
        uncreated.look(300);
        uncreated.next(missing(0..300));
        // An update, before the others had their turn.
        uncreated.look(300);
        assert_eq!(uncreated.next(missing(0..300))[0].0, id(128));
    }

    #[test]
    fn nothing_is_left_when_others_took_care_of_it() {
        let mut uncreated = Uncreated::default();
        uncreated.look(300);
        uncreated.next(missing(0..0));
        assert!(!uncreated.are_left());
    }
}
