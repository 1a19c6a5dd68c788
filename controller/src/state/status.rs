//! The cluster as people see it: statuses of topics, partitions and brokers.

mod conditions;
mod partition;
mod stopping;

use std::collections::BTreeMap;

use taffrail_api::v1;
use taffrail_core::BrokerNumber;

use super::{
    cluster::{Broker, Cluster, Topic},
    live::Live,
    stored,
};
use crate::view::View;
use conditions::{Standing, is_under_pressure};
use partition::partition_status;

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
    let mut blocked = stopping::blocked(cluster, live);
    let brokers = cluster.brokers.values().map(|broker| {
        let held = held.get(&broker.value.number).copied().unwrap_or_default();
        let blocked = blocked.remove(&broker.value.number);
        broker_status(&broker.value, live, held, blocked)
    });
    view.brokers = brokers.collect();
    view.stops_should_wait = stopping::passes(cluster, live);
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
        partitions_under_replicated: standing.under_replicated,
        partitions_under_min_in_sync: standing.under_min_in_sync,
        partitions_moving: standing.moving,
        leaders: standing.leaders(),
    };
    (status, partitions)
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

fn broker_status(
    broker: &Broker,
    live: &Live,
    (leads, follows): (u32, u32),
    stop_blocked_by: Option<String>,
) -> v1::BrokerStatus {
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
        safe_to_stop: stop_blocked_by.is_none(),
        stop_blocked_by: stop_blocked_by.unwrap_or_default(),
        disk_full: now.is_some_and(|now| now.disk_full),
        disk_pressure: now.is_some_and(is_under_pressure),
    }
}
