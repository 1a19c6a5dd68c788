//! Topics that the cluster makes for itself: their names, and what they are made with. No resource stands for them, and no client writes to them.

use std::time::Duration;

use crate::topic::{
    Adoption, Cleanup, DeletionPolicy, Durability, TOMBSTONE_RETENTION_DEFAULT, TopicSpec,
    UncleanElection,
};

/// What the names of internal topics begin with. Users' names do not.
pub const PREFIX: &str = "__";
/// Where consumer groups keep their committed offsets, each group in one partition.
pub const OFFSETS: &str = "__offsets";
/// Partitions of `__offsets` in a cluster that does not say, as many as Kafka's.
pub const OFFSETS_PARTITIONS_DEFAULT: u32 = 50;
/// Most partitions of `__offsets`: each broker looks after its share of them from the beginning.
pub const OFFSETS_PARTITIONS_MAX: u32 = 1_000;
/// Copies of each partition, where there are as many brokers.
pub const REPLICAS: u32 = 3;

/// Is it the name of an internal topic?
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

/// Copies of each partition of an internal topic that is made in a cluster of so many brokers. It waits for as many of them.
pub const fn replicas(brokers_wanted: u32) -> u32 {
    if brokers_wanted < 1 {
        1
    } else if brokers_wanted > REPLICAS {
        REPLICAS
    } else {
        brokers_wanted
    }
}

/// What `__offsets` is made with. Nothing is left to the cluster's defaults, which are users'.
///
/// Of each key the last record stays. Only closed segments are compacted, and whoever takes a partition over reads all of it: a segment is
/// closed at 16 MiB, some hundred thousand commits, or after a day, so that there is never much of one partition that is not compacted.
pub fn offsets(partitions: u32, replicas: u32) -> TopicSpec {
    TopicSpec {
        partitions: Some(partitions),
        replicas: Some(replicas),
        min_in_sync: Some(replicas / 2 + 1),
        durability: Some(Durability::Fsync),
        retention: None,
        retention_bytes_per_partition: None,
        cleanup: Cleanup::Compact,
        compaction_min_lag: Some(Duration::ZERO),
        tombstone_retention: Some(TOMBSTONE_RETENTION_DEFAULT),
        segment_bytes: Some(16 << 20),
        segment_max_age: Some(Duration::from_hours(24)),
        max_batch_bytes: Some(1 << 20),
        deletion_policy: DeletionPolicy::Retain,
        adoption: Adoption::Never,
        unclean_election: UncleanElection::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rules, topic::TopicDefaults};

    #[test]
    fn internal_names_are_those_that_users_cannot_have() {
        assert!(is_internal(OFFSETS));
        for name in ["flights", "_offsets", "a__b"] {
            assert!(!is_internal(name), "{name}");
            assert_eq!(rules::check_topic_name(name), [], "{name}");
        }
        assert!(!rules::check_topic_name(OFFSETS).is_empty());
    }

    #[test]
    fn offsets_have_a_majority_in_sync_of_up_to_three_replicas() {
        for (brokers, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (9, 3)] {
            assert_eq!(replicas(brokers), expected, "{brokers} brokers");
        }
        for (replicas, min_in_sync) in [(1, 1), (2, 2), (3, 2)] {
            assert_eq!(offsets(50, replicas).min_in_sync, Some(min_in_sync));
        }
    }

    #[test]
    fn a_clusters_defaults_do_not_reach_offsets() {
        let spec = offsets(50, 3);
        let odd = TopicDefaults {
            brokers_wanted: 9,
            partitions: 7,
            durability: Durability::PageCache,
            retention: Some(Duration::from_secs(1)),
            retention_bytes_per_partition: Some(1 << 20),
            segment_bytes: 1 << 30,
            segment_max_age: Duration::from_secs(1),
            max_batch_bytes: 1 << 10,
            offsets_partitions: 3,
        };
        let config = spec.effective(&TopicDefaults::default());
        assert_eq!(spec.effective(&odd), config);
        assert_eq!(config.expect("valid").retention, None);
    }
}
