//! Gives partitions that wait for brokers their replicas, once there are enough.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_core::{
    Assignment, BrokerNumber, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, internal,
};

use super::{
    cluster::{Broker, Cluster, Topic},
    draft::Draft,
    live::Live,
};
use crate::{
    placement::{Candidate, Load, place},
    writes::WriteReason,
};

/// Places what waits on the brokers that are online.
///
/// Creation is the first election: a broker that has not spoken yet may hold records of a topic that the store forgot. Only an id that this
/// controller drew itself (`own`) is surely new to all.
pub(crate) fn place_waiting(draft: &mut Draft, live: &Live, own: &BTreeSet<TopicId>) {
    let has_heard_all = has_heard_all(&draft.cluster, live);
    let waiting = draft.cluster.active_topics();
    let waiting = waiting.filter(|topic| topic.placed < topic.config.partitions);
    let waiting = waiting.filter(|topic| has_heard_all || own.contains(&topic.id));
    let mut waiting: Vec<_> = waiting.cloned().collect();
    if waiting.is_empty() {
        return;
    }
    let is_internal = |topic: &Topic| internal::is_internal(&topic.name);
    waiting.sort_by(|a, b| (is_internal(a), &a.name).cmp(&(is_internal(b), &b.name)));
    let mut loads = loads(&draft.cluster);
    for topic in waiting {
        place_topic(draft, live, &topic, &mut loads);
    }
}

/// Where the partitions of a topic would go that are not placed yet, in a draft that is thrown away.
pub(super) fn rehearse(
    draft: &mut Draft,
    live: &Live,
    id: TopicId,
) -> Vec<(PartitionIndex, Vec<BrokerNumber>)> {
    let Some(topic) = draft.cluster.topic(id).cloned() else {
        return Vec::new();
    };
    let mut loads = loads(&draft.cluster);
    place_topic(draft, live, &topic, &mut loads);
    let new = topic.placed..topic.config.partitions;
    let placed = new.filter_map(|index| {
        // With the maps that it was given just now.
        let topic = draft.cluster.topic(id)?;
        let record = draft.cluster.assignment(topic, topic.partition(index))?;
        Some((PartitionIndex(index), record.replicas.clone()))
    });
    placed.collect()
}

/// Has every broker that is registered said what it has? One whose volume another took the place of never will.
fn has_heard_all(cluster: &Cluster, live: &Live) -> bool {
    let brokers = || cluster.brokers.values().map(|broker| &broker.value);
    let is_replaced = |gone: &Broker| {
        brokers().any(|next| {
            next.name == gone.name && next.number > gone.number && live.is_there(next.number)
        })
    };
    brokers().all(|broker| live.brokers.contains_key(&broker.number) || is_replaced(broker))
}

fn place_topic(
    draft: &mut Draft,
    live: &Live,
    topic: &Topic,
    loads: &mut BTreeMap<BrokerNumber, Load>,
) {
    let candidates = candidates(&draft.cluster, live, Some(topic), loads);
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

/// What each broker has, or will have when all moves are done.
pub(super) fn loads(cluster: &Cluster) -> BTreeMap<BrokerNumber, Load> {
    let mut loads: BTreeMap<BrokerNumber, Load> = BTreeMap::new();
    for (topic, _, assignment) in cluster.assignments() {
        if !topic.is_active() {
            continue;
        }
        for (i, broker) in assignment.target().enumerate() {
            let load = loads.entry(broker).or_default();
            load.replicas += 1;
            load.leads += usize::from(i == 0);
        }
    }
    loads
}

/// The brokers that are there, with what each leads of `topic` and has of all.
pub(super) fn candidates(
    cluster: &Cluster,
    live: &Live,
    topic: Option<&Topic>,
    loads: &BTreeMap<BrokerNumber, Load>,
) -> Vec<Candidate> {
    let mut topic_leads: BTreeMap<BrokerNumber, usize> = BTreeMap::new();
    let placed = topic.iter().flat_map(|topic| {
        let partitions = topic.placed_partitions();
        partitions.map(move |partition| cluster.assignment(topic, partition))
    });
    for assignment in placed {
        if let Some(preferred) = assignment.and_then(|a| a.replicas.first()) {
            *topic_leads.entry(*preferred).or_default() += 1;
        }
    }
    let online = cluster
        .brokers
        .values()
        .filter(|b| live.is_there(b.value.number));
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
