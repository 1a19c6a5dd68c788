//! Producers and consumers, and what an observer sees that no client does.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_api::{WireError, convert, v1};
use taffrail_core::{
    BrokerNumber, ErrorCode, Incarnation, LeaderEpoch, Offset, PartitionEpoch, PartitionFault,
    TopicPartition, replica::Acks,
};

use super::{Output, SimBroker};
use crate::{
    disk::stepped::Blocking,
    partition::{
        ack::{Responder, Room},
        append::{Append, OwnedLog},
        standing::Role,
    },
    rpc::produce::check,
};

/// What a consumer gets.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole batches, from the one that holds the asked offset on.
    pub batches: Vec<Bytes>,
    /// Of the partition.
    pub log_start: Offset,
    /// Of the partition.
    pub high_watermark: Offset,
}

/// A partition, as this broker's metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub partition: TopicPartition,
    /// Of its topic.
    pub topic: Arc<str>,
    /// Who leads it.
    pub leader: Option<BrokerNumber>,
    /// Whose epoch it is.
    pub leader_epoch: LeaderEpoch,
}

/// A replica, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Of a topic that the cluster makes for itself.
    pub is_internal: bool,
    /// It serves as the leader.
    pub is_leading: bool,
    /// The epoch that it is in.
    pub leader_epoch: LeaderEpoch,
    /// Which of the assignments of that epoch it goes by.
    pub partition_epoch: PartitionEpoch,
    /// The first offset there is.
    pub log_start: Offset,
    /// Below it consumers see records.
    pub high_watermark: Offset,
    /// Below it everything is on disk.
    pub durable_end: Offset,
    /// The same, as the log itself has it.
    pub synced_end: Option<Offset>,
    /// The offset of the next record.
    pub log_end: Offset,
    /// Leader epoch of the last batch.
    pub last_epoch: Option<LeaderEpoch>,
    /// What a leader counts of each follower that has asked in its epoch.
    pub counted: Vec<(BrokerNumber, Offset)>,
    /// Why it is offline.
    pub fault: Option<String>,
    /// What that says about its log.
    pub fault_kind: Option<PartitionFault>,
}

impl SimBroker {
    pub(super) fn produce(
        &mut self,
        id: u64,
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        acks: Acks,
        batches: Bytes,
    ) {
        let Some(found) = self.broker.partitions.get(partition) else {
            let error = WireError::new(ErrorCode::UnknownPartition, "it is not here");
            return self.outputs.push(Output::Produced(id, Err(error)));
        };
        let request = v1::ProduceRequest {
            leader_epoch: epoch.map_or(-1, convert::epoch_to_wire),
            batches,
            ..v1::ProduceRequest::default()
        };
        let content = check(&self.broker, &found, &request);
        let responder = if acks == Acks::None {
            let answer = content.as_ref().map(|_| -1).map_err(Clone::clone);
            self.outputs.push(Output::Produced(id, answer));
            Responder::nobody(Room::default())
        } else {
            let (responder, answer) = Responder::once(Room::default());
            self.asked.insert(id, answer);
            responder
        };
        self.broker.disk.append(Append {
            partition: found,
            content,
            acks,
            responder,
        });
    }

    pub(super) fn answer_producers(&mut self) {
        let outputs = &mut self.outputs;
        self.asked.retain(|id, answer| match answer.try_recv() {
            Ok(outcome) => {
                let outcome = outcome.map(|ack| ack.base_offset);
                outputs.push(Output::Produced(*id, outcome));
                false
            }
            Err(_) => true,
        });
    }

    pub(super) fn plan(&mut self, job: Blocking) {
        self.jobs_made += 1;
        self.jobs.insert(self.jobs_made, job);
        self.outputs.push(Output::Job(self.jobs_made));
    }

    /// A consumer asks, without waiting.
    ///
    /// # Errors
    /// As a real one is answered.
    pub fn fetch(
        &self,
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, WireError> {
        let found = self.broker.partitions.get(partition);
        let found = found.ok_or_else(|| WireError::new(ErrorCode::UnknownPartition, "not here"))?;
        found.check_leads(epoch)?;
        let has_some = found.has_records_at(offset)?;
        let (log_start, high_watermark) =
            (found.progress.log_start(), found.progress.high_watermark());
        let batches = if has_some {
            found.read(offset, max_bytes)?.chunks
        } else {
            Vec::new()
        };
        Ok(Fetched {
            batches,
            log_start,
            high_watermark,
        })
    }

    /// `None` before the first registration of the volume.
    pub fn number(&self) -> Option<BrokerNumber> {
        self.broker.membership.number()
    }

    /// Of this run.
    pub fn incarnation(&self) -> Incarnation {
        self.broker.membership.incarnation
    }

    /// Is there a session with a controller that took it in?
    pub fn has_session(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.registered.is_some())
    }

    /// Every partition that this broker has heard of.
    pub fn metadata(&self) -> Vec<Placed> {
        let known = Arc::clone(&self.known.borrow());
        let view = &known.view;
        let placed = view.partitions.iter().filter_map(|(id, assignment)| {
            Some(Placed {
                partition: *id,
                topic: Arc::clone(&view.topics.get(&id.topic)?.name),
                leader: assignment.leader,
                leader_epoch: assignment.leader_epoch,
            })
        });
        placed.collect()
    }

    /// Every replica here.
    pub fn replicas(&self) -> Vec<ReplicaView> {
        let view = |partition: Arc<crate::partition::Partition>| {
            let log = self.disk.log(partition.id);
            let (standing, progress) = (partition.standing(), &partition.progress);
            let fault = partition.fault();
            ReplicaView {
                partition: partition.id,
                is_internal: partition.is_internal(),
                is_leading: standing.role == Role::Leader,
                leader_epoch: standing.leader_epoch,
                partition_epoch: standing.partition_epoch,
                log_start: progress.log_start(),
                high_watermark: progress.high_watermark(),
                durable_end: progress.durable_end(),
                synced_end: log.map(OwnedLog::synced_end),
                log_end: progress.log_end(),
                last_epoch: progress.last_epoch(),
                counted: log.map(OwnedLog::counted).unwrap_or_default(),
                fault_kind: fault.as_ref().map(|fault| fault.kind),
                fault: fault.map(|fault| fault.message),
            }
        };
        self.broker.partitions.all().into_iter().map(view).collect()
    }

    /// What a replica has from `from` to `to`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<Bytes>, WireError> {
        let found = self.broker.partitions.get(partition);
        let found = found.ok_or_else(|| WireError::new(ErrorCode::UnknownPartition, "not here"))?;
        let (mut chunks, mut at) = (Vec::new(), from);
        while at < to {
            let read = found.read_to(at, 64 << 20, to)?.chunks;
            for batch in read.iter().flat_map(taffrail_record::split) {
                let (header, batch) = batch.map_err(|e| WireError::invalid(e.to_string()))?;
                at = header.next_offset();
                chunks.push(batch);
            }
            if read.is_empty() {
                break;
            }
        }
        Ok(chunks)
    }
}
