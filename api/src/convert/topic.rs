//! What a user wants of a topic, and what is in force.

use std::time::Duration;

use taffrail_core::{
    Adoption, Cleanup, DeletionPolicy, Durability, TopicConfig, TopicSpec, UncleanElection,
    topic::TOMBSTONE_RETENTION_DEFAULT,
};

use crate::{WireError, v1};

impl From<Durability> for v1::Durability {
    fn from(d: Durability) -> Self {
        match d {
            Durability::Fsync => Self::Fsync,
            Durability::PageCache => Self::PageCache,
        }
    }
}

impl From<DeletionPolicy> for v1::DeletionPolicy {
    fn from(p: DeletionPolicy) -> Self {
        match p {
            DeletionPolicy::Retain => Self::Retain,
            DeletionPolicy::Delete => Self::Delete,
            DeletionPolicy::DeleteIfEmpty => Self::DeleteIfEmpty,
        }
    }
}

impl From<Adoption> for v1::Adoption {
    fn from(a: Adoption) -> Self {
        match a {
            Adoption::Never => Self::Never,
            Adoption::ByName => Self::ByName,
            Adoption::Fresh => Self::Fresh,
        }
    }
}

impl From<Cleanup> for v1::Cleanup {
    fn from(c: Cleanup) -> Self {
        match c {
            Cleanup::Delete => Self::Delete,
            Cleanup::Compact => Self::Compact,
            Cleanup::CompactAndDelete => Self::CompactAndDelete,
        }
    }
}

impl From<&TopicSpec> for v1::TopicSpec {
    fn from(s: &TopicSpec) -> Self {
        Self {
            partitions: s.partitions,
            replicas: s.replicas,
            min_in_sync: s.min_in_sync,
            durability: s
                .durability
                .map_or(v1::Durability::Unspecified, Into::into)
                .into(),
            retention_ms: s.retention.map(to_ms),
            retention_bytes_per_partition: s.retention_bytes_per_partition,
            segment_bytes: s.segment_bytes,
            segment_max_age_ms: s.segment_max_age.map(to_ms),
            max_batch_bytes: s.max_batch_bytes,
            deletion_policy: v1::DeletionPolicy::from(s.deletion_policy).into(),
            adoption: v1::Adoption::from(s.adoption).into(),
            allow_unclean_election: s.unclean_election == UncleanElection::Allow,
            cleanup: v1::Cleanup::from(s.cleanup).into(),
            compaction_min_lag_ms: s.compaction_min_lag.map(to_ms),
            tombstone_retention_ms: s.tombstone_retention.map(to_ms),
        }
    }
}

impl TryFrom<v1::TopicSpec> for TopicSpec {
    type Error = WireError;

    fn try_from(s: v1::TopicSpec) -> Result<Self, WireError> {
        Ok(Self {
            partitions: s.partitions,
            replicas: s.replicas,
            min_in_sync: s.min_in_sync,
            durability: durability(s.durability)?,
            retention: s.retention_ms.map(Duration::from_millis),
            retention_bytes_per_partition: s.retention_bytes_per_partition,
            cleanup: cleanup(s.cleanup)?,
            compaction_min_lag: s.compaction_min_lag_ms.map(Duration::from_millis),
            tombstone_retention: s.tombstone_retention_ms.map(Duration::from_millis),
            segment_bytes: s.segment_bytes,
            segment_max_age: s.segment_max_age_ms.map(Duration::from_millis),
            max_batch_bytes: s.max_batch_bytes,
            deletion_policy: deletion_policy(s.deletion_policy)?,
            adoption: adoption(s.adoption)?,
            unclean_election: if s.allow_unclean_election {
                UncleanElection::Allow
            } else {
                UncleanElection::Never
            },
        })
    }
}

impl From<&TopicConfig> for v1::TopicConfig {
    fn from(c: &TopicConfig) -> Self {
        let compacts = c.cleanup.compacts();
        Self {
            partitions: c.partitions,
            replicas: c.replicas,
            min_in_sync: c.min_in_sync,
            durability: v1::Durability::from(c.durability).into(),
            retention_ms: c.retention.map(to_ms),
            retention_bytes_per_partition: c.retention_bytes_per_partition,
            segment_bytes: c.segment_bytes,
            segment_max_age_ms: to_ms(c.segment_max_age),
            max_batch_bytes: c.max_batch_bytes,
            cleanup: v1::Cleanup::from(c.cleanup).into(),
            compaction_min_lag_ms: compacts.then_some(to_ms(c.compaction_min_lag)),
            tombstone_retention_ms: compacts.then_some(to_ms(c.tombstone_retention)),
        }
    }
}

impl TryFrom<v1::TopicConfig> for TopicConfig {
    type Error = WireError;

    fn try_from(c: v1::TopicConfig) -> Result<Self, WireError> {
        if c.partitions == 0 || c.segment_bytes == 0 || c.max_batch_bytes == 0 {
            return Err(WireError::invalid(
                "topic config: partitions, segment_bytes and max_batch_bytes must not be 0",
            ));
        }
        Ok(Self {
            partitions: c.partitions,
            replicas: c.replicas,
            min_in_sync: c.min_in_sync,
            durability: durability(c.durability)?
                .ok_or_else(|| WireError::invalid("topic config: durability is missing"))?,
            retention: c.retention_ms.map(Duration::from_millis),
            retention_bytes_per_partition: c.retention_bytes_per_partition,
            cleanup: cleanup(c.cleanup)?,
            compaction_min_lag: Duration::from_millis(c.compaction_min_lag_ms.unwrap_or_default()),
            tombstone_retention: c
                .tombstone_retention_ms
                .map_or(TOMBSTONE_RETENTION_DEFAULT, Duration::from_millis),
            segment_bytes: c.segment_bytes,
            segment_max_age: Duration::from_millis(c.segment_max_age_ms),
            max_batch_bytes: c.max_batch_bytes,
        })
    }
}

fn durability(number: i32) -> Result<Option<Durability>, WireError> {
    match v1::Durability::try_from(number) {
        Ok(v1::Durability::Unspecified) => Ok(None),
        Ok(v1::Durability::Fsync) => Ok(Some(Durability::Fsync)),
        Ok(v1::Durability::PageCache) => Ok(Some(Durability::PageCache)),
        Err(_) => Err(unknown("durability", number)),
    }
}

fn cleanup(number: i32) -> Result<Cleanup, WireError> {
    match v1::Cleanup::try_from(number) {
        Ok(v1::Cleanup::Unspecified | v1::Cleanup::Delete) => Ok(Cleanup::Delete),
        Ok(v1::Cleanup::Compact) => Ok(Cleanup::Compact),
        Ok(v1::Cleanup::CompactAndDelete) => Ok(Cleanup::CompactAndDelete),
        Err(_) => Err(unknown("cleanup", number)),
    }
}

fn deletion_policy(number: i32) -> Result<DeletionPolicy, WireError> {
    match v1::DeletionPolicy::try_from(number) {
        Ok(v1::DeletionPolicy::Unspecified | v1::DeletionPolicy::Retain) => {
            Ok(DeletionPolicy::Retain)
        }
        Ok(v1::DeletionPolicy::Delete) => Ok(DeletionPolicy::Delete),
        Ok(v1::DeletionPolicy::DeleteIfEmpty) => Ok(DeletionPolicy::DeleteIfEmpty),
        Err(_) => Err(unknown("deletion_policy", number)),
    }
}

fn adoption(number: i32) -> Result<Adoption, WireError> {
    match v1::Adoption::try_from(number) {
        Ok(v1::Adoption::Unspecified | v1::Adoption::Never) => Ok(Adoption::Never),
        Ok(v1::Adoption::ByName) => Ok(Adoption::ByName),
        Ok(v1::Adoption::Fresh) => Ok(Adoption::Fresh),
        Err(_) => Err(unknown("adoption", number)),
    }
}

fn unknown(field: &str, number: i32) -> WireError {
    WireError::invalid(format!(
        "{field} {number} is not known here; is the client newer than the cluster?"
    ))
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use taffrail_core::TopicDefaults;

    use super::*;

    #[test]
    fn a_spec_and_its_effective_config_survive_the_wire() {
        let spec = TopicSpec {
            partitions: Some(3),
            durability: Some(Durability::PageCache),
            retention: Some(Duration::from_mins(1)),
            cleanup: Cleanup::CompactAndDelete,
            compaction_min_lag: Some(Duration::from_secs(5)),
            tombstone_retention: Some(Duration::from_hours(2)),
            deletion_policy: DeletionPolicy::DeleteIfEmpty,
            adoption: Adoption::ByName,
            unclean_election: UncleanElection::Allow,
            ..TopicSpec::default()
        };
        assert_eq!(
            TopicSpec::try_from(v1::TopicSpec::from(&spec)),
            Ok(spec.clone())
        );
        let config = spec.effective(&TopicDefaults::default()).expect("valid");
        assert_eq!(
            TopicConfig::try_from(v1::TopicConfig::from(&config)),
            Ok(config)
        );
    }

    #[test]
    fn a_config_of_before_compaction_deletes_as_it_did() {
        let config = TopicSpec::default()
            .effective(&TopicDefaults::default())
            .expect("valid");
        let wire = v1::TopicConfig {
            cleanup: 0,
            ..v1::TopicConfig::from(&config)
        };
        assert_eq!(
            (wire.compaction_min_lag_ms, wire.tombstone_retention_ms),
            (None, None)
        );
        assert_eq!(TopicConfig::try_from(wire), Ok(config));
    }

    #[test]
    fn an_enum_value_of_a_newer_client_is_refused() {
        let wire = v1::TopicSpec {
            durability: 99,
            ..v1::TopicSpec::default()
        };
        let error = TopicSpec::try_from(wire).expect_err("unknown");
        assert!(error.message.contains("durability 99"), "{error}");
    }
}
