//! What a user wants of a topic, and what is in force.

use std::time::Duration;

use crate::rules::{self, Violation};

/// When a record counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// After fsync. A crash of process, kernel or machine loses nothing acknowledged.
    #[default]
    Fsync,
    /// Once in the page cache, synced in the background. A crash of the machine may lose the last moments.
    PageCache,
}

/// What becomes of the data when the topic's resource is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeletionPolicy {
    /// It stays on the brokers and can be adopted by a new topic of the name.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
    /// It is deleted if no record is left; otherwise it stays.
    DeleteIfEmpty,
}

/// What a new topic does with retained data of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Adoption {
    /// It is refused.
    #[default]
    Never,
    /// It continues the retained log.
    ByName,
    /// It starts empty under a new topic id; the old data stays retained on disk as it is.
    Fresh,
}

/// May a replica outside the in-sync set lead when no member is left?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UncleanElection {
    /// The partition waits for a member.
    #[default]
    Never,
    /// The most complete replica leads, and what it lacks is lost.
    Allow,
}

/// How old records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cleanup {
    /// By age and size, as `retention` says.
    #[default]
    Delete,
    /// Of each key the last record stays, for ever. Retention does not apply.
    Compact,
    /// Of each key the last record stays until `retention` takes it.
    CompactAndDelete,
}

impl Cleanup {
    /// Do earlier records of a key go?
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }

    /// Do records go by age and size?
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }
}

/// How long a record that deletes its key is kept where a topic does not say, as in Kafka.
pub const TOMBSTONE_RETENTION_DEFAULT: Duration = Duration::from_hours(24);

/// What a user wrote. Absent: the cluster's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicSpec {
    /// How many partitions. Grows only.
    pub partitions: Option<u32>,
    /// Copies of each partition.
    pub replicas: Option<u32>,
    /// Copies that must have a record before `acks=all` is answered.
    pub min_in_sync: Option<u32>,
    /// When a record counts as stored.
    pub durability: Option<Durability>,
    /// Records are kept at least this long after they were appended.
    pub retention: Option<Duration>,
    /// Oldest segments go when a partition is larger than this.
    pub retention_bytes_per_partition: Option<u64>,
    /// How old records go.
    pub cleanup: Cleanup,
    /// A record is not compacted away before it is this old.
    pub compaction_min_lag: Option<Duration>,
    /// A record that deletes its key is kept this long once everything before it was compacted.
    pub tombstone_retention: Option<Duration>,
    /// A segment is rolled at this size.
    pub segment_bytes: Option<u64>,
    /// A segment is rolled at this age.
    pub segment_max_age: Option<Duration>,
    /// Largest batch accepted.
    pub max_batch_bytes: Option<u64>,
    /// What becomes of the data at the end.
    pub deletion_policy: DeletionPolicy,
    /// What to do with retained data of the name.
    pub adoption: Adoption,
    /// Whether to lose records rather than to wait.
    pub unclean_election: UncleanElection,
}

/// What is in force. Every field has a value but those whose absence means "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each partition.
    pub replicas: u32,
    /// Copies that must have a record before `acks=all` is answered.
    pub min_in_sync: u32,
    /// When a record counts as stored.
    pub durability: Durability,
    /// Kept at least this long after append; `None`: for ever, as always with `Cleanup::Compact`.
    pub retention: Option<Duration>,
    /// Size above which the oldest segments go; `None`: no limit, as always with `Cleanup::Compact`.
    pub retention_bytes_per_partition: Option<u64>,
    /// How old records go.
    pub cleanup: Cleanup,
    /// A record is not compacted away before it is this old. Says nothing unless `cleanup` compacts.
    pub compaction_min_lag: Duration,
    /// A record that deletes its key is kept this long once everything before it was compacted. Says nothing unless `cleanup` compacts.
    pub tombstone_retention: Duration,
    /// A segment is rolled at this size.
    pub segment_bytes: u64,
    /// A segment is rolled at this age.
    pub segment_max_age: Duration,
    /// Largest batch accepted.
    pub max_batch_bytes: u64,
}

/// A cluster's defaults for topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Brokers wanted in the cluster: replicas = min(3, this).
    pub brokers_wanted: u32,
    /// Partitions of a topic that does not say.
    pub partitions: u32,
    /// When a record counts as stored.
    pub durability: Durability,
    /// Retention by time; `None`: for ever.
    pub retention: Option<Duration>,
    /// Retention by size; `None`: no limit.
    pub retention_bytes_per_partition: Option<u64>,
    /// Segment size.
    pub segment_bytes: u64,
    /// Segment age.
    pub segment_max_age: Duration,
    /// Batch limit.
    pub max_batch_bytes: u64,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            brokers_wanted: 1,
            partitions: 1,
            durability: Durability::Fsync,
            retention: Some(Duration::from_hours(168)),
            retention_bytes_per_partition: None,
            segment_bytes: 256 << 20,
            segment_max_age: Duration::from_hours(24),
            max_batch_bytes: 1 << 20,
        }
    }
}

impl TopicSpec {
    /// What is in force for this spec under `defaults`.
    ///
    /// # Errors
    /// Every rule that the spec, completed by the defaults, breaks.
    pub fn effective(&self, defaults: &TopicDefaults) -> Result<TopicConfig, Vec<Violation>> {
        let mut violations = rules::check_topic(self);
        let replicas = self
            .replicas
            .unwrap_or_else(|| defaults.brokers_wanted.clamp(1, 3));
        let deletes = self.cleanup.deletes();
        let retention = self.retention.or(defaults.retention);
        let retention_bytes = self
            .retention_bytes_per_partition
            .or(defaults.retention_bytes_per_partition);
        let config = TopicConfig {
            partitions: self.partitions.unwrap_or(defaults.partitions),
            replicas,
            min_in_sync: self.min_in_sync.unwrap_or(replicas / 2 + 1),
            durability: self.durability.unwrap_or(defaults.durability),
            retention: retention.filter(|_| deletes),
            retention_bytes_per_partition: retention_bytes.filter(|_| deletes),
            cleanup: self.cleanup,
            compaction_min_lag: self.compaction_min_lag.unwrap_or_default(),
            tombstone_retention: self
                .tombstone_retention
                .unwrap_or(TOMBSTONE_RETENTION_DEFAULT),
            segment_bytes: self.segment_bytes.unwrap_or(defaults.segment_bytes),
            segment_max_age: self.segment_max_age.unwrap_or(defaults.segment_max_age),
            max_batch_bytes: self.max_batch_bytes.unwrap_or(defaults.max_batch_bytes),
        };
        if config.min_in_sync > config.replicas && violations.is_empty() {
            violations.push(Violation::of(&rules::MIN_IN_SYNC_WITHIN_REPLICAS));
        }
        if violations.is_empty() {
            Ok(config)
        } else {
            Err(violations)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_default_to_three_or_as_many_as_there_are_brokers() {
        for (brokers, replicas, min_in_sync) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (9, 3, 2)] {
            let defaults = TopicDefaults {
                brokers_wanted: brokers,
                ..TopicDefaults::default()
            };
            let config = TopicSpec::default().effective(&defaults).expect("valid");
            assert_eq!(
                (config.replicas, config.min_in_sync),
                (replicas, min_in_sync)
            );
        }
    }

    #[test]
    fn retention_is_for_topics_whose_records_go_by_age_or_size() {
        let defaults = TopicDefaults {
            retention_bytes_per_partition: Some(1 << 30),
            ..TopicDefaults::default()
        };
        let with = |cleanup| {
            let spec = TopicSpec {
                cleanup,
                ..TopicSpec::default()
            };
            let config = spec.effective(&defaults).expect("valid");
            (config.retention, config.retention_bytes_per_partition)
        };
        let by_default = (defaults.retention, defaults.retention_bytes_per_partition);
        assert_eq!(with(Cleanup::Delete), by_default);
        assert_eq!(with(Cleanup::CompactAndDelete), by_default);
        assert_eq!(with(Cleanup::Compact), (None, None));
    }

    #[test]
    fn a_compacted_topic_says_how_or_gets_kafkas_defaults() {
        let spec = TopicSpec {
            cleanup: Cleanup::Compact,
            ..TopicSpec::default()
        };
        let config = spec.effective(&TopicDefaults::default()).expect("valid");
        assert_eq!(config.compaction_min_lag, Duration::ZERO);
        assert_eq!(config.tombstone_retention, Duration::from_hours(24));
        let spec = TopicSpec {
            compaction_min_lag: Some(Duration::from_mins(1)),
            tombstone_retention: Some(Duration::from_hours(1)),
            ..spec
        };
        let config = spec.effective(&TopicDefaults::default()).expect("valid");
        assert_eq!(config.compaction_min_lag, Duration::from_mins(1));
        assert_eq!(config.tombstone_retention, Duration::from_hours(1));
    }

    #[test]
    fn min_in_sync_is_checked_against_default_replicas_too() {
        let spec = TopicSpec {
            min_in_sync: Some(2),
            ..TopicSpec::default()
        };
        let violations = spec
            .effective(&TopicDefaults::default())
            .expect_err("one broker");
        assert_eq!(
            violations,
            [Violation::of(&rules::MIN_IN_SYNC_WITHIN_REPLICAS)]
        );
    }
}
