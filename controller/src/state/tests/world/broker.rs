//! Brokers that keep assignments, and count records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taffrail_api::{
    convert,
    v1::{self, MetadataUpdate, controller_message::Message},
};
use taffrail_core::{Assignment, Incarnation, TopicPartition};

use crate::state::{SessionId, stored};

/// A broker: a volume, and the process that runs on it.
pub(super) struct Broker {
    pub(super) uuid: [u8; 16],
    pub(super) candidates: Vec<Incarnation>,
    pub(super) cluster_id: String,
    pub(super) number: Option<u32>,
    pub(super) stamp: v1::ControllerStamp,
    pub(super) stored: BTreeMap<TopicPartition, Assignment>,
    /// How many records each log has. Absent: none.
    pub(super) records: BTreeMap<TopicPartition, i64>,
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
                ..v1::StoredPartition::default()
            });
        v1::Register {
            cluster_id: self.cluster_id.clone(),
            broker_uuid: self.uuid.to_vec().into(),
            candidates: self.candidates.iter().map(|i| (*i).into()).collect(),
            name: format!("main-{}", self.uuid[0]),
            client_endpoint: Some(v1::Endpoint::default()),
            versions: Some(v1::VersionRange { min: 1, max: 1 }),
            highest_stamp: Some(self.stamp),
            stored: stored.collect(),
            broker_number: self.number,
            ..v1::Register::default()
        }
    }

    pub(super) fn act(&mut self, update: &MetadataUpdate) {
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
            let known = self.stored.get(&partition).map(Assignment::version);
            if mine {
                self.served.insert(partition);
            }
            if mine && known <= Some(assignment.version()) {
                self.stored.insert(partition, assignment);
            }
        }
        for order in &update.deletes {
            let partition =
                convert::topic_partition(&order.topic_id, order.partition).expect("valid");
            let known = self.stored.get(&partition);
            if known.is_some_and(|known| known.partition_epoch.0 <= order.partition_epoch) {
                self.stored.remove(&partition);
                self.records.remove(&partition);
            }
        }
    }

    /// A record is appended to every partition that this broker leads, as far as it knows.
    pub(super) fn produce(&mut self) {
        let led = self.stored.iter().filter(|(p, a)| self.leads(**p, a));
        for partition in led.map(|(p, _)| *p).collect::<Vec<_>>() {
            *self.records.entry(partition).or_default() += 1;
        }
    }

    /// The only replica leads whatever its incarnation.
    fn leads(&self, partition: TopicPartition, assignment: &Assignment) -> bool {
        self.served.contains(&partition) && assignment.leader.map(|l| l.0) == self.number
    }

    pub(super) fn end(&self, partition: TopicPartition) -> i64 {
        self.records.get(&partition).copied().unwrap_or_default()
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
                    ..v1::PartitionReport::default()
                });
        v1::Heartbeat {
            incarnation: self.candidates.last().map(|i| (*i).into()),
            applied: Some(self.stamp),
            partitions: reports.collect(),
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
