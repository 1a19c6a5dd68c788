//! The cluster as people see it: statuses of topics, partitions and brokers.

mod conditions;

use std::collections::BTreeMap;

use taffrail_api::v1;
use taffrail_core::{BrokerNumber, TopicPartition};

use super::{
    cluster::{Broker, Cluster, Topic},
    live::{Live, Liveness},
    moves, stored,
};
use crate::view::View;
use conditions::Standing;

/// Why a partition is, or is not, served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionState {
    Online,
    /// Placed, and its broker has not opened it yet.
    Starting,
    /// It waits for brokers.
    Creating,
    Offline,
    /// Its record vanished from the store.
    Unknown,
}

impl PartitionState {
    const fn name(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Starting => "STARTING",
            Self::Creating => "CREATING",
            Self::Offline => "OFFLINE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The picture of this moment.
pub(crate) fn view(cluster: &Cluster, live: &Live) -> View {
    let mut view = View {
        cluster_id: cluster.root.value.cluster_id.to_string(),
        controller_epoch: cluster.root.value.epoch,
        ..View::default()
    };
    for topic in cluster.active_topics() {
        let (status, partitions) = topic_status(cluster, live, topic);
        view.topics.insert(topic.name.clone(), status);
        view.partitions.insert(topic.name.clone(), partitions);
    }
    let held = held(cluster);
    let brokers = cluster.brokers.values().map(|broker| {
        let held = held.get(&broker.value.number).copied().unwrap_or_default();
        broker_status(&broker.value, live, held)
    });
    view.brokers = brokers.collect();
    view
}

fn topic_status(
    cluster: &Cluster,
    live: &Live,
    topic: &Topic,
) -> (v1::TopicStatus, Vec<v1::PartitionStatus>) {
    let mut standing = Standing::new(cluster, live);
    let mut partitions = Vec::with_capacity(topic.config.partitions as usize);
    for index in 0..topic.config.partitions {
        let (state, status) = partition_status(cluster, live, topic, index);
        standing.count(state, &status, topic);
        partitions.push(status);
    }
    let oldest = partitions.iter().filter_map(|p| p.oldest_append_time_ms);
    let status = v1::TopicStatus {
        name: topic.name.clone(),
        topic_id: stored::topic_id(topic.id),
        spec: Some((&topic.spec).into()),
        effective: Some((&topic.config).into()),
        conditions: standing.conditions(topic),
        partitions_online: standing.online,
        partitions_offline: standing.offline,
        bytes: partitions.iter().map(|p| p.bytes).sum(),
        oldest_append_time_ms: oldest.min(),
        generation: topic.generation,
    };
    (status, partitions)
}

fn partition_status(
    cluster: &Cluster,
    live: &Live,
    topic: &Topic,
    index: u32,
) -> (PartitionState, v1::PartitionStatus) {
    let id = topic.partition(index);
    let mut status = v1::PartitionStatus {
        topic: topic.name.clone(),
        partition: index,
        ..v1::PartitionStatus::default()
    };
    let mut state = PartitionState::Creating;
    if let Some(assignment) = cluster.assignment(topic, id) {
        status.leader = assignment.leader.map(|b| b.0);
        status.leader_epoch = assignment.leader_epoch.0 as i32;
        status.partition_epoch = assignment.partition_epoch.0;
        status.replicas = assignment.replicas.iter().map(|b| b.0).collect();
        status.isr = assignment.isr.iter().map(|b| b.0).collect();
        status.removing = assignment.removing.iter().map(|b| b.0).collect();
        (state, status.message) = served(cluster, live, id, assignment.leader, status.leader_epoch);
        let holder = assignment.leader.or(assignment.isr.first().copied());
        if let Some(report) = holder.and_then(|holder| live.report(holder, id)) {
            status.log_start_offset = report.log_start_offset;
            status.high_watermark = report.high_watermark;
            status.log_end_offset = report.log_end_offset;
            status.bytes = report.bytes;
            status.oldest_append_time_ms = report.oldest_append_time_ms;
        }
        let adding = assignment.adding.iter();
        status.adding = adding
            .map(|&broker| v1::AddedReplica {
                broker: broker.0,
                behind: behind(live, id, broker, status.log_end_offset),
            })
            .collect();
        if status.message.is_empty() {
            moves::waits_for(topic, assignment).clone_into(&mut status.message);
        }
    } else if index < topic.placed {
        state = PartitionState::Unknown;
        "its record vanished from the store; it comes back when the broker that has the data registers".clone_into(&mut status.message);
    } else {
        "it waits for brokers".clone_into(&mut status.message);
    }
    state.name().clone_into(&mut status.state);
    (state, status)
}

/// The records that a new replica lacks of what its leader has.
fn behind(live: &Live, id: TopicPartition, broker: BrokerNumber, end: i64) -> Option<u64> {
    let report = live.report(broker, id)?;
    Some((end - report.log_end_offset).max(0).cast_unsigned())
}

/// Is the partition served, and if not, why and what to do.
fn served(
    cluster: &Cluster,
    live: &Live,
    id: TopicPartition,
    leader: Option<BrokerNumber>,
    epoch: i32,
) -> (PartitionState, String) {
    let Some(leader) = leader else {
        let message = "the only in-sync replica is on a volume older than the one last seen; bring back the newer volume";
        return (PartitionState::Offline, message.to_owned());
    };
    let broker = cluster.brokers.get(&leader);
    let name = broker.map_or("", |broker| &broker.value.name);
    if live.liveness(leader) == Liveness::Offline {
        let heir = broker.and_then(|broker| successor(cluster, live, &broker.value));
        let message = match heir {
            Some(heir) => format!(
                "broker {leader} ({name}) has the only copy, and {name} came back with another volume as broker {heir}; bring back its former volume"
            ),
            None => format!(
                "broker {leader} ({name}) is offline and has the only copy; start it again with its volume"
            ),
        };
        return (PartitionState::Offline, message);
    }
    let Some(report) = live.report(leader, id) else {
        return (
            PartitionState::Starting,
            format!("broker {leader} ({name}) has not opened it yet"),
        );
    };
    if report.fault() != v1::PartitionFault::None {
        let message = format!("broker {leader} ({name}): {}", report.fault_message);
        return (PartitionState::Offline, message);
    }
    if report.leading && report.leader_epoch == epoch {
        (PartitionState::Online, String::new())
    } else {
        (
            PartitionState::Starting,
            format!("broker {leader} ({name}) does not lead it yet"),
        )
    }
}

/// A broker of the same name on another volume that is there instead.
fn successor(cluster: &Cluster, live: &Live, broker: &Broker) -> Option<BrokerNumber> {
    let others = cluster.brokers.values().map(|other| &other.value);
    let mut same =
        others.filter(|other| other.name == broker.name && other.number != broker.number);
    same.find(|other| live.liveness(other.number) != Liveness::Offline)
        .map(|other| other.number)
}

/// Partitions led and followed by each broker.
fn held(cluster: &Cluster) -> BTreeMap<BrokerNumber, (u32, u32)> {
    let mut held: BTreeMap<BrokerNumber, (u32, u32)> = BTreeMap::new();
    for (topic, _, assignment) in cluster.assignments() {
        for broker in assignment.replicas.iter().filter(|_| topic.is_active()) {
            let (leads, follows) = held.entry(*broker).or_default();
            if assignment.leader == Some(*broker) {
                *leads += 1;
            } else {
                *follows += 1;
            }
        }
    }
    held
}

fn broker_status(broker: &Broker, live: &Live, (leads, follows): (u32, u32)) -> v1::BrokerStatus {
    let now = live.brokers.get(&broker.number);
    v1::BrokerStatus {
        number: broker.number.0,
        uuid: broker.uuid.to_string(),
        name: broker.name.clone(),
        client: Some(broker.client.clone()),
        rack: broker.rack.clone().unwrap_or_default(),
        incarnation: Some(broker.incarnation.into()),
        state: live.liveness(broker.number).name().to_owned(),
        leads,
        follows,
        disk_total_bytes: now.map_or(0, |now| now.disk_total_bytes),
        disk_free_bytes: now.map_or(0, |now| now.disk_free_bytes),
        process_id: now.map_or(0, |now| now.process_id),
        version: broker.software_version.clone(),
    }
}
