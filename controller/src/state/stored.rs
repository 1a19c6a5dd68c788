//! The metadata as the store has it, and back.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use taffrail_api::{WireError, convert, v1};
use taffrail_core::{
    Assignment, BrokerNumber, BrokerUuid, PartitionEpoch, PartitionIndex, TopicId,
};

use super::cluster::{
    Broker, Cluster, Object, PartitionMap, PendingDelete, Root, Topic, TopicState,
};
use crate::store::{ObjectName, Snapshot, Versioned};

/// An object that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) object: ObjectName,
    pub(crate) reason: String,
}

/// What a store holds, understood.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None`: there is no root.
    pub(crate) cluster: Option<Cluster>,
    /// Maps that the root lists and that are not there.
    pub(crate) vanished: Vec<String>,
    /// The highest epoch that any object carries.
    pub(crate) epoch_max: u64,
    /// Are there maps or brokers?
    pub(crate) has_others: bool,
}

/// Reads a snapshot.
pub(crate) fn load(snapshot: Snapshot) -> Result<Loaded, Invalid> {
    let map_epochs = snapshot.maps.iter().map(|m| m.value.controller_epoch);
    let broker_epochs = snapshot.brokers.iter().map(|b| b.value.controller_epoch);
    let root_epoch = snapshot.root.iter().map(|r| r.value.controller_epoch);
    let epoch_max = map_epochs.chain(broker_epochs).chain(root_epoch).max();
    let mut loaded = Loaded {
        cluster: None,
        vanished: Vec::new(),
        epoch_max: epoch_max.unwrap_or_default(),
        has_others: !snapshot.maps.is_empty() || !snapshot.brokers.is_empty(),
    };
    let Some(root) = snapshot.root else {
        return Ok(loaded);
    };
    let root = object(ObjectName::Root, root, read_root)?;
    let mut maps = BTreeMap::new();
    let mut leftovers = BTreeMap::new();
    for map in snapshot.maps {
        let name = map.value.name.clone();
        if root.value.maps.contains(&name) {
            maps.insert(name.clone(), object(ObjectName::Map(name), map, read_map)?);
        } else {
            leftovers.insert(name, map.version);
        }
    }
    let mut brokers = BTreeMap::new();
    for broker in snapshot.brokers {
        let number = broker.value.number;
        let broker = object(ObjectName::Broker(number), broker, read_broker)?;
        brokers.insert(BrokerNumber(number), broker);
    }
    let listed = root.value.maps.iter();
    loaded.vanished = listed
        .filter(|name| !maps.contains_key(*name))
        .cloned()
        .collect();
    loaded.cluster = Some(Cluster {
        root,
        maps,
        brokers,
        leftovers,
    });
    Ok(loaded)
}

fn object<W, T>(
    name: ObjectName,
    stored: Versioned<W>,
    read: impl FnOnce(W) -> Result<T, WireError>,
) -> Result<Object<T>, Invalid> {
    let value = read(stored.value).map_err(|error| Invalid {
        object: name,
        reason: error.message,
    })?;
    Ok(Object {
        version: Some(stored.version),
        value: Arc::new(value),
    })
}

fn read_root(root: v1::ClusterMetadata) -> Result<Root, WireError> {
    let cluster_id = convert::cluster_id(&root.cluster_id)?
        .ok_or_else(|| WireError::invalid("cluster_id is missing"))?;
    let mut topics = BTreeMap::new();
    for entry in root.topics {
        let topic = read_topic(entry)?;
        topics.insert(topic.id, Arc::new(topic));
    }
    Ok(Root {
        cluster_id,
        epoch: root.controller_epoch,
        holder: root.holder,
        maps: root.partition_maps,
        topics,
        next_broker_number: root.next_broker_number,
    })
}

fn read_topic(entry: v1::TopicEntry) -> Result<Topic, WireError> {
    let named = |what: &str| WireError::invalid(format!("topic {}: {what}", entry.name));
    let id = TopicId::try_from(&entry.topic_id[..]).map_err(|e| named(&e.to_string()))?;
    let pending = entry.pending.iter().map(|p| PendingDelete {
        partition: PartitionIndex(p.partition),
        broker: BrokerNumber(p.broker),
        partition_epoch: PartitionEpoch(p.partition_epoch),
    });
    let state = match entry.state() {
        v1::TopicState::TopicActive => TopicState::Active,
        v1::TopicState::TopicClosing => TopicState::Closing,
        v1::TopicState::TopicRetained => TopicState::Retained { ended: entry.ended },
        v1::TopicState::TopicDeleting => TopicState::Deleting,
        v1::TopicState::Unspecified => return Err(named("its state is missing or unknown")),
    };
    let spec = entry.spec.ok_or_else(|| named("spec is missing"))?;
    let config = entry.config.ok_or_else(|| named("config is missing"))?;
    Ok(Topic {
        id,
        state,
        spec: spec.try_into()?,
        config: config.try_into()?,
        generation: entry.generation,
        placed: entry.placed,
        pending: pending.collect(),
        maps: entry.partition_maps,
        name: entry.name,
    })
}

fn read_map(map: v1::PartitionMap) -> Result<PartitionMap, WireError> {
    let mut partitions = BTreeMap::new();
    for record in map.partitions {
        let partition = convert::topic_partition(&record.topic_id, record.partition)?;
        let assignment = record
            .assignment
            .ok_or_else(|| WireError::invalid(format!("partition {partition}: no assignment")))?;
        partitions.insert(partition, Assignment::try_from(assignment)?);
    }
    Ok(PartitionMap {
        name: map.name,
        epoch: map.controller_epoch,
        partitions,
    })
}

fn read_broker(broker: v1::StoredBroker) -> Result<Broker, WireError> {
    let uuid = BrokerUuid::try_from(&broker.uuid[..])
        .map_err(|e| WireError::invalid(format!("uuid: {e}")))?;
    let versions = broker.versions.unwrap_or_default();
    Ok(Broker {
        number: BrokerNumber(broker.number),
        uuid,
        incarnation: broker.incarnation.unwrap_or_default().into(),
        name: broker.name,
        rack: Some(broker.rack).filter(|rack| !rack.is_empty()),
        client: broker.client.unwrap_or_default(),
        replication: broker.replication,
        versions: versions.min..=versions.max,
        software_version: broker.software_version,
        epoch: broker.controller_epoch,
    })
}

/// The root as it is stored.
pub(crate) fn write_root(root: &Root) -> v1::ClusterMetadata {
    v1::ClusterMetadata {
        cluster_id: root.cluster_id.to_string(),
        controller_epoch: root.epoch,
        holder: root.holder,
        partition_maps: root.maps.clone(),
        topics: root
            .topics
            .values()
            .map(|topic| write_topic(topic))
            .collect(),
        next_broker_number: root.next_broker_number,
    }
}

fn write_topic(topic: &Topic) -> v1::TopicEntry {
    let (state, ended) = match topic.state {
        TopicState::Active => (v1::TopicState::TopicActive, 0),
        TopicState::Closing => (v1::TopicState::TopicClosing, 0),
        TopicState::Retained { ended } => (v1::TopicState::TopicRetained, ended),
        TopicState::Deleting => (v1::TopicState::TopicDeleting, 0),
    };
    let pending = topic.pending.iter().map(|p| v1::PendingDelete {
        partition: p.partition.0,
        broker: p.broker.0,
        partition_epoch: p.partition_epoch.0,
    });
    v1::TopicEntry {
        name: topic.name.clone(),
        topic_id: topic_id(topic.id),
        partition_maps: topic.maps.clone(),
        state: state.into(),
        spec: Some((&topic.spec).into()),
        config: Some((&topic.config).into()),
        generation: topic.generation,
        pending: pending.collect(),
        placed: topic.placed,
        ended,
    }
}

/// A map as it is stored.
pub(crate) fn write_map(map: &PartitionMap) -> v1::PartitionMap {
    let records = map
        .partitions
        .iter()
        .map(|(partition, assignment)| v1::PartitionRecord {
            topic_id: topic_id(partition.topic),
            partition: partition.partition.0,
            assignment: Some(assignment.into()),
        });
    v1::PartitionMap {
        name: map.name.clone(),
        controller_epoch: map.epoch,
        partitions: records.collect(),
    }
}

/// A broker as it is stored.
pub(crate) fn write_broker(broker: &Broker) -> v1::StoredBroker {
    v1::StoredBroker {
        number: broker.number.0,
        uuid: Bytes::copy_from_slice(broker.uuid.as_bytes()),
        incarnation: Some(broker.incarnation.into()),
        name: broker.name.clone(),
        rack: broker.rack.clone().unwrap_or_default(),
        client: Some(broker.client.clone()),
        replication: broker.replication.clone(),
        versions: Some(v1::VersionRange {
            min: *broker.versions.start(),
            max: *broker.versions.end(),
        }),
        software_version: broker.software_version.clone(),
        controller_epoch: broker.epoch,
    }
}

/// A topic id on the wire.
pub(crate) fn topic_id(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}
