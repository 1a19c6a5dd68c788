//! The metadata as the controller thinks of it. Objects are shared, so that a draft of the whole costs little.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use taffrail_api::v1;
use taffrail_core::{
    Assignment, BrokerNumber, BrokerUuid, ClusterId, Incarnation, PartitionEpoch, PartitionIndex,
    TopicConfig, TopicId, TopicPartition, TopicSpec,
};

use crate::store::Version;

/// A map takes no new partitions beyond this: the loss of a broker costs a few writes, and an object stays far below any store's limit.
pub(crate) const PARTITIONS_PER_MAP: usize = 128;

/// An object of the store. `version` is `None` until it was written once.
#[derive(Debug, Clone)]
pub(crate) struct Object<T> {
    pub(crate) version: Option<Version>,
    pub(crate) value: Arc<T>,
}

impl<T: Clone> Object<T> {
    /// To be changed; what others share stays as it is.
    pub(crate) fn edit(&mut self) -> &mut T {
        Arc::make_mut(&mut self.value)
    }
}

/// Everything that is persisted.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) root: Object<Root>,
    /// Listed by the root, by name.
    pub(crate) maps: BTreeMap<String, Object<PartitionMap>>,
    pub(crate) brokers: BTreeMap<BrokerNumber, Object<Broker>>,
    /// Maps that no root lists, left by a controller that stopped half way. Overwritten when their name is next needed.
    pub(crate) leftovers: BTreeMap<String, Version>,
}

/// The root.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Root {
    pub(crate) cluster_id: ClusterId,
    pub(crate) epoch: u64,
    pub(crate) holder: u64,
    pub(crate) maps: Vec<String>,
    pub(crate) topics: BTreeMap<TopicId, Arc<Topic>>,
    pub(crate) next_broker_number: u32,
}

/// A topic, active or ended. Invariant: `placed <= config.partitions`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    pub(crate) maps: Vec<String>,
    pub(crate) state: TopicState,
    pub(crate) spec: TopicSpec,
    pub(crate) config: TopicConfig,
    pub(crate) generation: u64,
    /// Partitions `0..placed` have, or had, a record.
    pub(crate) placed: u32,
    /// Replicas that have to go and are not known to be gone: all of a tombstone's; of other topics those that a move takes away. One that is still in
    /// the map waits for the end of the move.
    pub(crate) pending: Vec<PendingDelete>,
}

/// Where a topic stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TopicState {
    Active,
    /// It ends with its data if there is none, which is being found out. Still the brokers', under raised epochs and led by nobody.
    Closing,
    /// Kept on the brokers. The one that ended last is adopted first.
    Retained {
        ended: u64,
    },
    /// The tombstone: until nothing is pending.
    Deleting,
}

/// A replica that has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingDelete {
    pub(crate) partition: PartitionIndex,
    pub(crate) broker: BrokerNumber,
    /// The broker was a replica in this epoch. What it deleted by an older order came back since.
    pub(crate) partition_epoch: PartitionEpoch,
}

/// About 128 partitions of any topics.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PartitionMap {
    pub(crate) name: String,
    pub(crate) epoch: u64,
    pub(crate) partitions: BTreeMap<TopicPartition, Assignment>,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broker {
    pub(crate) number: BrokerNumber,
    pub(crate) uuid: BrokerUuid,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
    pub(crate) rack: Option<String>,
    pub(crate) client: v1::Endpoint,
    pub(crate) replication: Option<v1::Endpoint>,
    pub(crate) versions: RangeInclusive<u32>,
    pub(crate) software_version: String,
    pub(crate) epoch: u64,
}

impl Topic {
    pub(crate) fn is_active(&self) -> bool {
        self.state == TopicState::Active
    }

    /// Do brokers have it among their topics?
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.state, TopicState::Active | TopicState::Closing)
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.state == TopicState::Deleting
    }

    /// What is pending of this replica.
    pub(crate) fn pending(
        &self,
        partition: PartitionIndex,
        broker: BrokerNumber,
    ) -> Option<&PendingDelete> {
        let mut pending = self.pending.iter();
        pending.find(|p| p.partition == partition && p.broker == broker)
    }

    /// Its partition `index`.
    pub(crate) fn partition(&self, index: u32) -> TopicPartition {
        TopicPartition {
            topic: self.id,
            partition: PartitionIndex(index),
        }
    }

    /// All partitions that should have a record.
    pub(crate) fn placed_partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        (0..self.placed).map(|index| self.partition(index))
    }
}

impl Cluster {
    /// The active topic of this name.
    pub(crate) fn active(&self, name: &str) -> Option<&Arc<Topic>> {
        self.active_topics().find(|topic| topic.name == name)
    }

    pub(crate) fn active_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.root.value.topics.values().filter(|t| t.is_active())
    }

    pub(crate) fn served_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.root.value.topics.values().filter(|t| t.is_served())
    }

    pub(crate) fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.root.value.topics.get(&id)
    }

    /// The record of one of `topic`'s partitions.
    pub(crate) fn assignment(
        &self,
        topic: &Topic,
        partition: TopicPartition,
    ) -> Option<&Assignment> {
        let mut maps = topic.maps.iter().filter_map(|name| self.maps.get(name));
        maps.find_map(|map| map.value.partitions.get(&partition))
    }

    /// Every record that counts. One of a topic that the root does not list, or beyond what it counts, was left by a decision that got
    /// no further than the maps: it is as if it were not there.
    pub(crate) fn assignments(
        &self,
    ) -> impl Iterator<Item = (&Arc<Topic>, TopicPartition, &Assignment)> {
        let records = self.maps.values().flat_map(|map| &map.value.partitions);
        records.filter_map(|(partition, assignment)| {
            let topic = self.counting(*partition)?;
            Some((topic, *partition, assignment))
        })
    }

    /// The topic that counts `partition` among its own.
    pub(crate) fn counting(&self, partition: TopicPartition) -> Option<&Arc<Topic>> {
        let topic = self.topic(partition.topic)?;
        (partition.partition.0 < topic.placed).then_some(topic)
    }

    /// The broker on this volume. Should two controllers have numbered one volume, the later number counts.
    pub(crate) fn broker_of(&self, uuid: BrokerUuid) -> Option<&Arc<Broker>> {
        let brokers = self.brokers.values().rev().map(|broker| &broker.value);
        brokers.into_iter().find(|broker| broker.uuid == uuid)
    }

    /// The name of the map with this index in the root's list.
    pub(crate) fn map_name(index: usize) -> String {
        format!("map-{index:05}")
    }
}
