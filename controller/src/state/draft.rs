//! A decision in the making: what the cluster will be, which objects change for it, and why.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_core::{
    Assignment, BrokerNumber, LeaderEpoch, PartitionEpoch, TopicId, TopicPartition,
    replica::{Mutant, is_broken},
};

use super::{
    cluster::{Broker, Cluster, Object, PARTITIONS_PER_MAP, PartitionMap, Root, Topic},
    stored,
};
use crate::{
    store::{ObjectName, Version},
    writes::WriteReason,
};
use taffrail_api::v1;

/// One put.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) reason: WriteReason,
    pub(crate) expected: Option<Version>,
    pub(crate) value: Value,
}

/// What is put.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Root(v1::ClusterMetadata),
    Map(v1::PartitionMap),
    Broker(v1::StoredBroker),
}

impl Write {
    pub(crate) fn object(&self) -> ObjectName {
        match &self.value {
            Value::Root(_) => ObjectName::Root,
            Value::Map(map) => ObjectName::Map(map.name.clone()),
            Value::Broker(broker) => ObjectName::Broker(broker.number),
        }
    }
}

/// The cluster as it will be.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    base: Cluster,
    pub(crate) cluster: Cluster,
    reasons: BTreeMap<ObjectName, WriteReason>,
}

impl Draft {
    pub(crate) fn new(base: &Cluster) -> Self {
        Self {
            base: base.clone(),
            cluster: base.clone(),
            reasons: BTreeMap::new(),
        }
    }

    pub(crate) fn root(&mut self, reason: WriteReason) -> &mut Root {
        self.reasons.entry(ObjectName::Root).or_insert(reason);
        self.cluster.root.edit()
    }

    /// The topic, which must be listed.
    pub(crate) fn topic(&mut self, id: TopicId, reason: WriteReason) -> Option<&mut Topic> {
        self.root(reason).topics.get_mut(&id).map(Arc::make_mut)
    }

    /// The record of a partition that has one.
    pub(crate) fn assignment(
        &mut self,
        partition: TopicPartition,
        reason: WriteReason,
    ) -> Option<&mut Assignment> {
        let topic = self.cluster.topic(partition.topic)?;
        let holds = |name: &&String| {
            let map = self.cluster.maps.get(*name);
            map.is_some_and(|map| map.value.partitions.contains_key(&partition))
        };
        let name = topic.maps.iter().find(holds)?.clone();
        self.map(&name, reason)?.partitions.get_mut(&partition)
    }

    /// Gives a partition its first record, or the one it lost.
    ///
    /// A record that is there already was never told to anybody: it was left by a decision that got no further than the maps, or by a
    /// root that went back. It is replaced where it is, under higher epochs.
    pub(crate) fn insert(
        &mut self,
        partition: TopicPartition,
        mut assignment: Assignment,
        reason: WriteReason,
    ) {
        let holder = self.cluster.maps.iter().find_map(|(name, map)| {
            let record = map.value.partitions.get(&partition)?;
            Some((name.clone(), record.version()))
        });
        let name = match holder {
            Some((name, (leader_epoch, partition_epoch))) => {
                assignment.leader_epoch =
                    assignment.leader_epoch.max(LeaderEpoch(leader_epoch.0 + 1));
                let above = PartitionEpoch(partition_epoch.0 + 1);
                assignment.partition_epoch = assignment.partition_epoch.max(above);
                name
            }
            None => self.map_with_room(reason),
        };
        if let Some(map) = self.map(&name, reason) {
            map.partitions.insert(partition, assignment);
        }
        if let Some(topic) = self.topic(partition.topic, reason)
            && !topic.maps.contains(&name)
        {
            topic.maps.push(name);
        }
    }

    /// Forgets the records of a topic.
    pub(crate) fn remove_records(&mut self, topic: &Topic, reason: WriteReason) {
        for name in &topic.maps {
            if let Some(map) = self.map(name, reason) {
                map.partitions
                    .retain(|partition, _| partition.topic != topic.id);
            }
        }
    }

    pub(crate) fn map(&mut self, name: &str, reason: WriteReason) -> Option<&mut PartitionMap> {
        let object = ObjectName::Map(name.to_owned());
        let map = self.cluster.maps.get_mut(name)?;
        self.reasons.entry(object).or_insert(reason);
        Some(map.edit())
    }

    pub(crate) fn broker(
        &mut self,
        number: BrokerNumber,
        reason: WriteReason,
    ) -> Option<&mut Broker> {
        let broker = self.cluster.brokers.get_mut(&number)?;
        let object = ObjectName::Broker(number.0);
        self.reasons.entry(object).or_insert(reason);
        Some(broker.edit())
    }

    pub(crate) fn put_broker(&mut self, broker: Broker, reason: WriteReason) {
        let object = ObjectName::Broker(broker.number.0);
        self.reasons.entry(object).or_insert(reason);
        let known = self.cluster.brokers.get(&broker.number);
        let version = known.and_then(|known| known.version.clone());
        let value = Arc::new(broker);
        self.cluster
            .brokers
            .insert(value.number, Object { version, value });
    }

    /// A map that was listed and is gone: an empty one takes its place.
    pub(crate) fn recreate_map(&mut self, name: &str, epoch: u64, reason: WriteReason) {
        let map = PartitionMap {
            name: name.to_owned(),
            epoch,
            partitions: BTreeMap::new(),
        };
        self.reasons
            .insert(ObjectName::Map(name.to_owned()), reason);
        let version = self.cluster.leftovers.remove(name);
        let value = Arc::new(map);
        self.cluster
            .maps
            .insert(name.to_owned(), Object { version, value });
    }

    /// The first map that takes another partition; a new one, listed by the root, if there is none.
    fn map_with_room(&mut self, reason: WriteReason) -> String {
        let root = &self.cluster.root.value;
        let has_room = |name: &&String| {
            let map = self.cluster.maps.get(*name);
            map.is_some_and(|map| map.value.partitions.len() < PARTITIONS_PER_MAP)
        };
        if let Some(name) = root.maps.iter().find(has_room) {
            return name.clone();
        }
        let (name, epoch) = (Cluster::map_name(root.maps.len()), root.epoch);
        self.recreate_map(&name, epoch, reason);
        self.root(reason).maps.push(name.clone());
        name
    }

    /// What has to be put, in an order whose every beginning leaves a state that recovers: maps, so that what the root lists exists;
    /// the root, so that a number is spent before a broker has it; brokers, so that an incarnation is confirmed after its elections.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        for (name, map) in &self.cluster.maps {
            let before = self.base.maps.get(name);
            if before.is_none_or(|before| is_changed(before, map)) {
                let value = Value::Map(stored::write_map(&map.value));
                writes.push(self.write(&ObjectName::Map(name.clone()), map.version.clone(), value));
            }
        }
        let root = &self.cluster.root;
        let makes_map = self.cluster.maps.len() > self.base.maps.len();
        let is_skipped = makes_map && is_broken(Mutant::MapCreatedWithoutRoot);
        if (root.version.is_none() || is_changed(&self.base.root, root)) && !is_skipped {
            let value = Value::Root(stored::write_root(&root.value));
            writes.push(self.write(&ObjectName::Root, root.version.clone(), value));
        }
        for (number, broker) in &self.cluster.brokers {
            let before = self.base.brokers.get(number);
            if before.is_none_or(|before| is_changed(before, broker)) {
                let value = Value::Broker(stored::write_broker(&broker.value));
                writes.push(self.write(
                    &ObjectName::Broker(number.0),
                    broker.version.clone(),
                    value,
                ));
            }
        }
        writes
    }

    fn write(&self, object: &ObjectName, expected: Option<Version>, value: Value) -> Write {
        let reason = self.reasons.get(object).copied();
        Write {
            // Nothing is edited without a reason: see the methods above.
            reason: reason.unwrap_or(WriteReason::Claim),
            expected,
            value,
        }
    }

    /// The cluster once all `writes` are answered with `versions`.
    pub(crate) fn finish(mut self, objects: Vec<ObjectName>, versions: Vec<Version>) -> Cluster {
        assert_eq!(objects.len(), versions.len(), "every write has its version");
        for (object, version) in objects.into_iter().zip(versions) {
            let slot = match object {
                ObjectName::Root => Some(&mut self.cluster.root.version),
                ObjectName::Map(name) => self.cluster.maps.get_mut(&name).map(|m| &mut m.version),
                ObjectName::Broker(number) => {
                    let broker = self.cluster.brokers.get_mut(&BrokerNumber(number));
                    broker.map(|b| &mut b.version)
                }
            };
            if let Some(slot) = slot {
                *slot = Some(version);
            }
        }
        self.cluster
    }

    /// What it was made from.
    pub(crate) const fn base(&self) -> &Cluster {
        &self.base
    }
}

fn is_changed<T: PartialEq>(before: &Object<T>, after: &Object<T>) -> bool {
    !Arc::ptr_eq(&before.value, &after.value) && before.value != after.value
}
