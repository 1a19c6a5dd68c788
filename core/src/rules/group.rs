//! The rules of a consumer group.

use std::{ops::RangeInclusive, time::Duration};

use thiserror::Error;

use super::{Rule, Violation, broken, check_topic_name, is_name};
use crate::{group::Subscription, internal::is_internal};

/// Most topics and patterns that a group names, together.
pub const GROUP_TOPICS_MAX: usize = 256;
/// Most of them that are patterns: each is matched against every topic.
pub const GROUP_PATTERNS_MAX: usize = 32;
/// Longest pattern, in bytes.
pub const GROUP_PATTERN_BYTES_MAX: usize = 256;
/// How long a member may be silent before it is given up, in milliseconds. A third of it is how long a coordinator may go without word of a follower.
/// An idle leader asks for one every half second, so that of the shortest third another half is left for the way there and back, and for stalls.
pub const SESSION_TIMEOUT_MS: RangeInclusive<u64> = 3_000..=1_800_000;

rules! {
    /// The alphabet of topics' names.
    GROUP_NAME_VALID = "spec.groupName", "a group name has 1 to 249 letters, digits, dots, dashes and underscores, and is not . or ..",
        "!has(self.groupName) || (self.groupName.matches('^[a-zA-Z0-9._-]{1,249}$') && self.groupName != '.' && self.groupName != '..')";
    /// As topics' names.
    GROUP_NAME_NOT_INTERNAL = "spec.groupName", "names that start with __ are internal; choose another",
        "!has(self.groupName) || !self.groupName.startsWith('__')";
    /// Its offsets are kept under its name.
    GROUP_NAME_IMMUTABLE = "spec.groupName", "groupName cannot change (offsets are kept under it); create a new ConsumerGroup",
        "has(self.groupName) == has(oldSelf.groupName) && (!has(self.groupName) || self.groupName == oldSelf.groupName)";
    /// Offsets do not move between clusters. One that named none may name it later: the operator refuses another than the one it lives in.
    GROUP_CLUSTER_REF_IMMUTABLE = "spec.clusterRef", "clusterRef cannot change (offsets stay in their cluster); create a ConsumerGroup in the other cluster",
        "!has(oldSelf.clusterRef) || (has(self.clusterRef) && self.clusterRef == oldSelf.clusterRef)";
    /// What a group keeps differs by it.
    GROUP_MODE_IMMUTABLE = "spec.mode", "mode cannot change; create a new ConsumerGroup with another groupName",
        "(has(self.mode) ? self.mode : 'Partitioned') == (has(oldSelf.mode) ? oldSelf.mode : 'Partitioned')";
    /// Reserved.
    GROUP_MODE_KNOWN = "spec.mode", "mode: Shared (message by message, with acknowledgements) comes in a later release; write Partitioned or leave it out",
        "!has(self.mode) || self.mode != 'Shared'";
    /// Reserved.
    GROUP_DELIVERY_KNOWN = "spec.delivery", "delivery: ExactlyOnce comes in a later release; write AtLeastOnce or AtMostOnce",
        "!has(self.delivery) || self.delivery != 'ExactlyOnce'";
    /// Otherwise it would not be clear which of them is meant.
    GROUP_TOPICS_NAMED = "spec.topics", "each of topics has a name or a pattern; write one of them, and another item for the other",
        "!has(self.topics) || self.topics.all(t, has(t.name) != has(t.pattern))";
    /// As the names of topics themselves.
    GROUP_TOPIC_NAMES_VALID = "spec.topics", "the name of a topic has 1 to 249 letters, digits, dots, dashes and underscores, is not . or .., and does not start with __; for several topics write a pattern",
        "!has(self.topics) || self.topics.all(t, !has(t.name) || (t.name.matches('^[a-zA-Z0-9._-]{1,249}$') && t.name != '.' && t.name != '..' && !t.name.startsWith('__')))";
    /// At most `GROUP_PATTERNS_MAX`.
    GROUP_PATTERNS_FEW = "spec.topics", "at most 32 of topics are patterns; join some of them with |",
        "!has(self.topics) || self.topics.filter(t, has(t.pattern)).size() <= 32";
    /// Within `SESSION_TIMEOUT_MS`.
    GROUP_SESSION_TIMEOUT_IN_RANGE = "spec.assignment.sessionTimeout", "assignment.sessionTimeout must be between 3s and 30m",
        "!has(self.assignment) || !has(self.assignment.sessionTimeout) || !self.assignment.sessionTimeout.matches('^([0-9]{1,9}(h|m|s|ms))+$') || (duration(self.assignment.sessionTimeout) >= duration('3s') && duration(self.assignment.sessionTimeout) <= duration('30m'))";
    /// A time alone, or a position without its time, says nothing.
    GROUP_START_TIMESTAMP = "spec.startFrom.timestamp", "startFrom.timestamp belongs to position: Timestamp; write both, or neither",
        "!has(self.startFrom) || (self.startFrom.position == 'Timestamp') == has(self.startFrom.timestamp)";
    /// Estimates of lag are not finer.
    GROUP_MAX_LAG_POSITIVE = "spec.objectives.maxLag", "objectives.maxLag must be at least 1s; leave it out for no objective",
        "!has(self.objectives) || !has(self.objectives.maxLag) || !self.objectives.maxLag.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.objectives.maxLag) >= duration('1s')";
    /// Estimates of the deadline are not finer.
    GROUP_HEADROOM_POSITIVE = "spec.objectives.retentionHeadroom", "objectives.retentionHeadroom must be at least 1s; leave it out for 1h",
        "!has(self.objectives) || !has(self.objectives.retentionHeadroom) || !self.objectives.retentionHeadroom.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.objectives.retentionHeadroom) >= duration('1s')";
    /// As brokers' own setting.
    GROUP_OFFSET_RETENTION_POSITIVE = "spec.offsetRetention", "offsetRetention must be at least 1s; leave it out for the brokers' default",
        "!has(self.offsetRetention) || !self.offsetRetention.matches('^([0-9]{1,9}(h|m|s|ms))+$') || duration(self.offsetRetention) >= duration('1s')";
}

/// What of a ConsumerGroup's spec the rules read.
#[derive(Debug, Clone, Default)]
pub struct GroupFacts<'a> {
    /// Mode Shared.
    pub is_shared: bool,
    /// Delivery ExactlyOnce.
    pub is_exactly_once: bool,
    /// Name and pattern of each item.
    pub topics: Vec<(Option<&'a str>, Option<&'a str>)>,
    /// Of its members.
    pub session_timeout: Option<Duration>,
    /// Position Timestamp without a time, or a time with another position.
    pub is_start_unclear: bool,
    /// Objective.
    pub max_lag: Option<Duration>,
    /// Objective.
    pub retention_headroom: Option<Duration>,
    /// Offsets are kept so long.
    pub offset_retention: Option<Duration>,
}

/// The rules of a consumer group's spec by itself.
pub fn check_group(facts: &GroupFacts<'_>) -> Vec<Violation> {
    let at_least_1s = |value: Option<Duration>| value.is_none_or(|v| v.as_secs() >= 1);
    let topics = &facts.topics;
    let names = || topics.iter().filter_map(|(name, _)| *name);
    let patterns = topics
        .iter()
        .filter(|(_, pattern)| pattern.is_some())
        .count();
    broken(&[
        (&GROUP_MODE_KNOWN, !facts.is_shared),
        (&GROUP_DELIVERY_KNOWN, !facts.is_exactly_once),
        (
            &GROUP_TOPICS_NAMED,
            topics
                .iter()
                .all(|(name, pattern)| name.is_some() != pattern.is_some()),
        ),
        (
            &GROUP_TOPIC_NAMES_VALID,
            names().all(|name| check_topic_name(name).is_empty()),
        ),
        (&GROUP_PATTERNS_FEW, patterns <= GROUP_PATTERNS_MAX),
        (
            &GROUP_SESSION_TIMEOUT_IN_RANGE,
            is_session_timeout(facts.session_timeout),
        ),
        (&GROUP_START_TIMESTAMP, !facts.is_start_unclear),
        (&GROUP_MAX_LAG_POSITIVE, at_least_1s(facts.max_lag)),
        (
            &GROUP_HEADROOM_POSITIVE,
            at_least_1s(facts.retention_headroom),
        ),
        (
            &GROUP_OFFSET_RETENTION_POSITIVE,
            at_least_1s(facts.offset_retention),
        ),
    ])
}

/// Is it one that a coordinator can keep, or none?
pub(super) fn is_session_timeout(timeout: Option<Duration>) -> bool {
    let is_within = |ms: u128| u64::try_from(ms).is_ok_and(|ms| SESSION_TIMEOUT_MS.contains(&ms));
    timeout.is_none_or(|timeout| is_within(timeout.as_millis()))
}

/// The rules of a consumer group's name.
pub fn check_group_name(name: &str) -> Vec<Violation> {
    broken(&[
        (&GROUP_NAME_VALID, is_name(name)),
        (&GROUP_NAME_NOT_INTERNAL, !is_internal(name)),
    ])
}

/// What brokers take no subscription for, whoever gives it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    /// More than there may be.
    #[error("{count} {what}; at most {max} are taken")]
    TooMany {
        /// Of these.
        what: &'static str,
        /// So many there are.
        count: usize,
        /// So many may be.
        max: usize,
    },
    /// No topic can have this name.
    #[error("topic {topic:?}: {message}")]
    TopicName {
        /// The name.
        topic: String,
        /// Of the rule that it breaks.
        message: &'static str,
    },
}

/// Everything but whether the patterns can be compiled.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_subscription(subscription: &Subscription) -> Result<(), SubscriptionError> {
    let Subscription { topics, patterns } = subscription;
    within("topics", topics.len(), GROUP_TOPICS_MAX)?;
    within("patterns", patterns.len(), GROUP_PATTERNS_MAX)?;
    for topic in topics {
        if let Some(violation) = check_topic_name(topic).first() {
            return Err(SubscriptionError::TopicName {
                topic: topic.clone(),
                message: violation.message,
            });
        }
    }
    let mut patterns = patterns.iter();
    patterns.try_for_each(|pattern| {
        within("bytes of a pattern", pattern.len(), GROUP_PATTERN_BYTES_MAX)
    })
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), SubscriptionError> {
    if count <= max {
        return Ok(());
    }
    Err(SubscriptionError::TooMany { what, count, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_is_like_a_topics() {
        assert_eq!(check_group_name("shop.billing"), []);
        for name in ["", "a/b", "..", &"x".repeat(250)] {
            assert_eq!(
                check_group_name(name),
                [Violation::of(&GROUP_NAME_VALID)],
                "{name}"
            );
        }
        assert_eq!(
            check_group_name("__billing"),
            [Violation::of(&GROUP_NAME_NOT_INTERNAL)]
        );
    }

    #[test]
    fn a_group_that_says_nothing_breaks_no_rule() {
        assert_eq!(check_group(&GroupFacts::default()), []);
    }

    #[test]
    fn a_session_timeout_is_what_a_coordinator_can_keep() {
        for (timeout, holds) in [
            (Duration::from_millis(2_999), false),
            (Duration::from_secs(3), true),
            (Duration::from_mins(30), true),
            (Duration::from_millis(1_800_001), false),
            (Duration::MAX, false),
        ] {
            let facts = GroupFacts {
                session_timeout: Some(timeout),
                ..GroupFacts::default()
            };
            assert_eq!(check_group(&facts).is_empty(), holds, "{timeout:?}");
        }
    }

    #[test]
    fn as_many_patterns_as_brokers_take() {
        let of = |count| GroupFacts {
            topics: vec![(None, Some("orders.*")); count],
            ..GroupFacts::default()
        };
        assert_eq!(check_group(&of(GROUP_PATTERNS_MAX)), []);
        assert_eq!(
            check_group(&of(GROUP_PATTERNS_MAX + 1)),
            [Violation::of(&GROUP_PATTERNS_FEW)]
        );
    }

    #[test]
    fn a_subscription_is_what_brokers_can_keep_and_match() {
        let of = |topics: &[String], patterns: &[String]| {
            check_subscription(&Subscription {
                topics: topics.iter().cloned().collect(),
                patterns: patterns.iter().cloned().collect(),
            })
        };
        let many = |count: usize| -> Vec<_> { (0..count).map(|n| format!("t-{n}")).collect() };
        // Half as many letters as bytes.
        let pattern = "\u{e9}".repeat(GROUP_PATTERN_BYTES_MAX / 2);
        let full = (many(GROUP_TOPICS_MAX), many(GROUP_PATTERNS_MAX - 1));
        assert_eq!(
            of(&full.0, &[full.1, vec![pattern.clone()]].concat()),
            Ok(())
        );
        for (topics, patterns) in [
            (many(GROUP_TOPICS_MAX + 1), vec![]),
            (vec![], many(GROUP_PATTERNS_MAX + 1)),
            (vec![], vec![pattern + "a"]),
            (vec!["a/b".to_owned()], vec![]),
            (vec!["x".repeat(250)], vec![]),
        ] {
            assert!(of(&topics, &patterns).is_err(), "{topics:?} {patterns:?}");
        }
    }
}
