//! Obeys the controller. An update is durable before anything of it is done.

use std::{collections::HashMap, future::ready, sync::Arc};

use taffrail_api::{WireError, convert, v1};
use taffrail_core::{
    Assignment, BrokerNumber, ControllerStamp, Durability, ErrorCode, PartitionEpoch, TopicConfig,
    TopicPartition, replica::LeaderRules,
};
use taffrail_log::{CompactionConfig, LogConfig, LogError, delete_dir};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    create::Uncreated,
    known::Known,
    rebuild::Rebuilds,
    view::{Topic, topic_id_bytes},
};
use crate::{
    broker::Broker,
    datadir::{DataDir, metadata_file::MetadataFile, roster::Roster},
    partition::{Partition, append::Removal, replicate::Assign, standing::Standing},
    repeats::Repeats,
};

/// What a leader asked of the controller, and what was not answered, is asked again after this.
const ASK_RETRY_MS: u64 = 1_000;
/// Partitions that could not be created, for want of room, are tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// An update, and the session it came by.
#[derive(Debug)]
pub(crate) struct Instruction {
    pub(crate) update: v1::MetadataUpdate,
    /// Confirmations of deletes go here.
    pub(crate) outbox: mpsc::Sender<v1::BrokerMessage>,
    /// Cancelled if the update could not be obeyed: the session ends, and the next one begins with a full update.
    pub(crate) failed: CancellationToken,
}

/// The one owner of what is known.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(crate) broker: Arc<Broker>,
    pub(crate) dir: Arc<DataDir>,
    pub(crate) file: MetadataFile,
    pub(crate) roster: Roster,
    pub(crate) known: watch::Sender<Arc<Known>>,
    pub(crate) told: Told,
    pub(crate) rebuilds: Rebuilds,
    pub(crate) disobeyed: Repeats,
    /// Replicas that could not be deleted, and who waits to hear of them.
    pub(crate) undeleted: Vec<(v1::DeleteOrder, mpsc::Sender<v1::BrokerMessage>)>,
    pub(crate) uncreated: Uncreated,
}

/// What logs and replicas were last told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    configured: HashMap<TopicPartition, (LogConfig, Durability)>,
    /// The assignment too: one of the same version may await other runs, or leave a member out.
    assigned: HashMap<TopicPartition, (Option<Assignment>, Standing, LeaderRules)>,
}

impl Conductor {
    /// Obeys until the broker stops.
    pub(crate) async fn run(mut self, mut instructions: mpsc::Receiver<Instruction>) {
        let mut retry = interval(RETRY_INTERVAL);
        let stopped = self.broker.stopped.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                instruction = instructions.recv() => {
                    let Some(instruction) = instruction else { return };
                    if let Err(error) = self.obey(&instruction).await {
                        let now_ms = self.broker.uptime_ms();
                        if let Some(more) = self.disobeyed.happened(now_ms, &error.to_string()) {
                            tracing::warn!(%error, more, "cannot obey the controller; the session starts again");
                        }
                        instruction.failed.cancel();
                    }
                    self.create_some().await;
                }
                _ = retry.tick() => {
                    let known = Arc::clone(&self.known.borrow());
                    // Before the first update nothing is known, and nothing is missing.
                    if known.cluster().is_ok() {
                        self.take_up(&known).await;
                        self.delete_again(&known).await;
                    }
                }
                () = ready(()), if self.uncreated.are_left() => self.create_some().await,
            }
        }
    }

    async fn obey(&mut self, instruction: &Instruction) -> Result<(), WireError> {
        let update = &instruction.update;
        let known = Arc::clone(&self.known.borrow());
        let stamp = known.check_stamp(update)?;
        let me = self.broker.membership.number().ok_or_else(|| {
            WireError::new(
                ErrorCode::Internal,
                "an update came before the registration",
            )
        })?;
        let mut next = known.after(update, me)?;
        next.cluster()?;
        self.save(&next).await?;
        self.rebuilds.told();
        self.take_up(&next).await;
        if update.full {
            // With every order there is.
            self.undeleted.clear();
        }
        let orders = update.deletes.iter().cloned();
        let orders = orders.map(|order| (order, instruction.outbox.clone()));
        self.delete(orders.collect(), &mut next).await?;
        self.known.send_replace(Arc::new(next));
        self.broker.membership.set_applied(stamp);
        self.broker.membership.set_registered();
        self.broker.report_now.notify_one();
        Ok(())
    }

    async fn save(&self, known: &Known) -> Result<(), WireError> {
        let (file, known) = (self.file.clone(), known.clone());
        blocking(move || file.save(&known))
            .await?
            .map_err(|e| WireError::new(e.code(), e.to_string()))
    }

    /// Makes every partition what the view says: serves nothing of strays, and notes what has to be created.
    async fn take_up(&mut self, known: &Known) {
        let Some(me) = self.broker.membership.number() else {
            return;
        };
        let begin_anew = self.set_unusable_aside(me, known).await;
        self.tell(me, known).await;
        self.broker.disk.registered(known.runs());
        self.uncreated.look(missing(&self.broker, me, known).len());
        if begin_anew > 0 {
            // A member that reports a fault leaves the in-sync set: before it is one again, the controller has to hear that it has none.
            self.broker.report_now.notify_one();
        }
    }

    /// Nobody hears of new epochs before logs have stopped growing under the old ones: a report under an epoch says where the log ended when it began.
    pub(super) async fn tell(&mut self, me: BrokerNumber, known: &Known) {
        let assigns = self.told.tell(&self.broker, me, known);
        if !assigns.is_empty() {
            self.broker.disk.assign(assigns).await;
        }
    }

    async fn delete_again(&mut self, known: &Known) {
        let orders = std::mem::take(&mut self.undeleted);
        if orders.is_empty() {
            return;
        }
        let mut next = known.clone();
        match self.delete(orders, &mut next).await {
            Ok(()) => drop(self.known.send_replace(Arc::new(next))),
            // Those that are gone are ordered again with the next session.
            Err(error) => tracing::warn!(%error, "cannot note what was deleted"),
        }
    }

    /// Deletes what is ordered, notes it durably, and confirms. What cannot be deleted is tried again in a while: nothing else waits for it.
    ///
    /// # Errors
    /// It could not be noted, or an order says nothing.
    async fn delete(
        &mut self,
        orders: Vec<(v1::DeleteOrder, mpsc::Sender<v1::BrokerMessage>)>,
        known: &mut Known,
    ) -> Result<(), WireError> {
        let mut done = Vec::new();
        for (order, outbox) in orders {
            let id = convert::topic_partition(&order.topic_id, order.partition)?;
            if !known.allows_delete(id, PartitionEpoch(order.partition_epoch)) {
                tracing::warn!(%id, ordered = order.partition_epoch, "refused to delete a partition whose assignment is newer than the order");
                continue;
            }
            if let Err(error) = self.delete_replica(id).await {
                let now_ms = self.broker.uptime_ms();
                if let Some(more) = self.disobeyed.happened(now_ms, &error.to_string()) {
                    tracing::warn!(%id, %error, more, "cannot delete a replica; it is tried again in a moment");
                }
                self.undeleted.push((order, outbox));
                continue;
            }
            known.deleted(id);
            let delete_done = v1::DeleteDone {
                topic_id: topic_id_bytes(id.topic),
                partition: id.partition.0,
                partition_epoch: order.partition_epoch,
            };
            done.push((delete_done, outbox));
        }
        if done.is_empty() {
            return Ok(());
        }
        self.save(known).await?;
        for (delete_done, outbox) in done {
            let message = Some(v1::broker_message::Message::DeleteDone(delete_done));
            // The session may be over: the order comes again.
            let _ = outbox.send(v1::BrokerMessage { message }).await;
        }
        Ok(())
    }

    async fn delete_replica(&mut self, id: TopicPartition) -> Result<(), WireError> {
        self.told.forget(id);
        if let Some(partition) = self.broker.partitions.remove(id) {
            partition.set_standing(Standing::stray());
            tracing::info!(partition = %partition.label(), "deleting a partition by order of the controller");
        }
        let failed = |e: LogError| WireError::new(e.code(), e.to_string());
        self.broker
            .disk
            .remove(id, Removal::Delete)
            .await
            .map_err(failed)?;
        // A log that could not be opened has no owner, and its files are still there.
        let (disk, path) = (
            Arc::clone(&self.broker.environment.disk),
            self.dir.partition(id),
        );
        blocking(move || delete_dir(&*disk, &path))
            .await?
            .map_err(failed)?;
        self.change_roster(move |roster| roster.remove(id)).await
    }
}

impl Told {
    /// Configures every log, and says what replicas have to hear.
    pub(crate) fn tell(&mut self, broker: &Broker, me: BrokerNumber, known: &Known) -> Vec<Assign> {
        let partitions = broker.partitions.all();
        for partition in &partitions {
            self.configure(broker, partition, known);
        }
        let assigns = partitions
            .iter()
            .filter_map(|partition| self.assign(broker, partition, me, known));
        assigns.collect()
    }

    fn configure(&mut self, broker: &Broker, partition: &Arc<Partition>, known: &Known) {
        let topic = known.config_of(partition.id);
        let durability = topic.map(|t| t.durability).unwrap_or_default();
        let config = (log_config(topic), durability);
        if self.configured.get(&partition.id) != Some(&config) {
            let (log, durability) = config.clone();
            broker.disk.configure(partition.id, log, durability);
            self.configured.insert(partition.id, config);
        }
    }

    /// What the map makes of a replica, if that is news.
    fn assign(
        &mut self,
        broker: &Broker,
        partition: &Arc<Partition>,
        me: BrokerNumber,
        known: &Known,
    ) -> Option<Assign> {
        let assign = assign_of(broker, partition, me, known);
        let told = (assign.assignment.clone(), assign.standing, assign.rules);
        let is_news = self.assigned.get(&partition.id) != Some(&told);
        is_news.then(|| {
            self.assigned.insert(partition.id, told);
            assign
        })
    }

    /// The replica is to be deleted.
    pub(crate) fn forget(&mut self, id: TopicPartition) {
        self.configured.remove(&id);
        self.assigned.remove(&id);
    }
}

/// Partitions of which this broker should hold a replica and has none.
pub(crate) fn missing(
    broker: &Broker,
    me: BrokerNumber,
    known: &Known,
) -> Vec<(TopicPartition, Topic)> {
    let view = &known.view;
    let mine = view
        .partitions
        .iter()
        .filter(|(_, a)| a.replicas.contains(&me));
    mine.filter(|(id, _)| broker.partitions.get(**id).is_none())
        .filter_map(|(id, _)| Some((*id, view.topics.get(&id.topic)?.clone())))
        .collect()
}

impl Known {
    /// The stamp of an update that may be obeyed.
    ///
    /// # Errors
    /// A later controller was obeyed before.
    pub(crate) fn check_stamp(
        &self,
        update: &v1::MetadataUpdate,
    ) -> Result<ControllerStamp, WireError> {
        let stamp = update
            .stamp
            .ok_or_else(|| WireError::invalid("an update came without the controller's stamp"))?
            .into();
        if stamp < self.view.stamp {
            return Err(WireError::new(
                ErrorCode::StaleController,
                format!(
                    "the controller's stamp {stamp:?} is older than {:?}, seen before",
                    self.view.stamp
                ),
            ));
        }
        Ok(stamp)
    }

    pub(crate) fn config_of(&self, id: TopicPartition) -> Option<&TopicConfig> {
        self.view.topics.get(&id.topic).map(|t| &t.config)
    }
}

/// What the map makes of a replica of broker `me`.
pub(crate) fn assign_of(
    broker: &Broker,
    partition: &Arc<Partition>,
    me: BrokerNumber,
    known: &Known,
) -> Assign {
    let incarnation = broker.membership.incarnation;
    let config = known.config_of(partition.id);
    let assignment = known.view.partitions.get(&partition.id);
    let assignment = assignment.filter(|a| a.replicas.contains(&me)).zip(config);
    let standing = match assignment {
        Some((assignment, config)) => Standing::of(assignment, config, me, incarnation),
        None => Standing::stray(),
    };
    Assign {
        partition: Arc::clone(partition),
        me,
        incarnation,
        assignment: assignment.map(|(assignment, _)| assignment.clone()),
        standing,
        rules: LeaderRules {
            min_in_sync: assignment.map_or(1, |(assignment, config)| {
                assignment.min_in_sync(config.min_in_sync as usize)
            }),
            lag_ms_max: broker.config.replica_lag_ms_max,
            retry_ms: ASK_RETRY_MS,
        },
    }
}

/// What a topic's configuration asks of its logs. Without one, everything is kept.
pub(crate) fn log_config(config: Option<&TopicConfig>) -> LogConfig {
    config.map_or_else(LogConfig::default, |config| LogConfig {
        segment_bytes: config.segment_bytes,
        segment_max_age: config.segment_max_age,
        retention: config.retention,
        retention_bytes: config.retention_bytes_per_partition,
        compaction: config.cleanup.compacts().then_some(CompactionConfig {
            min_lag: config.compaction_min_lag,
            tombstone_retention: config.tombstone_retention,
        }),
        ..LogConfig::default()
    })
}

/// Runs disk work off the reactor.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WireError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| WireError::new(ErrorCode::Internal, format!("disk work did not end: {e}")))
}
