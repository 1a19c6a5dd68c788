//! What brokers are told: everything when they register, afterwards whole topics and partitions that changed. Persisted before.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use taffrail_api::v1::{self, MetadataUpdate};
use taffrail_core::{Assignment, BrokerNumber, TopicId, TopicPartition};

use super::{
    cluster::{Broker, Cluster, PendingDelete, Topic},
    live::{Live, Liveness},
    stored,
};

/// Everything, as `to` needs it.
pub(crate) fn full(cluster: &Cluster, live: &Live, to: BrokerNumber) -> MetadataUpdate {
    let topics = cluster.root.value.topics.values();
    let ended = topics.filter(|topic| !topic.is_served());
    let served = cluster
        .assignments()
        .filter(|(topic, _, _)| topic.is_served());
    MetadataUpdate {
        stamp: None,
        full: true,
        cluster_id: cluster.root.value.cluster_id.to_string(),
        brokers: cluster
            .brokers
            .values()
            .map(|b| broker(&b.value, live))
            .collect(),
        topics: cluster.served_topics().map(|t| topic(t)).collect(),
        partitions: served.map(|(_, p, a)| partition(p, a)).collect(),
        deletes: orders(cluster, to),
        removed_topics: ended.map(|topic| stored::topic_id(topic.id)).collect(),
        groups: live.groups.records(),
        removed_groups: Vec::new(),
        all_groups: live.groups.are_known(),
    }
}

/// What is new in `after`, or concerns the brokers in `stirred`, whose liveness changed. Deletes are added for each broker: see `deletes_since`.
/// `None` if there is nothing to tell.
pub(crate) fn since(
    before: &Cluster,
    after: &Cluster,
    live: &Live,
    stirred: &[BrokerNumber],
) -> Option<MetadataUpdate> {
    let mut update = MetadataUpdate {
        cluster_id: after.root.value.cluster_id.to_string(),
        ..MetadataUpdate::default()
    };
    for (number, object) in &after.brokers {
        let known = before.brokers.get(number);
        let is_same = known.is_some_and(|known| {
            Arc::ptr_eq(&known.value, &object.value) || known.value == object.value
        });
        if !is_same || stirred.contains(number) {
            update.brokers.push(broker(&object.value, live));
        }
    }
    let appeared = changed_topics(before, after, &mut update);
    changed_partitions(before, after, &appeared, &mut update);
    let is_empty = update.brokers.is_empty()
        && update.topics.is_empty()
        && update.partitions.is_empty()
        && update.removed_topics.is_empty();
    (!is_empty).then_some(update)
}

/// Tells topics that changed, and gives those that were not served before.
fn changed_topics(
    before: &Cluster,
    after: &Cluster,
    update: &mut MetadataUpdate,
) -> BTreeSet<TopicId> {
    let mut appeared = BTreeSet::new();
    if Arc::ptr_eq(&before.root.value, &after.root.value) {
        return appeared;
    }
    for next in after.served_topics() {
        let known = before.topic(next.id).filter(|known| known.is_served());
        if known.is_none() {
            appeared.insert(next.id);
        }
        if known
            .is_none_or(|known| known.generation != next.generation || known.config != next.config)
        {
            update.topics.push(topic(next));
        }
    }
    let gone = before.served_topics().filter(|known| {
        let next = after.topic(known.id);
        !next.is_some_and(|next| next.is_served())
    });
    update.removed_topics = gone.map(|known| stored::topic_id(known.id)).collect();
    appeared
}

fn changed_partitions(
    before: &Cluster,
    after: &Cluster,
    appeared: &BTreeSet<TopicId>,
    update: &mut MetadataUpdate,
) {
    for (name, map) in &after.maps {
        let known = before.maps.get(name);
        if appeared.is_empty() && known.is_some_and(|known| Arc::ptr_eq(&known.value, &map.value)) {
            continue;
        }
        for (id, assignment) in &map.value.partitions {
            let topic = after.counting(*id);
            if !topic.is_some_and(|topic| topic.is_served()) {
                continue;
            }
            let known = known
                .filter(|_| before.counting(*id).is_some())
                .and_then(|known| known.value.partitions.get(id));
            if appeared.contains(&id.topic) || known != Some(assignment) {
                update.partitions.push(partition(*id, assignment));
            }
        }
    }
}

/// The orders for `to` that are new in `after`. What they rest on is persisted: they come from `after`.
pub(crate) fn deletes_since(
    before: &Cluster,
    after: &Cluster,
    to: BrokerNumber,
) -> Vec<v1::DeleteOrder> {
    let mut orders = orders(after, to);
    if !orders.is_empty() {
        let known = self::orders(before, to);
        orders.retain(|order| !known.contains(order));
    }
    orders
}

fn orders(cluster: &Cluster, to: BrokerNumber) -> Vec<v1::DeleteOrder> {
    let topics = cluster.root.value.topics.values();
    let orders = topics.flat_map(|topic| {
        let mine = topic.pending.iter().filter(|p| p.broker == to);
        mine.filter_map(|pending| order(cluster, topic, pending))
    });
    orders.collect()
}

/// `None`: the replica is still needed, or whether it is nobody can say.
fn order(cluster: &Cluster, topic: &Topic, pending: &PendingDelete) -> Option<v1::DeleteOrder> {
    let mut epoch = pending.partition_epoch;
    if !topic.is_tombstone() {
        let partition = topic.partition(pending.partition.0);
        let record = cluster.assignment(topic, partition)?;
        if record.replicas.contains(&pending.broker) || record.partition_epoch <= epoch {
            return None;
        }
        epoch = record.partition_epoch;
    }
    Some(v1::DeleteOrder {
        topic_id: stored::topic_id(topic.id),
        partition: pending.partition.0,
        partition_epoch: epoch.0,
    })
}

fn broker(broker: &Broker, live: &Live) -> v1::BrokerRecord {
    v1::BrokerRecord {
        number: broker.number.0,
        uuid: Bytes::copy_from_slice(broker.uuid.as_bytes()),
        incarnation: Some(broker.incarnation.into()),
        name: broker.name.clone(),
        rack: broker.rack.clone().unwrap_or_default(),
        client: Some(broker.client.clone()),
        replication: broker.replication.clone(),
        alive: !is_gone(live, broker.number),
    }
}

/// Others need not try to reach it.
pub(crate) fn is_gone(live: &Live, number: BrokerNumber) -> bool {
    live.liveness(number) == Liveness::Offline || live.is_lost(number)
}

fn topic(topic: &Topic) -> v1::TopicRecord {
    v1::TopicRecord {
        topic_id: stored::topic_id(topic.id),
        name: topic.name.clone(),
        config: Some((&topic.config).into()),
        generation: topic.generation,
    }
}

fn partition(partition: TopicPartition, assignment: &Assignment) -> v1::PartitionRecord {
    v1::PartitionRecord {
        topic_id: stored::topic_id(partition.topic),
        partition: partition.partition.0,
        assignment: Some(assignment.into()),
    }
}
