//! Partitions that are new here: made, entered in the roster, served, in this order. Some at a time, since thousands take a while.

use std::{path::Path, sync::Arc};

use futures::{StreamExt as _, stream};
use taffrail_api::WireError;
use taffrail_core::{ClusterId, Durability, TopicConfig, TopicPartition, internal::is_internal};
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
/// The same of internal topics, which nobody waits for: a topic that a user makes meanwhile does not wait for them either.
const INTERNAL_AT_ONCE_MAX: usize = CREATING_MAX;

/// When a partition is created: those of internal topics after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_internal: bool,
    id: TopicPartition,
}

/// Partitions that are to be created.
#[derive(Debug, Default)]
pub(crate) struct Uncreated {
    /// So many have not been tried since it was looked last.
    left: usize,
    /// The last one that was tried: those that cannot be created hold nothing up.
    last: Option<Turn>,
    /// Those that could not be, for want of room.
    refused: Repeats,
}

impl Turn {
    fn of(id: TopicPartition, topic: &Topic) -> Self {
        Self {
            is_internal: is_internal(&topic.name),
            id,
        }
    }
}

impl Uncreated {
    /// So many are missing now.
    pub(super) fn look(&mut self, missing: usize) {
        self.left = missing;
        // What users made since does not wait until the internal ones have had their turn.
        self.last.take_if(|turn| turn.is_internal);
    }

    /// Is there something to be created?
    pub(super) fn are_left(&self) -> bool {
        self.left > 0
    }

    /// The next ones of what is `missing`.
    fn next<T>(&mut self, mut missing: Vec<(Turn, T)>) -> Vec<(Turn, T)> {
        missing.sort_by_key(|(turn, _)| *turn);
        let tried = missing.partition_point(|(turn, _)| Some(*turn) <= self.last);
        missing.rotate_left(tried);
        self.left = self.left.min(missing.len());
        let is_internal = missing.first().is_some_and(|(turn, _)| turn.is_internal);
        let max = if is_internal {
            INTERNAL_AT_ONCE_MAX
        } else {
            CREATED_AT_ONCE_MAX
        };
        let alike = missing
            .iter()
            .take_while(|(t, _)| t.is_internal == is_internal);
        let now = self.left.min(max).min(alike.count());
        self.left -= now;
        missing.truncate(now);
        self.last = missing.last().map(|(turn, _)| *turn);
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
        let missing = missing(&self.broker, me, &known).into_iter();
        let missing = missing.map(|(id, topic)| (Turn::of(id, &topic), topic));
        let next = self.uncreated.next(missing.collect());
        let created: Vec<Created> = stream::iter(next)
            .map(|(turn, topic)| self.create(turn.id, cluster, topic.name, topic.config))
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

    fn turn(is_internal: bool, partition: u32) -> (Turn, ()) {
        let id = id(partition);
        (Turn { is_internal, id }, ())
    }

    fn missing(partitions: impl Iterator<Item = u32>) -> Vec<(Turn, ())> {
        partitions.map(|partition| turn(false, partition)).collect()
    }

    #[test]
    fn internal_topics_come_last_and_few_at_a_time() {
        let mut uncreated = Uncreated::default();
        uncreated.look(53);
        let mut left: Vec<_> = (0..50).map(|n| turn(true, n)).collect();
        left.extend((50..53).map(|n| turn(false, n)));
        let mut sizes = Vec::new();
        while uncreated.are_left() {
            let next = uncreated.next(left.clone());
            sizes.push(next.len());
            left.retain(|one| !next.contains(one));
        }
        assert_eq!(sizes, [3, 8, 8, 8, 8, 8, 8, 2]);
        assert_eq!(left, []);
    }

    #[test]
    fn a_users_partition_that_comes_meanwhile_does_not_wait_for_internal_topics() {
        let mut uncreated = Uncreated::default();
        uncreated.look(50);
        let internal = |from| (from..50).map(|n| turn(true, n));
        let first = uncreated.next(internal(0).collect());
        assert_eq!(first.len(), 8);
        // An update.
        uncreated.look(43);
        let users = turn(false, 99);
        let next = uncreated.next(internal(8).chain([users]).collect());
        assert_eq!(next, [users]);
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
        assert_eq!(uncreated.next(missing(0..300))[0], turn(false, 128));
    }

    #[test]
    fn nothing_is_left_when_others_took_care_of_it() {
        let mut uncreated = Uncreated::default();
        uncreated.look(300);
        uncreated.next(missing(0..0));
        assert!(!uncreated.are_left());
    }
}
