//! Gives partitions that wait for brokers their replicas, once there are enough.

use std::collections::BTreeMap;

use taffrail_core::{Assignment, BrokerNumber, LeaderEpoch, PartitionEpoch};

use super::{
    cluster::{Cluster, Topic},
    draft::Draft,
    live::Live,
};
use crate::{
    placement::{Candidate, Load, place},
    writes::WriteReason,
};

/// Has a topic partitions without a record?
pub(crate) fn is_waiting(cluster: &Cluster) -> bool {
    cluster
        .active_topics()
        .any(|topic| topic.placed < topic.config.partitions)
}

/// Places what waits on the brokers that are online.
pub(crate) fn place_waiting(draft: &mut Draft, live: &Live) {
    let waiting = draft.cluster.active_topics();
    let waiting = waiting.filter(|topic| topic.placed < topic.config.partitions);
    let mut waiting: Vec<_> = waiting.cloned().collect();
    if waiting.is_empty() {
        return;
    }
    waiting.sort_by(|a, b| a.name.cmp(&b.name));
    let mut loads = loads(&draft.cluster);
    for topic in waiting {
        place_topic(draft, live, &topic, &mut loads);
    }
}

fn place_topic(
    draft: &mut Draft,
    live: &Live,
    topic: &Topic,
    loads: &mut BTreeMap<BrokerNumber, Load>,
) {
    let candidates = candidates(&draft.cluster, live, topic, loads);
    let missing = topic.config.partitions - topic.placed;
    let Some(placed) = place(
        missing as usize,
        topic.config.replicas as usize,
        &candidates,
    ) else {
        return;
    };
    for (index, replicas) in (topic.placed..).zip(placed) {
        for (i, broker) in replicas.iter().enumerate() {
            let load = loads.entry(*broker).or_default();
            load.replicas += 1;
            load.leads += usize::from(i == 0);
        }
        let assignment = first_assignment(&draft.cluster, replicas);
        draft.insert(topic.partition(index), assignment, WriteReason::Placement);
    }
    if let Some(topic) = draft.topic(topic.id, WriteReason::Placement) {
        topic.placed = topic.config.partitions;
    }
}

/// All replicas are empty, so all are in sync, and the first leads.
fn first_assignment(cluster: &Cluster, replicas: Vec<BrokerNumber>) -> Assignment {
    let leader = replicas.first().copied();
    let incarnation = leader.and_then(|leader| cluster.brokers.get(&leader));
    Assignment {
        isr: replicas.clone(),
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
        leader,
        leader_incarnation: incarnation.map(|b| b.value.incarnation).unwrap_or_default(),
        leader_epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(1),
        unconfirmed: Vec::new(),
        is_unclean: false,
    }
}

fn loads(cluster: &Cluster) -> BTreeMap<BrokerNumber, Load> {
    let mut loads: BTreeMap<BrokerNumber, Load> = BTreeMap::new();
    for (topic, _, assignment) in cluster.assignments() {
        if !topic.is_active() {
            continue;
        }
        for (i, broker) in assignment.replicas.iter().enumerate() {
            let load = loads.entry(*broker).or_default();
            load.replicas += 1;
            load.leads += usize::from(i == 0);
        }
    }
    loads
}

fn candidates(
    cluster: &Cluster,
    live: &Live,
    topic: &Topic,
    loads: &BTreeMap<BrokerNumber, Load>,
) -> Vec<Candidate> {
    let mut topic_leads: BTreeMap<BrokerNumber, usize> = BTreeMap::new();
    for partition in topic.placed_partitions() {
        let assignment = cluster.assignment(topic, partition);
        if let Some(preferred) = assignment.and_then(|a| a.replicas.first()) {
            *topic_leads.entry(*preferred).or_default() += 1;
        }
    }
    let online = cluster
        .brokers
        .values()
        .filter(|b| live.is_online(b.value.number));
    let candidates = online.map(|broker| Candidate {
        number: broker.value.number,
        rack: broker.value.rack.clone(),
        load: Load {
            topic_leads: topic_leads
                .get(&broker.value.number)
                .copied()
                .unwrap_or_default(),
            ..loads.get(&broker.value.number).copied().unwrap_or_default()
        },
    });
    candidates.collect()
}
