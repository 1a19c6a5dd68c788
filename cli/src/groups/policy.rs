//! What is in force of a group's policy.

use std::time::Duration;

use serde::Serialize;
use taffrail_api::v1;
use taffrail_core::quantity::format_duration;

use crate::time::format_timestamp;

/// As a `ConsumerGroup` says it; `null`: as each member is set. Field names are API.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyView {
    /// Empty, as `patterns`: what members name.
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<String>,
    strategy: &'static str,
    rack_aware: bool,
    session_timeout: Option<String>,
    delivery: Option<&'static str>,
    start_from: Option<String>,
    on_out_of_range: Option<&'static str>,
    offset_retention: String,
}

impl From<&v1::DescribeGroupResponse> for PolicyView {
    fn from(described: &v1::DescribeGroupResponse) -> Self {
        let policy = described.policy.clone().unwrap_or_default();
        let members = policy.members.unwrap_or_default();
        let timeout = policy.session_timeout_ms;
        Self {
            strategy: strategy(policy.strategy()),
            rack_aware: policy.rack_aware != Some(false),
            session_timeout: timeout.map(|ms| span(ms.into())),
            delivery: delivery(members.delivery()),
            start_from: members.start.and_then(start_from),
            on_out_of_range: out_of_range(members.out_of_range()),
            offset_retention: span(described.offset_retention_ms),
            topics: policy.topics,
            patterns: policy.patterns,
        }
    }
}

impl PolicyView {
    /// Labels and values for people.
    pub(super) fn lines(&self, matches_nothing: bool) -> [(&'static str, String); 7] {
        let mut names = [&self.topics[..], &self.patterns[..]].concat().join(",");
        let is_declared = !names.is_empty();
        if is_declared && matches_nothing {
            names = format!("{names} {NO_SUCH_TOPIC}");
        }
        let topics = is_declared.then_some(names);
        let or = |value: Option<&str>, otherwise: &str| value.unwrap_or(otherwise).to_owned();
        let racks = if self.rack_aware {
            ""
        } else {
            " (racks ignored)"
        };
        [
            ("Topics", or(topics.as_deref(), "what members name")),
            ("Strategy", format!("{}{racks}", self.strategy)),
            (
                "Session timeout",
                or(self.session_timeout.as_deref(), AS_MEMBERS),
            ),
            ("Delivery", or(self.delivery, AS_MEMBERS)),
            ("Start from", or(self.start_from.as_deref(), AS_MEMBERS)),
            ("Out of range", or(self.on_out_of_range, AS_MEMBERS)),
            ("Offsets kept", self.offset_retention.clone()),
        ]
    }
}

/// Behind names and patterns of which none is a topic's.
pub(super) const NO_SUCH_TOPIC: &str = "(no such topic)";
/// Nothing is declared.
const AS_MEMBERS: &str = "as each member is set";

/// As people write it.
pub(super) fn span(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

const fn strategy(strategy: v1::AssignmentStrategy) -> &'static str {
    match strategy {
        v1::AssignmentStrategy::StrategyUnspecified | v1::AssignmentStrategy::Sticky => "Sticky",
        v1::AssignmentStrategy::Range => "Range",
        v1::AssignmentStrategy::RoundRobin => "RoundRobin",
    }
}

const fn delivery(delivery: v1::DeliveryPolicy) -> Option<&'static str> {
    match delivery {
        v1::DeliveryPolicy::DeliveryUnspecified => None,
        v1::DeliveryPolicy::AtLeastOnce => Some("AtLeastOnce"),
        v1::DeliveryPolicy::AtMostOnce => Some("AtMostOnce"),
    }
}

fn start_from(start: v1::StartPolicy) -> Option<String> {
    match start.position() {
        v1::StartPosition::StartUnspecified => None,
        v1::StartPosition::StartEarliest => Some("Earliest".to_owned()),
        v1::StartPosition::StartLatest => Some("Latest".to_owned()),
        v1::StartPosition::StartTimestamp => Some(format_timestamp(start.timestamp_ms)),
    }
}

const fn out_of_range(policy: v1::OutOfRangePolicy) -> Option<&'static str> {
    match policy {
        v1::OutOfRangePolicy::OutOfRangeUnspecified => None,
        v1::OutOfRangePolicy::OutOfRangeStop => Some("Stop"),
        v1::OutOfRangePolicy::OutOfRangeEarliest => Some("Earliest"),
        v1::OutOfRangePolicy::OutOfRangeLatest => Some("Latest"),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::group::{
        AssignmentStrategy, Delivery, GroupPolicy, OutOfRange, StartFrom, Subscription,
    };

    use super::*;

    fn values(policy: &GroupPolicy) -> Vec<String> {
        let described = v1::DescribeGroupResponse {
            policy: Some(policy.into()),
            offset_retention_ms: 7_200_000,
            ..v1::DescribeGroupResponse::default()
        };
        let lines = PolicyView::from(&described).lines(false);
        lines.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn what_is_declared_is_shown_and_what_is_not_is_the_members() {
        let policy = GroupPolicy {
            subscription: Subscription {
                topics: ["orders".to_owned()].into(),
                patterns: ["pay.*".to_owned()].into(),
            },
            strategy: AssignmentStrategy::RoundRobin,
            rack_aware: Some(false),
            session_timeout_ms: Some(45_000),
            delivery: Some(Delivery::AtMostOnce),
            start_from: Some(StartFrom::Timestamp(0)),
            out_of_range: Some(OutOfRange::Latest),
            offset_retention_ms: Some(7_200_000),
        };
        assert_eq!(
            values(&policy),
            [
                "orders,pay.*",
                "RoundRobin (racks ignored)",
                "45s",
                "AtMostOnce",
                "1970-01-01T00:00:00Z",
                "Latest",
                "2h"
            ]
        );
        let nothing = values(&GroupPolicy::default());
        assert_eq!(nothing[..2], ["what members name", "Sticky"]);
        assert_eq!(nothing[2..6], [AS_MEMBERS; 4]);
    }
}
