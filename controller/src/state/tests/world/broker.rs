//! Brokers that keep assignments and logs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taffrail_api::{
    convert,
    v1::{self, MetadataUpdate, controller_message::Message},
};
use taffrail_core::{Assignment, Incarnation, LeaderEpoch, TopicPartition};

use super::replication::Leading;
use crate::state::{SessionId, stored};

/// A record: the leader epoch in which it was appended, and a number that no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: LeaderEpoch,
    pub(super) id: u64,
}

/// A broker: a volume, and the process that runs on it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what befalls it comes in every combination"
)]
#[derive(Clone)]
pub(in crate::state::tests) struct Broker {
    pub(super) uuid: [u8; 16],
    pub(super) candidates: Vec<Incarnation>,
    pub(super) cluster_id: String,
    pub(super) number: Option<u32>,
    pub(super) stamp: v1::ControllerStamp,
    pub(super) stored: BTreeMap<TopicPartition, Assignment>,
    /// The newest assignments that it saw of what it deleted.
    pub(super) gone: BTreeMap<TopicPartition, Assignment>,
    /// Everything in them is durable.
    pub(super) logs: BTreeMap<TopicPartition, Vec<Record>>,
    /// What this run knows as a leader.
    pub(super) leading: BTreeMap<TopicPartition, Leading>,
    pub(super) name: String,
    /// Partitions whose logs cannot be used.
    pub(super) faults: BTreeSet<TopicPartition>,
    /// Its disk takes no more records of producers.
    pub(super) is_full: bool,
    /// It stopped uncleanly, and its topics count on the page cache.
    pub(super) may_lack: bool,
    /// No process runs on the volume.
    pub(super) is_down: bool,
    /// Partitions of topics that the last updates listed.
    pub(super) served: BTreeSet<TopicPartition>,
    /// Its heartbeats name no partition.
    pub(super) is_mute: bool,
    pub(super) session: Option<(usize, SessionId)>,
    pub(super) inbox: VecDeque<Message>,
}

impl Broker {
    pub(super) fn register(&self) -> v1::Register {
        let stored = self
            .stored
            .iter()
            .map(|(partition, assignment)| v1::StoredPartition {
                topic_id: stored::topic_id(partition.topic),
                partition: partition.partition.0,
                assignment: Some(assignment.into()),
                durable_end_offset: self.end(*partition),
                last_epoch: self.last_epoch(*partition),
                standing: if self.may_lack {
                    v1::ReplicaStanding::ReplicaMayLack.into()
                } else {
                    v1::ReplicaStanding::ReplicaWhole.into()
                },
                fault: self.fault(*partition),
                ..v1::StoredPartition::default()
            });
        let gone = self
            .gone
            .iter()
            .map(|(partition, assignment)| v1::StoredPartition {
                topic_id: stored::topic_id(partition.topic),
                partition: partition.partition.0,
                assignment: Some(assignment.into()),
                last_epoch: -1,
                deleted: true,
                ..v1::StoredPartition::default()
            });
        v1::Register {
            cluster_id: self.cluster_id.clone(),
            broker_uuid: self.uuid.to_vec().into(),
            candidates: self.candidates.iter().map(|i| (*i).into()).collect(),
            name: self.name.clone(),
            client_endpoint: Some(v1::Endpoint::default()),
            versions: Some(v1::VersionRange { min: 1, max: 1 }),
            highest_stamp: Some(self.stamp),
            stored: stored.chain(gone).collect(),
            broker_number: self.number,
            ..v1::Register::default()
        }
    }

    /// Gives what was deleted, and how many records went with it.
    pub(super) fn act(&mut self, update: &MetadataUpdate) -> Vec<(TopicPartition, usize)> {
        let mut lost = Vec::new();
        self.stamp = update.stamp.expect("every update has one");
        if update.full {
            self.served.clear();
        }
        for id in &update.removed_topics {
            self.served.retain(|p| stored::topic_id(p.topic) != id[..]);
        }
        for record in &update.partitions {
            let (partition, assignment) = read(record);
            let mine = assignment.replicas.iter().any(|r| Some(r.0) == self.number);
            let gone = self.gone.get(&partition).map(Assignment::version);
            if gone.is_some_and(|gone| gone > assignment.version()) {
                continue;
            }
            if mine {
                self.gone.remove(&partition);
            } else if let Some(gone) = self.gone.get_mut(&partition) {
                gone.clone_from(&assignment);
            }
            let known = self.stored.get(&partition).map(Assignment::version);
            if mine {
                self.served.insert(partition);
            } else {
                self.served.remove(&partition);
            }
            // What it still has of others' partitions it remembers the newest record of.
            if (mine || known.is_some()) && known <= Some(assignment.version()) {
                let known = self.stored.insert(partition, assignment);
                self.take_over(partition, known.as_ref());
            }
        }
        for order in &update.deletes {
            let partition =
                convert::topic_partition(&order.topic_id, order.partition).expect("valid");
            let known = self.stored.get(&partition);
            if known.is_some_and(|known| known.partition_epoch.0 <= order.partition_epoch) {
                self.gone.extend(self.stored.remove_entry(&partition));
                let log = self.logs.remove(&partition).unwrap_or_default();
                lost.push((partition, log.len()));
                self.leading.remove(&partition);
            }
        }
        lost
    }

    /// A record is appended to every partition that this broker leads, as far as it knows.
    pub(super) fn produce(&mut self, mut id: impl FnMut() -> u64) {
        for (partition, epoch) in self.led() {
            let record = Record { epoch, id: id() };
            self.logs.entry(partition).or_default().push(record);
        }
    }

    /// What it serves as a leader, and in which epochs.
    pub(super) fn led(&self) -> Vec<(TopicPartition, LeaderEpoch)> {
        let led = self.stored.iter().filter(|(p, a)| self.leads(**p, a));
        led.map(|(p, a)| (*p, a.leader_epoch)).collect()
    }

    /// The only replica leads whatever its incarnation.
    fn leads(&self, partition: TopicPartition, assignment: &Assignment) -> bool {
        let runs = Some(&assignment.leader_incarnation) == self.candidates.last();
        !self.is_down
            && self.served.contains(&partition)
            && assignment.leader.map(|l| l.0) == self.number
            && (runs || assignment.replicas.len() == 1)
    }

    pub(super) fn log(&self, partition: TopicPartition) -> &[Record] {
        self.logs.get(&partition).map_or(&[], Vec::as_slice)
    }

    pub(super) fn end(&self, partition: TopicPartition) -> i64 {
        self.log(partition).len() as i64
    }

    fn fault(&self, partition: TopicPartition) -> i32 {
        let fault = self.faults.contains(&partition);
        let fault = fault.then_some(taffrail_core::PartitionFault::Poisoned);
        v1::PartitionFault::from_core(fault).into()
    }

    fn last_epoch(&self, partition: TopicPartition) -> i32 {
        let last = self.log(partition).last();
        last.map_or(-1, |record| record.epoch.0 as i32)
    }

    pub(super) fn heartbeat(&self) -> v1::Heartbeat {
        let reports =
            self.stored
                .iter()
                .filter(|_| !self.is_mute)
                .map(|(partition, assignment)| v1::PartitionReport {
                    topic_id: stored::topic_id(partition.topic),
                    partition: partition.partition.0,
                    leader_epoch: if self.served.contains(partition) {
                        assignment.leader_epoch.0 as i32
                    } else {
                        0
                    },
                    leading: self.leads(*partition, assignment),
                    log_end_offset: self.end(*partition),
                    durable_end_offset: self.end(*partition),
                    last_epoch: self.last_epoch(*partition),
                    fault: self.fault(*partition),
                    ..v1::PartitionReport::default()
                });
        v1::Heartbeat {
            incarnation: self.candidates.last().map(|i| (*i).into()),
            applied: Some(self.stamp),
            partitions: reports.collect(),
            disk_full: self.is_full,
            ..v1::Heartbeat::default()
        }
    }
}

pub(super) fn read(record: &v1::PartitionRecord) -> (TopicPartition, Assignment) {
    let partition = convert::topic_partition(&record.topic_id, record.partition).expect("valid");
    let assignment = record.assignment.clone().expect("every record has one");
    (partition, assignment.try_into().expect("whole"))
}

pub(super) fn key(stamp: Option<v1::ControllerStamp>) -> (u64, u64) {
    stamp.map_or((0, 0), |s| (s.controller_epoch, s.sequence))
}
