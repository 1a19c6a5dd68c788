//! Topics of the root.

use taffrail_api::v1;
use taffrail_core::TopicId;
use taffrail_crds::{
    machine::{PendingDelete, StoredTopic, StoredTopicConfig, StoredTopicSpec, TopicState},
    topic::{Adoption, Cleanup, DeletionPolicy, Durability, UncleanElection},
};

use super::{DecodeError, id_text, parse, unsigned};

pub(super) fn to_stored(topic: &v1::TopicEntry) -> StoredTopic {
    StoredTopic {
        name: topic.name.clone(),
        topic_id: id_text::<TopicId>(&topic.topic_id),
        partition_maps: topic.partition_maps.clone(),
        state: match topic.state() {
            v1::TopicState::TopicClosing => TopicState::Closing,
            v1::TopicState::TopicRetained => TopicState::Retained,
            v1::TopicState::TopicDeleting => TopicState::Deleting,
            v1::TopicState::TopicActive | v1::TopicState::Unspecified => TopicState::Active,
        },
        spec: topic.spec.as_ref().map(spec_to_stored),
        config: topic.config.as_ref().map(config_to_stored),
        generation: topic.generation.cast_signed(),
        placed: topic.placed,
        ended: topic.ended.cast_signed(),
        pending: topic.pending.iter().map(pending_to_stored).collect(),
    }
}

pub(super) fn from_stored(topic: &StoredTopic) -> Result<v1::TopicEntry, DecodeError> {
    let topic_id: TopicId = parse("topics.topicId", &topic.topic_id)?;
    let state = match topic.state {
        TopicState::Active => v1::TopicState::TopicActive,
        TopicState::Closing => v1::TopicState::TopicClosing,
        TopicState::Retained => v1::TopicState::TopicRetained,
        TopicState::Deleting => v1::TopicState::TopicDeleting,
    };
    Ok(v1::TopicEntry {
        name: topic.name.clone(),
        topic_id: topic_id.as_bytes().to_vec().into(),
        partition_maps: topic.partition_maps.clone(),
        state: state.into(),
        spec: topic.spec.as_ref().map(spec_from_stored).transpose()?,
        config: topic.config.as_ref().map(config_from_stored).transpose()?,
        generation: unsigned("topics.generation", topic.generation)?,
        placed: topic.placed,
        ended: unsigned("topics.ended", topic.ended)?,
        pending: topic
            .pending
            .iter()
            .map(pending_from_stored)
            .collect::<Result<_, _>>()?,
    })
}

fn pending_to_stored(pending: &v1::PendingDelete) -> PendingDelete {
    PendingDelete {
        partition: pending.partition,
        broker: pending.broker,
        partition_epoch: pending.partition_epoch.cast_signed(),
    }
}

fn pending_from_stored(pending: &PendingDelete) -> Result<v1::PendingDelete, DecodeError> {
    Ok(v1::PendingDelete {
        partition: pending.partition,
        broker: pending.broker,
        partition_epoch: unsigned("topics.pending.partitionEpoch", pending.partition_epoch)?,
    })
}

fn spec_to_stored(spec: &v1::TopicSpec) -> StoredTopicSpec {
    StoredTopicSpec {
        partitions: spec.partitions,
        replicas: spec.replicas,
        min_in_sync: spec.min_in_sync,
        durability: durability(spec.durability()),
        retention_ms: spec.retention_ms.map(u64::cast_signed),
        retention_bytes_per_partition: spec.retention_bytes_per_partition.map(u64::cast_signed),
        segment_bytes: spec.segment_bytes.map(u64::cast_signed),
        segment_max_age_ms: spec.segment_max_age_ms.map(u64::cast_signed),
        max_batch_bytes: spec.max_batch_bytes.map(u64::cast_signed),
        deletion_policy: match spec.deletion_policy() {
            v1::DeletionPolicy::Unspecified => None,
            v1::DeletionPolicy::Retain => Some(DeletionPolicy::Retain),
            v1::DeletionPolicy::Delete => Some(DeletionPolicy::Delete),
            v1::DeletionPolicy::DeleteIfEmpty => Some(DeletionPolicy::DeleteIfEmpty),
        },
        adoption: match spec.adoption() {
            v1::Adoption::Unspecified => None,
            v1::Adoption::Never => Some(Adoption::Never),
            v1::Adoption::ByName => Some(Adoption::ByName),
            v1::Adoption::Fresh => Some(Adoption::Fresh),
        },
        unclean_election: spec
            .allow_unclean_election
            .then_some(UncleanElection::Allow),
        cleanup: cleanup(spec.cleanup()),
        compaction_min_lag_ms: spec.compaction_min_lag_ms.map(u64::cast_signed),
        tombstone_retention_ms: spec.tombstone_retention_ms.map(u64::cast_signed),
    }
}

fn spec_from_stored(spec: &StoredTopicSpec) -> Result<v1::TopicSpec, DecodeError> {
    let number = |field, value: Option<i64>| value.map(|v| unsigned(field, v)).transpose();
    let deletion_policy = match spec.deletion_policy {
        None => v1::DeletionPolicy::Unspecified,
        Some(DeletionPolicy::Retain) => v1::DeletionPolicy::Retain,
        Some(DeletionPolicy::Delete) => v1::DeletionPolicy::Delete,
        Some(DeletionPolicy::DeleteIfEmpty) => v1::DeletionPolicy::DeleteIfEmpty,
    };
    let adoption = match spec.adoption {
        None => v1::Adoption::Unspecified,
        Some(Adoption::Never) => v1::Adoption::Never,
        Some(Adoption::ByName) => v1::Adoption::ByName,
        Some(Adoption::Fresh) => v1::Adoption::Fresh,
    };
    Ok(v1::TopicSpec {
        partitions: spec.partitions,
        replicas: spec.replicas,
        min_in_sync: spec.min_in_sync,
        durability: wire_durability(spec.durability).into(),
        retention_ms: number("topics.spec.retentionMs", spec.retention_ms)?,
        retention_bytes_per_partition: number(
            "topics.spec.retentionBytesPerPartition",
            spec.retention_bytes_per_partition,
        )?,
        segment_bytes: number("topics.spec.segmentBytes", spec.segment_bytes)?,
        segment_max_age_ms: number("topics.spec.segmentMaxAgeMs", spec.segment_max_age_ms)?,
        max_batch_bytes: number("topics.spec.maxBatchBytes", spec.max_batch_bytes)?,
        deletion_policy: deletion_policy.into(),
        adoption: adoption.into(),
        allow_unclean_election: spec.unclean_election == Some(UncleanElection::Allow),
        cleanup: wire_cleanup(spec.cleanup).into(),
        compaction_min_lag_ms: number(
            "topics.spec.compactionMinLagMs",
            spec.compaction_min_lag_ms,
        )?,
        tombstone_retention_ms: number(
            "topics.spec.tombstoneRetentionMs",
            spec.tombstone_retention_ms,
        )?,
    })
}

fn config_to_stored(config: &v1::TopicConfig) -> StoredTopicConfig {
    StoredTopicConfig {
        partitions: config.partitions,
        replicas: config.replicas,
        min_in_sync: config.min_in_sync,
        durability: durability(config.durability()).unwrap_or(Durability::Fsync),
        retention_ms: config.retention_ms.map(u64::cast_signed),
        retention_bytes_per_partition: config.retention_bytes_per_partition.map(u64::cast_signed),
        segment_bytes: config.segment_bytes.cast_signed(),
        segment_max_age_ms: config.segment_max_age_ms.cast_signed(),
        max_batch_bytes: config.max_batch_bytes.cast_signed(),
        cleanup: cleanup(config.cleanup()),
        compaction_min_lag_ms: config.compaction_min_lag_ms.map(u64::cast_signed),
        tombstone_retention_ms: config.tombstone_retention_ms.map(u64::cast_signed),
    }
}

fn config_from_stored(config: &StoredTopicConfig) -> Result<v1::TopicConfig, DecodeError> {
    let number = |field, value: Option<i64>| value.map(|v| unsigned(field, v)).transpose();
    Ok(v1::TopicConfig {
        partitions: config.partitions,
        replicas: config.replicas,
        min_in_sync: config.min_in_sync,
        durability: wire_durability(Some(config.durability)).into(),
        retention_ms: number("topics.config.retentionMs", config.retention_ms)?,
        retention_bytes_per_partition: number(
            "topics.config.retentionBytesPerPartition",
            config.retention_bytes_per_partition,
        )?,
        segment_bytes: unsigned("topics.config.segmentBytes", config.segment_bytes)?,
        segment_max_age_ms: unsigned("topics.config.segmentMaxAgeMs", config.segment_max_age_ms)?,
        max_batch_bytes: unsigned("topics.config.maxBatchBytes", config.max_batch_bytes)?,
        cleanup: wire_cleanup(config.cleanup).into(),
        compaction_min_lag_ms: number(
            "topics.config.compactionMinLagMs",
            config.compaction_min_lag_ms,
        )?,
        tombstone_retention_ms: number(
            "topics.config.tombstoneRetentionMs",
            config.tombstone_retention_ms,
        )?,
    })
}

fn cleanup(cleanup: v1::Cleanup) -> Option<Cleanup> {
    match cleanup {
        v1::Cleanup::Unspecified => None,
        v1::Cleanup::Delete => Some(Cleanup::Delete),
        v1::Cleanup::Compact => Some(Cleanup::Compact),
        v1::Cleanup::CompactAndDelete => Some(Cleanup::CompactAndDelete),
    }
}

fn wire_cleanup(cleanup: Option<Cleanup>) -> v1::Cleanup {
    match cleanup {
        None => v1::Cleanup::Unspecified,
        Some(Cleanup::Delete) => v1::Cleanup::Delete,
        Some(Cleanup::Compact) => v1::Cleanup::Compact,
        Some(Cleanup::CompactAndDelete) => v1::Cleanup::CompactAndDelete,
    }
}

fn durability(durability: v1::Durability) -> Option<Durability> {
    match durability {
        v1::Durability::Unspecified => None,
        v1::Durability::Fsync => Some(Durability::Fsync),
        v1::Durability::PageCache => Some(Durability::PageCache),
    }
}

fn wire_durability(durability: Option<Durability>) -> v1::Durability {
    match durability {
        None => v1::Durability::Unspecified,
        Some(Durability::Fsync) => v1::Durability::Fsync,
        Some(Durability::PageCache) => v1::Durability::PageCache,
    }
}
