//! One replica on a disk of its own, driven by hand.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{
    Assignment, BrokerNumber, ClusterId, Durability, ErrorCode, Incarnation, LeaderEpoch, Offset,
    PartitionEpoch, PartitionIndex, TopicConfig, TopicDefaults, TopicId, TopicPartition, TopicSpec,
    producers::ProducerTable,
    replica::{Acks, FetchAnswer, FetchOutcome, FetchRequest, LeaderRules, LogTail},
};
use taffrail_log::{Disk, LogConfig, PartitionIdentity, PartitionLog, StdDisk};
use taffrail_record::{BatchBuilder, BatchHeader, Compression, NewRecord, ProducerStamp, stamp};
use tokio::sync::oneshot;

use super::{
    Partition,
    ack::{Outcome, Responder},
    append::{Append, OwnedLog},
    commit::SyncJob,
    replicate::{Assign, Owner, Replicated},
    standing::Standing,
    verify::{Limits, verify},
};
use crate::{
    cluster::asks::Asks, cluster::known::Run, follower::positions::Positions, metrics::Metrics,
    repeats::Repeats,
};

pub(crate) const ME: BrokerNumber = BrokerNumber(1);
pub(crate) const OTHER: BrokerNumber = BrokerNumber(2);
pub(crate) const RUN: Incarnation = Incarnation {
    generation: 1,
    random: 1,
};

pub(crate) struct Replica1 {
    pub(crate) log: OwnedLog,
    pub(crate) positions: Positions,
    stalls: Repeats,
    pub(crate) asks: Asks,
    pub(crate) now_ms: u64,
    _dir: tempfile::TempDir,
}

pub(crate) fn config() -> TopicConfig {
    TopicSpec::default()
        .effective(&TopicDefaults::default())
        .expect("valid")
}

impl Replica1 {
    pub(crate) fn new(durability: Durability) -> Self {
        Self::on(Arc::new(StdDisk::default()), durability)
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let id = TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: PartitionIndex(0),
        };
        let identity = PartitionIdentity {
            cluster: ClusterId::from_bytes([2; 16]),
            topic: id.topic,
            partition: id.partition,
            topic_name: "flights".to_owned(),
        };
        let path = dir.path().join("flights-0");
        let log = PartitionLog::create(disk, &path, &identity, LogConfig::default());
        let log = log.expect("created");
        let metrics = Metrics::default().topic("flights");
        let partition = Partition::new(id, "flights".into(), log.reader(), metrics);
        Self {
            log: OwnedLog::new(Arc::new(partition), log, durability),
            positions: Positions::default(),
            stalls: Repeats::default(),
            asks: Asks::default(),
            now_ms: 1_000,
            _dir: dir,
        }
    }

    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut OwnedLog, &Owner<'_>) -> T) -> T {
        let owner = Owner {
            now_ms: self.now_ms,
            wall_ms: 0,
            positions: &self.positions,
            asks: &self.asks,
            stalls: &self.stalls,
        };
        step(&mut self.log, &owner)
    }

    pub(crate) fn assign(&mut self, replicas: &[BrokerNumber], leader: BrokerNumber, epoch: u32) {
        let assignment = Assignment {
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            leader: Some(leader),
            leader_incarnation: RUN,
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(u64::from(epoch)),
            ..Assignment::default()
        };
        let assign = Assign {
            partition: Arc::clone(&self.log.partition),
            me: ME,
            incarnation: RUN,
            standing: Standing::of(&assignment, &config(), ME, RUN),
            assignment: Some(assignment),
            rules: LeaderRules {
                min_in_sync: replicas.len().min(2),
                lag_ms_max: 10_000,
                retry_ms: 1_000,
            },
        };
        let run = Run {
            broker: OTHER,
            incarnation: RUN,
            is_heard: true,
        };
        self.step(|log, owner| {
            log.assign(assign, owner);
            log.registered(&run, owner);
        });
    }

    /// Queues one record that was accepted under `epoch`.
    pub(crate) fn queue(&mut self, epoch: u32, acks: Acks) -> oneshot::Receiver<Outcome> {
        self.queue_batches(epoch, acks, &batch(ProducerStamp::NONE, 1))
    }

    pub(crate) fn queue_batches(
        &mut self,
        epoch: u32,
        acks: Acks,
        batches: &Bytes,
    ) -> oneshot::Receiver<Outcome> {
        let limits = Limits {
            batch_bytes_max: 1 << 20,
            decompressed_bytes_max: 1 << 20,
        };
        let (responder, outcome) = Responder::once([None, None]);
        self.log.enqueue(Append {
            partition: Arc::clone(&self.log.partition),
            content: verify(batches, limits, LeaderEpoch(epoch)),
            acks,
            responder,
        });
        outcome
    }

    /// Writes what is queued, and gives the sync that it needs.
    pub(crate) fn write(&mut self) -> Option<SyncJob> {
        self.step(|log, owner| {
            log.write(owner);
            log.settle(owner)
        })
    }

    pub(crate) fn write_and_sync(&mut self) {
        if let Some(job) = self.write() {
            let done = job.run(&Metrics::default());
            self.step(|log, owner| log.synced(&done, owner));
        }
    }

    /// The other broker leads, and answers what this replica asked last.
    pub(crate) fn leader_answers(
        &mut self,
        outcome: FetchOutcome,
        batches: &[Bytes],
        high_watermark: u64,
    ) {
        let (leader_epoch, tail) = self.asks_from();
        let answer = FetchAnswer {
            leader_epoch,
            tail,
            log_start: Offset(0),
            high_watermark: Offset(high_watermark),
            outcome,
        };
        self.obey(answer, batches);
    }

    pub(crate) fn obey(&mut self, answer: FetchAnswer, batches: &[Bytes]) {
        self.obey_all(answer, batches, ProducerTable::default());
    }

    /// Begins anew where the leader's log begins.
    pub(crate) fn obey_with(&mut self, answer: FetchAnswer, producers: ProducerTable) {
        self.obey_all(answer, &[], producers);
    }

    fn obey_all(&mut self, answer: FetchAnswer, batches: &[Bytes], producers: ProducerTable) {
        let headers = batches
            .iter()
            .map(|b| BatchHeader::parse(b).expect("a batch"));
        let replicated = Replicated {
            partition: Arc::clone(&self.log.partition),
            answer,
            batches: batches.to_vec(),
            headers: headers.collect(),
            append_time_ms: 5_000,
            producers,
        };
        self.step(|log, owner| log.replicated(&replicated, owner, &mut <_>::default()));
    }

    /// Epoch and tail of what it was last told to ask.
    fn asks_from(&mut self) -> (LeaderEpoch, LogTail) {
        let request = self.position().expect("follows");
        (request.leader_epoch, request.tail)
    }

    /// What its leader was last told.
    pub(crate) fn position(&mut self) -> Option<FetchRequest> {
        self.step(|log, owner| log.tell_position(owner));
        self.positions.take(OTHER).into_values().next().flatten()
    }

    /// The other broker says that it has everything up to `end`.
    pub(crate) fn other_has(&mut self, epoch: u32, end: u64) -> Result<(), ErrorCode> {
        let tail = LogTail {
            last_epoch: (end > 0).then_some(LeaderEpoch(epoch)),
            end: Offset(end),
        };
        self.other_has_tail(epoch, tail)
    }

    /// The same, of a log that others began.
    pub(crate) fn other_has_tail(&mut self, epoch: u32, tail: LogTail) -> Result<(), ErrorCode> {
        let request = FetchRequest {
            broker: OTHER,
            incarnation: RUN,
            leader_epoch: LeaderEpoch(epoch),
            tail,
            durable_end: tail.end,
            delete_horizon: Offset(0),
        };
        self.step(|log, owner| log.fetched(&request, owner).map(drop))
    }
}

/// Where it was stored, as its producer was told.
pub(crate) fn offset(outcome: &mut oneshot::Receiver<Outcome>) -> i64 {
    let outcome = outcome.try_recv().expect("answered");
    outcome.expect("stored").base_offset
}

pub(crate) fn code(outcome: &mut oneshot::Receiver<Outcome>) -> Option<ErrorCode> {
    outcome.try_recv().expect("answered").err().map(|e| e.code)
}

/// One batch of empty records.
pub(crate) fn batch(producer: ProducerStamp, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).with_producer(producer);
    for _ in 0..records {
        builder.push(&NewRecord::default());
    }
    builder.build().expect("not empty")
}

/// A batch of two records as the other broker has it.
pub(crate) fn led(base: u64, epoch: u32) -> Bytes {
    let mut bytes = batch(ProducerStamp::NONE, 2).to_vec();
    stamp(&mut bytes, Offset(base), LeaderEpoch(epoch));
    bytes.into()
}
