//! Every validation rule of the custom resources, once, with its message. The CRDs carry the same messages in CEL; a table test runs both.

use std::{borrow::Cow, fmt, time::Duration};

use crate::{
    internal::{self, is_internal},
    settings::{HTTP_PORT, REPLICATION_PORT},
    topic::TopicSpec,
};

pub use group::*;

/// One rule: where it applies and what a user who broke it should do.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Field of the resource, as `spec.partitions`.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub message: &'static str,
    /// The same rule in CEL over `self` (the spec) and, where it compares with the past, `oldSelf`.
    pub cel: &'static str,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's field.
    pub field: Cow<'static, str>,
    /// The rule's message.
    pub message: &'static str,
}

impl Violation {
    /// A violation of `rule`.
    pub const fn of(rule: &Rule) -> Self {
        Self {
            field: Cow::Borrowed(rule.field),
            message: rule.message,
        }
    }

    /// The same of fields that stand in `part` of another resource's spec, as `spec.defaults.topic`.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        let field = self.field.strip_prefix("spec").unwrap_or(&self.field);
        Self {
            field: Cow::Owned(format!("{part}{field}")),
            ..self
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Most partitions of one topic.
pub const PARTITIONS_MAX: u32 = 10_000;
/// Most brokers of one cluster.
pub const BROKERS_MAX: u32 = 256;
/// Largest size that can be written: 4Ei.
pub const SIZE_MAX: u64 = 4 << 60;
/// Longest name of a topic or group, in bytes, as in Kafka.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $field:literal, $message:literal, $cel:literal;)*) => {
        $($(#[$doc])* pub const $name: Rule = Rule { field: $field, message: $message, cel: $cel };)*
    };
}

// Below the macro, which it uses.
mod group;

rules! {
    /// Of every size, wherever it stands. The bound, `SIZE_MAX`, keeps what is stored within 63 bits.
    SIZE_READABLE = "size", "is not a size; write a number with an optional unit, at most 4Ei, such as 512Mi, 50Gi or 1500000",
        "self.matches('^([0-9]{1,19}|[0-9]{1,19}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E))$') && quantity(self).compareTo(quantity('4Ei')) <= 0";
    /// Of every duration, wherever it stands. The digits are bounded, for CEL counts in 64 bits of nanoseconds.
    DURATION_READABLE = "duration", "is not a duration; write numbers with units h, m, s or ms, such as 168h, 1h30m or 500ms",
        "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?$')";
    /// What one operator places and watches without effort.
    BROKERS_IN_RANGE = "spec.brokers", "brokers must be between 1 and 256",
        "self.brokers >= 1 && self.brokers <= 256";
    /// Nothing moves partitions away from a broker before it goes.
    BROKERS_GROW_ONLY = "spec.brokers", "brokers cannot shrink (a broker that goes takes the only copy of its partitions along)",
        "self.brokers >= oldSelf.brokers";
    /// No file system shrinks while it is used.
    STORAGE_GROWS_ONLY = "spec.storage.size", "storage.size cannot shrink (volumes only grow); create a new BrokerCluster and copy",
        "!isQuantity(self.storage.size) || !isQuantity(oldSelf.storage.size) || quantity(self.storage.size).compareTo(quantity(oldSelf.storage.size)) >= 0";
    /// A volume stays where it was made.
    STORAGE_CLASS_IMMUTABLE = "spec.storage.storageClassName", "storage.storageClassName cannot change (volumes do not move); create a new BrokerCluster and copy",
        "has(self.storage.storageClassName) == has(oldSelf.storage.storageClassName) && (!has(self.storage.storageClassName) || self.storage.storageClassName == oldSelf.storage.storageClassName)";
    /// What Kubernetes takes as the key of a label. The pods' template names it, and would be refused as a whole.
    RACK_KEY_READABLE = "spec.rack.topologyKey", "rack.topologyKey is not a label's key; write one such as topology.kubernetes.io/zone",
        "!has(self.rack) || (self.rack.topologyKey.split('/')[0].size() <= 253 && self.rack.topologyKey.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$'))";
    /// Without privileges, and not where the broker listens for others: replication, metrics.
    CLIENT_PORT_FREE = "spec.listeners.client.port", "listeners.client.port must be between 1024 and 65535, and neither 9641 nor 9644, which brokers use themselves; leave it out for 9640",
        "!has(self.listeners) || !has(self.listeners.client) || !has(self.listeners.client.port) || (self.listeners.client.port >= 1024 && self.listeners.client.port <= 65535 && !(self.listeners.client.port in [9641, 9644]))";
    /// Between 1 and `PARTITIONS_MAX`.
    PARTITIONS_IN_RANGE = "spec.partitions", "partitions must be between 1 and 10000",
        "!has(self.partitions) || (self.partitions >= 1 && self.partitions <= 10000)";
    /// Against the stored spec.
    PARTITIONS_GROW_ONLY = "spec.partitions", "partitions cannot shrink (keys would move and records be lost); create a new Topic and copy",
        "!has(oldSelf.partitions) || (has(self.partitions) && self.partitions >= oldSelf.partitions)";
    /// Between 1 and 5.
    REPLICAS_IN_RANGE = "spec.replicas", "replicas must be between 1 and 5",
        "!has(self.replicas) || (self.replicas >= 1 && self.replicas <= 5)";
    /// Between 1 and 5, as replicas are.
    MIN_IN_SYNC_IN_RANGE = "spec.minInSync", "minInSync must be at least 1 and at most 5",
        "!has(self.minInSync) || (self.minInSync >= 1 && self.minInSync <= 5)";
    /// No more than there are replicas.
    MIN_IN_SYNC_WITHIN_REPLICAS = "spec.minInSync", "minInSync is larger than replicas; lower minInSync or raise replicas",
        "!has(self.minInSync) || !has(self.replicas) || self.minInSync <= self.replicas";
    /// A segment smaller than this would be all headers.
    SEGMENT_BYTES_IN_RANGE = "spec.segment.bytes", "segment.bytes must be between 1Mi and 2Gi",
        "!has(self.segment) || !has(self.segment.bytes) || !isQuantity(self.segment.bytes) || (quantity(self.segment.bytes).compareTo(quantity('1Mi')) >= 0 && quantity(self.segment.bytes).compareTo(quantity('2Gi')) <= 0)";
    /// Rolling more often than every second helps nobody.
    SEGMENT_AGE_IN_RANGE = "spec.segment.maxAge", "segment.maxAge must be at least 1s",
        "!has(self.segment) || !has(self.segment.maxAge) || !self.segment.maxAge.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.segment.maxAge) >= duration('1s')";
    /// A retention of nothing would delete at once.
    RETENTION_TIME_POSITIVE = "spec.retention.time", "retention.time must be at least 1s; leave it out for the cluster's default",
        "!has(self.retention) || !has(self.retention.time) || !self.retention.time.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.retention.time) >= duration('1s')";
    /// Below a segment's smallest size nothing could be kept.
    RETENTION_BYTES_IN_RANGE = "spec.retention.bytesPerPartition", "retention.bytesPerPartition must be at least 1Mi",
        "!has(self.retention) || !has(self.retention.bytesPerPartition) || !isQuantity(self.retention.bytesPerPartition) || quantity(self.retention.bytesPerPartition).compareTo(quantity('1Mi')) >= 0";
    /// The last record of each key stays, whatever its age.
    RETENTION_NOT_WITH_COMPACT = "spec.retention", "retention does not apply with cleanup: Compact (the last record of each key stays); leave it out or write cleanup: CompactAndDelete",
        "!has(self.cleanup) || self.cleanup != 'Compact' || !has(self.retention) || (!has(self.retention.time) && !has(self.retention.bytesPerPartition))";
    /// Nothing is compacted otherwise.
    COMPACTION_NEEDS_COMPACT = "spec.compaction", "compaction does not apply with cleanup: Delete; leave it out or write cleanup: Compact or CompactAndDelete",
        "!has(self.compaction) || (!has(self.compaction.minLag) && !has(self.compaction.tombstoneRetention)) || (has(self.cleanup) && self.cleanup != 'Delete')";
    /// Whoever reads from the start needs time to see that a key was deleted.
    TOMBSTONE_RETENTION_POSITIVE = "spec.compaction.tombstoneRetention", "compaction.tombstoneRetention must be at least 1s",
        "!has(self.compaction) || !has(self.compaction.tombstoneRetention) || !self.compaction.tombstoneRetention.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.compaction.tombstoneRetention) >= duration('1s')";
    /// What a gRPC message and a segment can hold.
    MAX_BATCH_BYTES_IN_RANGE = "spec.limits.maxBatchBytes", "limits.maxBatchBytes must be between 1Ki and 16Mi",
        "!has(self.limits) || !has(self.limits.maxBatchBytes) || !isQuantity(self.limits.maxBatchBytes) || (quantity(self.limits.maxBatchBytes).compareTo(quantity('1Ki')) >= 0 && quantity(self.limits.maxBatchBytes).compareTo(quantity('16Mi')) <= 0)";
    /// Kafka's alphabet.
    TOPIC_NAME_VALID = "spec.topicName", "a topic name has 1 to 249 letters, digits, dots, dashes and underscores, and is not . or ..",
        "!has(self.topicName) || (self.topicName.matches('^[a-zA-Z0-9._-]{1,249}$') && self.topicName != '.' && self.topicName != '..')";
    /// Internal topics.
    TOPIC_NAME_NOT_INTERNAL = "spec.topicName", "names that start with __ are internal; choose another",
        "!has(self.topicName) || !self.topicName.startsWith('__')";
    /// Renaming would need a copy.
    TOPIC_NAME_IMMUTABLE = "spec.topicName", "topicName cannot change; create a new Topic and copy",
        "has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)";
    /// A topic does not move between clusters. One that named none may name it later: the operator refuses another than the one it lives in.
    CLUSTER_REF_IMMUTABLE = "spec.clusterRef", "clusterRef cannot change; create a Topic in the other cluster and copy",
        "!has(oldSelf.clusterRef) || (has(self.clusterRef) && self.clusterRef == oldSelf.clusterRef)";
    /// Between 1 and `internal::OFFSETS_PARTITIONS_MAX`.
    OFFSETS_PARTITIONS_IN_RANGE = "spec.defaults.group.offsetsPartitions", "defaults.group.offsetsPartitions must be between 1 and 1000",
        "!has(self.defaults) || !has(self.defaults.group) || !has(self.defaults.group.offsetsPartitions) || (self.defaults.group.offsetsPartitions >= 1 && self.defaults.group.offsetsPartitions <= 1000)";
    /// A group's partition follows from how many there are.
    OFFSETS_PARTITIONS_IMMUTABLE = "spec.defaults.group.offsetsPartitions", "defaults.group.offsetsPartitions cannot change (groups would not find their offsets); create a new BrokerCluster",
        "(has(self.defaults) && has(self.defaults.group) && has(self.defaults.group.offsetsPartitions)) == (has(oldSelf.defaults) && has(oldSelf.defaults.group) && has(oldSelf.defaults.group.offsetsPartitions)) && (!has(self.defaults) || !has(self.defaults.group) || !has(self.defaults.group.offsetsPartitions) || self.defaults.group.offsetsPartitions == oldSelf.defaults.group.offsetsPartitions)";
    /// As a group's own.
    DEFAULT_SESSION_TIMEOUT_IN_RANGE = "spec.defaults.group.sessionTimeout", "defaults.group.sessionTimeout must be between 3s and 30m",
        "!has(self.defaults) || !has(self.defaults.group) || !has(self.defaults.group.sessionTimeout) || !self.defaults.group.sessionTimeout.matches('^([0-9]{1,9}(h|m|s|ms))+$') || (duration(self.defaults.group.sessionTimeout) >= duration('3s') && duration(self.defaults.group.sessionTimeout) <= duration('30m'))";
    /// Services, labels and pods are named after the cluster; the label `controller-revision-hash` adds eleven and has room for 63. Over the whole
    /// resource, not its spec.
    CLUSTER_NAME_VALID = "metadata.name", "a cluster's name starts with a letter and has at most 52 lower-case letters, digits and dashes, the last no dash",
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')";
}

/// The rules of a topic's spec by itself.
pub fn check_topic(spec: &TopicSpec) -> Vec<Violation> {
    let within = |value: Option<u64>, range: std::ops::RangeInclusive<u64>| {
        value.is_none_or(|v| range.contains(&v))
    };
    let at_least_1s = |value: Option<Duration>| value.is_none_or(|v| v.as_secs() >= 1);
    let checks = [
        (
            &PARTITIONS_IN_RANGE,
            within(
                spec.partitions.map(u64::from),
                1..=u64::from(PARTITIONS_MAX),
            ),
        ),
        (
            &REPLICAS_IN_RANGE,
            within(spec.replicas.map(u64::from), 1..=5),
        ),
        (
            &MIN_IN_SYNC_IN_RANGE,
            within(spec.min_in_sync.map(u64::from), 1..=5),
        ),
        (
            &MIN_IN_SYNC_WITHIN_REPLICAS,
            spec.min_in_sync
                .zip(spec.replicas)
                .is_none_or(|(m, r)| m <= r),
        ),
        (
            &SEGMENT_BYTES_IN_RANGE,
            within(spec.segment_bytes, 1 << 20..=2 << 30),
        ),
        (&SEGMENT_AGE_IN_RANGE, at_least_1s(spec.segment_max_age)),
        (&RETENTION_TIME_POSITIVE, at_least_1s(spec.retention)),
        (
            &RETENTION_BYTES_IN_RANGE,
            within(spec.retention_bytes_per_partition, 1 << 20..=u64::MAX),
        ),
        (
            &RETENTION_NOT_WITH_COMPACT,
            spec.cleanup.deletes()
                || spec.retention.is_none() && spec.retention_bytes_per_partition.is_none(),
        ),
        (
            &COMPACTION_NEEDS_COMPACT,
            spec.cleanup.compacts()
                || spec.compaction_min_lag.is_none() && spec.tombstone_retention.is_none(),
        ),
        (
            &TOMBSTONE_RETENTION_POSITIVE,
            at_least_1s(spec.tombstone_retention),
        ),
        (
            &MAX_BATCH_BYTES_IN_RANGE,
            within(spec.max_batch_bytes, 1 << 10..=16 << 20),
        ),
    ];
    broken(&checks)
}

/// The rules of a topic's name.
pub fn check_topic_name(name: &str) -> Vec<Violation> {
    broken(&[
        (&TOPIC_NAME_VALID, is_name(name)),
        (&TOPIC_NAME_NOT_INTERNAL, !is_internal(name)),
    ])
}

/// Has it Kafka's alphabet?
fn is_name(name: &str) -> bool {
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(alphabet)
        && !matches!(name, "." | "..")
}

/// The rules that compare a topic's spec with the one in force before. The current partition count decides, also where `old` left it to a default.
pub fn check_topic_change(partitions_now: u32, new_partitions: u32) -> Vec<Violation> {
    broken(&[(&PARTITIONS_GROW_ONLY, new_partitions >= partitions_now)])
}

/// The rules of a cluster's number of brokers, by itself and against the one before.
pub fn check_brokers(before: Option<u32>, brokers: u32) -> Vec<Violation> {
    broken(&[
        (&BROKERS_IN_RANGE, (1..=BROKERS_MAX).contains(&brokers)),
        (
            &BROKERS_GROW_ONLY,
            before.is_none_or(|before| brokers >= before),
        ),
    ])
}

/// The rules of how many partitions `__offsets` is to have.
pub fn check_offsets_partitions(partitions: Option<u32>) -> Vec<Violation> {
    let range = 1..=internal::OFFSETS_PARTITIONS_MAX;
    let holds = partitions.is_none_or(|partitions| range.contains(&partitions));
    broken(&[(&OFFSETS_PARTITIONS_IN_RANGE, holds)])
}

/// The rule of the port where clients of a cluster connect.
pub fn check_client_port(port: Option<u16>) -> Vec<Violation> {
    let is_free = |port| port >= 1024 && ![REPLICATION_PORT, HTTP_PORT].contains(&port);
    broken(&[(&CLIENT_PORT_FREE, port.is_none_or(is_free))])
}

/// The rule of how long a member may be silent where neither it nor its group's policy says.
pub fn check_default_session_timeout(timeout: Option<Duration>) -> Vec<Violation> {
    let holds = is_session_timeout(timeout);
    broken(&[(&DEFAULT_SESSION_TIMEOUT_IN_RANGE, holds)])
}

/// The rule of the label by whose value a cluster's brokers are told apart, `[DNS name/]name`.
pub fn check_rack_key(key: &str) -> Vec<Violation> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let dns_label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        has_form(label, plain, |b| plain(b) || b == b'-')
    };
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(dns_label);
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let is_name = has_form(name, plain, |b| plain(b) || matches!(b, b'-' | b'_' | b'.'));
    let holds = is_name && name.len() <= 63 && prefix.is_none_or(is_prefix);
    broken(&[(&RACK_KEY_READABLE, holds)])
}

/// Not empty, bytes of `end` at both ends and of `within` between them.
fn has_form(text: &str, end: impl Fn(u8) -> bool, within: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|byte| byte.is_some_and(|byte| end(*byte))) && text.bytes().all(within)
}

fn broken(checks: &[(&'static Rule, bool)]) -> Vec<Violation> {
    checks
        .iter()
        .filter(|(_, holds)| !holds)
        .map(|(rule, _)| Violation::of(rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_kafkas_alphabet_is_valid() {
        for name in ["flights", "shop.orders", "a-b_c.9", &"x".repeat(249)] {
            assert_eq!(check_topic_name(name), [], "{name}");
        }
    }

    #[test]
    fn odd_and_internal_names_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(250)] {
            assert_eq!(
                check_topic_name(name),
                [Violation::of(&TOPIC_NAME_VALID)],
                "{name}"
            );
        }
        assert_eq!(
            check_topic_name(internal::OFFSETS),
            [Violation::of(&TOPIC_NAME_NOT_INTERNAL)]
        );
    }

    #[test]
    fn a_rack_key_is_a_labels_key() {
        let longest = format!("{}/{}", vec!["a".repeat(63); 3].join("."), "x".repeat(63));
        for key in [
            "topology.kubernetes.io/zone",
            "rack",
            "a.b-c/D_e.f",
            &longest,
        ] {
            assert_eq!(check_rack_key(key), [], "{key}");
        }
        let long_name = "x".repeat(64);
        let odd = [
            "", "/", "a/", "/a", "a/b/c", "-a", "a-", "A.b/c", "a..b/c", "a b",
        ];
        for key in odd.into_iter().chain([&*long_name]) {
            assert_eq!(
                check_rack_key(key),
                [Violation::of(&RACK_KEY_READABLE)],
                "{key}"
            );
        }
    }

    #[test]
    fn a_shrinking_topic_is_told_what_to_do() {
        let violations = check_topic_change(12, 6);
        assert!(
            violations[0]
                .to_string()
                .contains("create a new Topic and copy")
        );
        assert_eq!(check_topic_change(6, 12), []);
    }
}
