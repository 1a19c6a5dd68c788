use taffrail_core::{
    Assignment, BrokerNumber, ClusterId, Incarnation, PartitionEpoch, PartitionIndex, TopicConfig,
    TopicDefaults, TopicId, TopicPartition, TopicSpec,
    replica::{FetchRequest, LeaderRules, LogTail},
};
use taffrail_log::{PartitionIdentity, StdDisk};
use taffrail_record::{BatchBuilder, Compression, NewRecord, ProducerStamp};
use tokio::sync::oneshot;

mod sequences;

use super::*;
use crate::{
    cluster::asks::Asks,
    follower::positions::Positions,
    partition::{
        replicate::Assign,
        standing::Standing,
        verify::{Limits, verify},
    },
};

const ME: BrokerNumber = BrokerNumber(1);
const OTHER: BrokerNumber = BrokerNumber(2);
const RUN: Incarnation = Incarnation {
    generation: 1,
    random: 1,
};

/// One batch of empty records.
fn batch(producer: ProducerStamp, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).with_producer(producer);
    for _ in 0..records {
        builder.push(&NewRecord::default());
    }
    builder.build().expect("not empty")
}

struct Replica1 {
    log: OwnedLog,
    positions: Positions,
    asks: Asks,
    now_ms: u64,
    _dir: tempfile::TempDir,
}

fn config() -> TopicConfig {
    TopicSpec::default()
        .effective(&TopicDefaults::default())
        .expect("valid")
}

impl Replica1 {
    fn new(durability: Durability) -> Self {
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
        let log = PartitionLog::create(
            Arc::new(StdDisk::default()),
            &path,
            &identity,
            LogConfig::default(),
        )
        .expect("created");
        let metrics = crate::metrics::Metrics::default().topic("flights");
        let partition = Partition::new(id, "flights".into(), log.reader(), metrics);
        Self {
            log: OwnedLog::new(Arc::new(partition), log, durability),
            positions: Positions::default(),
            asks: Asks::default(),
            now_ms: 1_000,
            _dir: dir,
        }
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut OwnedLog, &Owner<'_>) -> T) -> T {
        let owner = Owner {
            now_ms: self.now_ms,
            wall_ms: 0,
            positions: &self.positions,
            asks: &self.asks,
        };
        step(&mut self.log, &owner)
    }

    fn assign(&mut self, replicas: &[BrokerNumber], leader: BrokerNumber, epoch: u32) {
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
        self.step(|log, owner| log.assign(assign, owner));
    }

    /// Queues one record that was accepted under `epoch`.
    fn queue(&mut self, epoch: u32, acks: Acks) -> oneshot::Receiver<Outcome> {
        self.queue_batches(epoch, acks, &batch(ProducerStamp::NONE, 1))
    }

    fn queue_batches(
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
    fn write(&mut self) -> Option<crate::partition::commit::SyncJob> {
        self.step(|log, owner| {
            log.write(owner);
            log.settle(owner)
        })
    }

    fn write_and_sync(&mut self) {
        if let Some(job) = self.write() {
            let done = job.run(&crate::metrics::Metrics::default());
            self.step(|log, owner| log.synced(&done, owner));
        }
    }

    /// The other broker says that it has everything up to `end`.
    fn other_has(&mut self, epoch: u32, end: u64) -> Result<(), ErrorCode> {
        let request = FetchRequest {
            broker: OTHER,
            incarnation: RUN,
            leader_epoch: LeaderEpoch(epoch),
            tail: LogTail {
                last_epoch: (end > 0).then_some(LeaderEpoch(epoch)),
                end: Offset(end),
            },
            durable_end: Offset(end),
        };
        self.step(|log, owner| log.fetched(&request, owner).map(drop))
    }
}

fn code(outcome: &mut oneshot::Receiver<Outcome>) -> Option<ErrorCode> {
    outcome.try_recv().expect("answered").err().map(|e| e.code)
}

#[test]
fn the_only_replica_answers_when_its_own_disk_has_it() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME], ME, 1);
    let mut outcome = replica.queue(1, Acks::All);
    let job = replica.write().expect("to be synced");
    assert!(outcome.try_recv().is_err(), "it is not durable yet");
    let done = job.run(&crate::metrics::Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    assert_eq!(code(&mut outcome), None);
    assert_eq!(replica.log.partition.progress.high_watermark(), Offset(1));
}

#[test]
fn acks_all_waits_for_the_follower_and_acks_leader_for_this_disk_only() {
    for durability in [Durability::Fsync, Durability::PageCache] {
        let mut replica = Replica1::new(durability);
        replica.assign(&[ME, OTHER], ME, 1);
        replica.other_has(1, 0).expect("follows");
        let mut all = replica.queue(1, Acks::All);
        let mut leader = replica.queue(1, Acks::Leader);
        replica.write_and_sync();
        assert_eq!(code(&mut leader), None);
        assert!(all.try_recv().is_err(), "the follower does not have it");
        assert_eq!(replica.log.partition.progress.latest(), Some(Offset(0)));
        replica.other_has(1, 2).expect("follows");
        assert_eq!(code(&mut all), None);
    }
}

#[test]
fn nothing_of_an_older_epoch_is_written() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME], ME, 1);
    let mut first = replica.queue(1, Acks::All);
    replica.write_and_sync();
    let mut late = replica.queue(1, Acks::All);
    replica.assign(&[ME], ME, 2);
    let mut later = replica.queue(1, Acks::All);
    let mut now = replica.queue(2, Acks::All);
    replica.write_and_sync();
    let stale = Some(ErrorCode::StaleLeaderEpoch);
    assert_eq!(code(&mut first), None);
    assert_eq!([code(&mut late), code(&mut later)], [stale, stale]);
    assert_eq!(code(&mut now), None);
    assert_eq!(replica.log.partition.progress.log_end(), Offset(2));
}

#[test]
fn a_deposed_leader_tells_who_waits_and_a_late_sync_acknowledges_nothing() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME, OTHER], ME, 1);
    let mut waiting = replica.queue(1, Acks::Leader);
    let job = replica.write().expect("to be synced");
    replica.assign(&[ME, OTHER], OTHER, 2);
    assert_eq!(code(&mut waiting), Some(ErrorCode::NotLeader));
    let done = job.run(&crate::metrics::Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    let mut refused = replica.queue(1, Acks::Leader);
    replica.write();
    assert_eq!(code(&mut refused), Some(ErrorCode::NotLeader));
    let told = replica.positions.take(OTHER);
    let position = told.values().next().copied().flatten().expect("follows");
    assert_eq!(position.leader_epoch, LeaderEpoch(2));
    assert_eq!(position.durable_end, Offset(1), "it is durable here");
}

#[test]
fn too_few_in_sync_refuses_before_and_leaves_open_after_the_write() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], ME, 1);
    replica.other_has(1, 0).expect("follows");
    let mut written = replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.now_ms += 60_000;
    replica.step(OwnedLog::tick);
    assert_eq!(code(&mut written), Some(ErrorCode::TimedOut));
    assert_eq!(replica.asks.take().requests.len(), 1, "asks for a shrink");
    let mut refused = replica.queue(1, Acks::All);
    let mut leader = replica.queue(1, Acks::Leader);
    replica.write_and_sync();
    assert_eq!(code(&mut refused), Some(ErrorCode::NotEnoughReplicas));
    assert_eq!(code(&mut leader), None);
    assert_eq!(replica.log.partition.progress.log_end(), Offset(2));
}
