//! Partitions that are new here: made, entered in the roster, served, in this order.

use std::{path::Path, sync::Arc};

use taffrail_api::WireError;
use taffrail_core::{ClusterId, Durability, TopicConfig, TopicPartition};
use taffrail_log::{Disk, LogConfig, LogError, PartitionIdentity, PartitionLog};

use super::apply::{Conductor, blocking, log_config};
use crate::{
    datadir::roster::Roster,
    error::BrokerError,
    partition::{Fault, Partition},
};

/// A new partition that is not served yet.
pub(super) struct Created {
    partition: Arc<Partition>,
    log: PartitionLog,
    durability: Durability,
}

impl Conductor {
    /// Makes the log of a partition that is not there, without serving it.
    pub(super) async fn create(
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
                if let Some(more) = self.uncreated.happened(now_ms, error.code().name()) {
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
    pub(super) async fn adopt(&mut self, created: Vec<Created>) {
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
