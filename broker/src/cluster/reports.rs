//! What this broker says of its partitions: all of them in the first heartbeat of a session, then those that changed.

use std::{collections::HashMap, sync::Arc};

use taffrail_api::{convert, v1};
use taffrail_core::{
    TopicPartition,
    replica::{FollowerLag, Standing},
};

use super::{
    known::{Known, Seen},
    view::topic_id_bytes,
};
use crate::{
    group::reports::GroupsTold,
    partition::{Partition, standing::Role},
};

/// What was reported in this session.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    /// Without the partition's id.
    reports: HashMap<TopicPartition, v1::PartitionReport>,
    /// What one partition would report now. Nothing is allocated for one that has nothing new.
    now: v1::PartitionReport,
    /// Of consumer groups.
    pub(super) groups: GroupsTold,
}

impl Reported {
    /// Those that changed since the last call.
    pub(crate) fn changes(&mut self, partitions: &[Arc<Partition>]) -> Vec<v1::PartitionReport> {
        let mut changed = Vec::new();
        for partition in partitions {
            let id = partition.id;
            describe(partition, &mut self.now);
            if self.reports.get(&id) != Some(&self.now) {
                self.reports.insert(id, self.now.clone());
                changed.push(v1::PartitionReport {
                    topic_id: topic_id_bytes(id.topic),
                    partition: id.partition.0,
                    ..self.now.clone()
                });
            }
        }
        changed
    }
}

/// Everything of the report but the partition's id.
fn describe(partition: &Partition, report: &mut v1::PartitionReport) {
    let (fault, standing) = (partition.fault(), partition.standing());
    let progress = &partition.progress;
    let mut followers = std::mem::take(&mut report.followers);
    followers.clear();
    followers.extend(partition.followers().iter().map(follower));
    *report = v1::PartitionReport {
        leader_epoch: convert::epoch_to_wire(standing.leader_epoch),
        log_start_offset: convert::offset_to_wire(progress.log_start()),
        high_watermark: convert::offset_to_wire(progress.high_watermark()),
        log_end_offset: convert::offset_to_wire(progress.log_end()),
        bytes: progress.bytes(),
        oldest_append_time_ms: progress.oldest_append_ms(),
        leading: fault.is_none() && standing.role == Role::Leader,
        fault: v1::PartitionFault::from_core(fault.as_ref().map(|f| f.kind)).into(),
        fault_message: fault.map_or_else(String::new, |f| f.message),
        durable_end_offset: convert::offset_to_wire(progress.durable_end()),
        last_epoch: progress.last_epoch().map_or(-1, convert::epoch_to_wire),
        followers,
        quarantine: partition
            .quarantine()
            .map_or_else(String::new, ToString::to_string),
        ..v1::PartitionReport::default()
    };
}

fn follower(lag: &FollowerLag) -> v1::FollowerReport {
    v1::FollowerReport {
        broker: lag.broker.0,
        durable_end_offset: lag.durable_end.map(convert::offset_to_wire),
        // To the second: a report is sent when it changed.
        lag_ms: (lag.lag_ms / 1_000 * 1_000) as u32,
        late: lag.is_late,
    }
}

/// What the volume holds, for a registration: every directory, strays and tombstones included.
pub(super) fn stored(known: &Known, partitions: &[Arc<Partition>]) -> Vec<v1::StoredPartition> {
    let mut stored: Vec<_> = partitions
        .iter()
        .map(|p| of_partition(p, known.seen.get(&p.id)))
        .collect();
    let here: std::collections::HashSet<_> = partitions.iter().map(|p| p.id).collect();
    let gone = known.seen.iter().filter(|(id, _)| !here.contains(id));
    stored.extend(gone.map(|(id, seen)| v1::StoredPartition {
        topic_id: topic_id_bytes(id.topic),
        partition: id.partition.0,
        topic_name: seen.topic_name.clone(),
        assignment: Some((&seen.assignment).into()),
        last_epoch: -1,
        deleted: seen.deleted.is_some(),
        ..v1::StoredPartition::default()
    }));
    stored
}

fn of_partition(partition: &Partition, seen: Option<&Seen>) -> v1::StoredPartition {
    let (fault, progress) = (partition.fault(), &partition.progress);
    v1::StoredPartition {
        topic_id: topic_id_bytes(partition.id.topic),
        partition: partition.id.partition.0,
        topic_name: partition.topic_name.to_string(),
        assignment: seen.map(|s| (&s.assignment).into()),
        last_epoch: progress.last_epoch().map_or(-1, convert::epoch_to_wire),
        log_start_offset: convert::offset_to_wire(progress.log_start()),
        durable_end_offset: convert::offset_to_wire(progress.durable_end()),
        high_watermark: convert::offset_to_wire(progress.high_watermark()),
        fault: v1::PartitionFault::from_core(fault.as_ref().map(|f| f.kind)).into(),
        deleted: false,
        standing: match partition.worth() {
            Standing::Whole => v1::ReplicaStanding::ReplicaWhole,
            Standing::MayLack => v1::ReplicaStanding::ReplicaMayLack,
            Standing::Unusable => v1::ReplicaStanding::ReplicaUnusable,
        }
        .into(),
        fault_message: fault.map_or_else(String::new, |f| f.message),
    }
}
