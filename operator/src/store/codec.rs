//! Metadata <-> machine resources. What was written reads back as it was, or not at all.

mod partition;
mod topic;

use taffrail_api::v1;
use taffrail_core::{BrokerUuid, ClusterId, ids::ParseIdError};
use taffrail_crds::machine::{
    BrokerEndpoint, BrokerSpec, ClusterMetadataSpec, IncarnationText, PartitionMapSpec,
    VersionRange,
};
use thiserror::Error;

/// A field that holds what nobody wrote.
#[derive(Debug, Error)]
pub(super) enum DecodeError {
    #[error("{field}: {source}")]
    Id {
        field: &'static str,
        source: ParseIdError,
    },
    #[error("{field}: {value:?} is not a hexadecimal number")]
    Hex { field: &'static str, value: String },
    #[error("{field}: {value} is negative")]
    Negative { field: &'static str, value: i64 },
}

pub(super) fn root_spec(root: &v1::ClusterMetadata) -> ClusterMetadataSpec {
    ClusterMetadataSpec {
        cluster_id: root.cluster_id.clone(),
        controller_epoch: root.controller_epoch.cast_signed(),
        holder: hex(root.holder),
        partition_maps: root.partition_maps.clone(),
        topics: root.topics.iter().map(topic::to_stored).collect(),
        next_broker_number: root.next_broker_number,
    }
}

pub(super) fn root(spec: &ClusterMetadataSpec) -> Result<v1::ClusterMetadata, DecodeError> {
    let _: ClusterId = parse("clusterId", &spec.cluster_id)?;
    Ok(v1::ClusterMetadata {
        cluster_id: spec.cluster_id.clone(),
        controller_epoch: unsigned("controllerEpoch", spec.controller_epoch)?,
        holder: from_hex("holder", &spec.holder)?,
        partition_maps: spec.partition_maps.clone(),
        topics: spec
            .topics
            .iter()
            .map(topic::from_stored)
            .collect::<Result<_, _>>()?,
        next_broker_number: spec.next_broker_number,
    })
}

pub(super) fn map_spec(cluster: &str, map: &v1::PartitionMap) -> PartitionMapSpec {
    PartitionMapSpec {
        cluster: cluster.to_owned(),
        name: map.name.clone(),
        controller_epoch: map.controller_epoch.cast_signed(),
        partitions: map.partitions.iter().map(partition::to_stored).collect(),
    }
}

pub(super) fn map(spec: &PartitionMapSpec) -> Result<v1::PartitionMap, DecodeError> {
    Ok(v1::PartitionMap {
        name: spec.name.clone(),
        controller_epoch: unsigned("controllerEpoch", spec.controller_epoch)?,
        partitions: spec
            .partitions
            .iter()
            .map(partition::from_stored)
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn broker_spec(cluster: &str, broker: &v1::StoredBroker) -> BrokerSpec {
    BrokerSpec {
        cluster: cluster.to_owned(),
        number: broker.number,
        uuid: id_text::<BrokerUuid>(&broker.uuid),
        incarnation: incarnation_text(broker.incarnation.as_ref()),
        name: broker.name.clone(),
        rack: (!broker.rack.is_empty()).then(|| broker.rack.clone()),
        client: broker.client.as_ref().map(endpoint_spec),
        replication: broker.replication.as_ref().map(endpoint_spec),
        versions: broker.versions.as_ref().map(|v| VersionRange {
            min: v.min,
            max: v.max,
        }),
        software_version: broker.software_version.clone(),
        controller_epoch: broker.controller_epoch.cast_signed(),
    }
}

pub(super) fn broker(spec: &BrokerSpec) -> Result<v1::StoredBroker, DecodeError> {
    let uuid: BrokerUuid = parse("uuid", &spec.uuid)?;
    let endpoint = |e: &BrokerEndpoint| v1::Endpoint {
        host: e.host.clone(),
        port: e.port,
    };
    Ok(v1::StoredBroker {
        number: spec.number,
        uuid: uuid.as_bytes().to_vec().into(),
        incarnation: Some(incarnation(&spec.incarnation)?),
        name: spec.name.clone(),
        rack: spec.rack.clone().unwrap_or_default(),
        client: spec.client.as_ref().map(endpoint),
        replication: spec.replication.as_ref().map(endpoint),
        versions: spec.versions.as_ref().map(|v| v1::VersionRange {
            min: v.min,
            max: v.max,
        }),
        software_version: spec.software_version.clone(),
        controller_epoch: unsigned("controllerEpoch", spec.controller_epoch)?,
    })
}

fn endpoint_spec(endpoint: &v1::Endpoint) -> BrokerEndpoint {
    BrokerEndpoint {
        host: endpoint.host.clone(),
        port: endpoint.port,
    }
}

fn incarnation_text(incarnation: Option<&v1::Incarnation>) -> IncarnationText {
    let incarnation = incarnation.copied().unwrap_or_default();
    IncarnationText {
        generation: incarnation.generation.cast_signed(),
        random: hex(incarnation.random),
    }
}

fn incarnation(text: &IncarnationText) -> Result<v1::Incarnation, DecodeError> {
    Ok(v1::Incarnation {
        generation: unsigned("incarnation.generation", text.generation)?,
        random: from_hex("incarnation.random", &text.random)?,
    })
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn from_hex(field: &'static str, text: &str) -> Result<u64, DecodeError> {
    u64::from_str_radix(text, 16).map_err(|_| DecodeError::Hex {
        field,
        value: text.to_owned(),
    })
}

/// Epochs and sizes count up from 0 and stay far below 2^63, which is what an API server's integers hold.
fn unsigned(field: &'static str, value: i64) -> Result<u64, DecodeError> {
    u64::try_from(value).map_err(|_| DecodeError::Negative { field, value })
}

fn parse<T: std::str::FromStr<Err = ParseIdError>>(
    field: &'static str,
    text: &str,
) -> Result<T, DecodeError> {
    text.parse()
        .map_err(|source| DecodeError::Id { field, source })
}

/// The text of 16 bytes. What is no identity is written as the nil one and refused when it is read.
fn id_text<T>(bytes: &[u8]) -> String
where
    T: for<'a> TryFrom<&'a [u8]> + std::fmt::Display,
{
    T::try_from(bytes).map_or_else(|_| String::new(), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Vec<u8> {
        vec![byte; 16]
    }

    #[test]
    fn a_root_reads_back_as_it_was_written() {
        let spec = v1::TopicSpec {
            partitions: Some(3),
            durability: v1::Durability::PageCache.into(),
            retention_ms: Some(604_800_000),
            deletion_policy: v1::DeletionPolicy::DeleteIfEmpty.into(),
            adoption: v1::Adoption::Fresh.into(),
            allow_unclean_election: true,
            cleanup: v1::Cleanup::CompactAndDelete.into(),
            compaction_min_lag_ms: Some(60_000),
            tombstone_retention_ms: Some(3_600_000),
            ..v1::TopicSpec::default()
        };
        let config = v1::TopicConfig {
            partitions: 3,
            replicas: 1,
            min_in_sync: 1,
            durability: v1::Durability::PageCache.into(),
            retention_ms: None,
            retention_bytes_per_partition: Some(5),
            segment_bytes: 1 << 28,
            segment_max_age_ms: 86_400_000,
            max_batch_bytes: 1 << 20,
            cleanup: v1::Cleanup::CompactAndDelete.into(),
            compaction_min_lag_ms: Some(60_000),
            tombstone_retention_ms: Some(3_600_000),
        };
        let written = v1::ClusterMetadata {
            cluster_id: "6f1c5c6a-0123-4567-89ab-cdef00112233".to_owned(),
            controller_epoch: 7,
            holder: u64::MAX,
            partition_maps: vec!["map-0".to_owned()],
            topics: vec![v1::TopicEntry {
                name: "flights".to_owned(),
                topic_id: id(9).into(),
                partition_maps: vec!["map-0".to_owned()],
                state: v1::TopicState::TopicDeleting.into(),
                spec: Some(spec),
                config: Some(config),
                generation: 4,
                pending: vec![v1::PendingDelete {
                    partition: 2,
                    broker: 1,
                    partition_epoch: 8,
                }],
                placed: 3,
                ended: 11,
            }],
            next_broker_number: 5,
        };
        assert_eq!(root(&root_spec(&written)).expect("reads back"), written);
    }

    #[test]
    fn a_map_reads_back_as_it_was_written() {
        let assignment = v1::Assignment {
            replicas: vec![1, 2],
            adding: vec![2],
            removing: vec![],
            isr: vec![1],
            leader: Some(1),
            leader_incarnation: Some(v1::Incarnation {
                generation: 3,
                random: u64::MAX - 1,
            }),
            leader_epoch: 4,
            partition_epoch: 9,
            unconfirmed: vec![v1::BrokerRun {
                broker: 2,
                incarnation: Some(v1::Incarnation {
                    generation: 3,
                    random: u64::MAX,
                }),
            }],
            is_unclean: true,
        };
        let written = v1::PartitionMap {
            name: "map-0".to_owned(),
            controller_epoch: 2,
            partitions: vec![v1::PartitionRecord {
                topic_id: id(9).into(),
                partition: 1,
                assignment: Some(assignment),
            }],
        };
        assert_eq!(
            map(&map_spec("main", &written)).expect("reads back"),
            written
        );
    }

    #[test]
    fn a_broker_reads_back_as_it_was_written() {
        let endpoint = |port| v1::Endpoint {
            host: "main-0.main-brokers".to_owned(),
            port,
        };
        let written = v1::StoredBroker {
            number: 3,
            uuid: id(8).into(),
            incarnation: Some(v1::Incarnation {
                generation: 1,
                random: 2,
            }),
            name: "main-0".to_owned(),
            rack: "zone-1".to_owned(),
            client: Some(endpoint(9640)),
            replication: None,
            versions: Some(v1::VersionRange { min: 1, max: 1 }),
            software_version: "0.1.0".to_owned(),
            controller_epoch: 6,
        };
        assert_eq!(
            broker(&broker_spec("main", &written)).expect("reads back"),
            written
        );
    }

    #[test]
    fn a_field_changed_by_hand_is_refused_by_its_name() {
        let mut spec = root_spec(&v1::ClusterMetadata {
            cluster_id: "6f1c5c6a-0123-4567-89ab-cdef00112233".to_owned(),
            ..v1::ClusterMetadata::default()
        });
        spec.holder = "me".to_owned();
        let error = root(&spec).expect_err("not a number").to_string();
        assert!(error.contains("holder"), "{error}");
    }
}
