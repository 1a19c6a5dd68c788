//! Brokers that keep assignments and no records.

use std::collections::{BTreeMap, VecDeque};

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
        for record in &update.partitions {
            let (partition, assignment) = read(record);
            let mine = assignment.replicas.iter().any(|r| Some(r.0) == self.number);
            let known = self.stored.get(&partition).map(Assignment::version);
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
            }
        }
    }

    pub(super) fn heartbeat(&self) -> v1::Heartbeat {
        let reports = self
            .stored
            .iter()
            .map(|(partition, assignment)| v1::PartitionReport {
                topic_id: stored::topic_id(partition.topic),
                partition: partition.partition.0,
                leader_epoch: assignment.leader_epoch.0 as i32,
                leading: true,
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
