//! What was ever persisted or answered, and what must hold of all of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    hash::Hash,
};

use taffrail_api::v1::MetadataUpdate;
use taffrail_core::{
    BrokerNumber, Incarnation, LeaderEpoch, TopicPartition,
    replica::invariants::{self as replica, AN_EPOCH_HAS_ONE_LEADER},
};

use super::broker::read;
use crate::{
    invariants::{A_DELETE_ORDER_HAS_A_TOMBSTONE, NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED},
    state::cluster::Cluster,
};

/// Everything that was ever persisted or answered.
#[derive(Default)]
pub(super) struct History {
    /// Assignments as text, for they have no hash.
    records: HashSet<(TopicPartition, String)>,
    tombstones: HashSet<(Vec<u8>, u32, u32, u64)>,
    topics: HashSet<(Vec<u8>, u64)>,
    /// What replicated partitions acknowledged.
    pub(super) partitions: BTreeMap<TopicPartition, replica::History>,
    owners: HashMap<(TopicPartition, LeaderEpoch), (BrokerNumber, Incarnation)>,
    pub(super) numbers: HashMap<u32, [u8; 16]>,
}

impl History {
    /// Nothing is said that was not persisted before.
    pub(super) fn check_update(&self, update: &MetadataUpdate) {
        for record in &update.partitions {
            let (partition, assignment) = read(record);
            let key = (partition, format!("{assignment:?}"));
            assert!(
                self.records.contains(&key),
                "{NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED}: {key:?}"
            );
        }
        for topic in &update.topics {
            let key = (topic.topic_id.to_vec(), topic.generation);
            assert!(
                self.topics.contains(&key),
                "{NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED}: topic {}",
                topic.name
            );
        }
    }

    pub(super) fn check_orders(&self, update: &MetadataUpdate, to: u32) {
        for order in &update.deletes {
            let key = (
                order.topic_id.to_vec(),
                order.partition,
                to,
                order.partition_epoch,
            );
            assert!(
                self.tombstones.contains(&key),
                "{A_DELETE_ORDER_HAS_A_TOMBSTONE}: {order:?}"
            );
        }
    }

    /// What `cluster` holds is durable.
    pub(super) fn remember(&mut self, cluster: &Cluster) {
        for (topic, partition, assignment) in cluster.assignments() {
            let counted = partition.partition.0 < topic.placed;
            if let Some(leader) = assignment.leader.filter(|_| counted) {
                once(
                    &mut self.owners,
                    (partition, assignment.leader_epoch),
                    (leader, assignment.leader_incarnation),
                    AN_EPOCH_HAS_ONE_LEADER,
                );
            }
            let key = (partition, format!("{assignment:?}"));
            self.records.insert(key);
        }
        for topic in cluster.root.value.topics.values() {
            let id = topic.id.as_bytes().to_vec();
            self.topics.insert((id.clone(), topic.generation));
            for pending in &topic.pending {
                let (partition, broker) = (pending.partition.0, pending.broker.0);
                let epoch = if topic.is_tombstone() {
                    pending.partition_epoch
                } else {
                    // Moved away: the map has to have it so.
                    let record = cluster.assignment(topic, topic.partition(partition));
                    let left = record.filter(|r| !r.replicas.contains(&pending.broker));
                    let Some(record) = left else { continue };
                    record.partition_epoch
                };
                self.tombstones
                    .insert((id.clone(), partition, broker, epoch.0));
            }
        }
    }
}

/// `key` has one value for ever.
pub(super) fn once<K, V>(map: &mut HashMap<K, V>, key: K, value: V, rule: &str)
where
    K: Hash + Eq + Debug + Copy,
    V: PartialEq + Debug + Copy,
{
    let known = *map.entry(key).or_insert(value);
    assert_eq!(known, value, "{rule}: {key:?}");
}
