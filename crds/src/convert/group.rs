//! A ConsumerGroup as users write it -> what is handed to the brokers -> what core decides on.

use taffrail_core::{
    group as core,
    rules::{self, GroupFacts, Violation},
};

use super::name_for_clients;
use crate::consumer_group::{
    Assignment, ConsumerGroup, ConsumerGroupSpec, Delivery, EffectiveGroup, GroupMode, GroupTopic,
    OutOfRange, StartFrom, StartPosition, Strategy,
};

impl ConsumerGroup {
    /// The name that members use, for a cluster in namespace `cluster_namespace`; `None`: the group's own, whatever that is.
    pub fn client_name(&self, cluster_namespace: Option<&str>) -> String {
        let explicit = self.spec.group_name.as_deref();
        name_for_clients(&self.metadata, explicit, cluster_namespace)
    }
}

impl ConsumerGroupSpec {
    /// Every rule that it breaks.
    pub fn violations(&self) -> Vec<Violation> {
        let items = self.topics.iter().flatten();
        let assignment = self.assignment.as_ref();
        let start = self.start_from.as_ref();
        let objectives = self.objectives.as_ref();
        let mut violations = rules::check_group(&GroupFacts {
            is_shared: self.mode == Some(GroupMode::Shared),
            is_exactly_once: self.delivery == Some(Delivery::ExactlyOnce),
            topics: items
                .map(|item| (item.name.as_deref(), item.pattern.as_deref()))
                .collect(),
            session_timeout: assignment.and_then(|a| a.session_timeout).map(|d| d.0),
            is_start_unclear: start
                .is_some_and(|s| (s.position == StartPosition::Timestamp) != s.timestamp.is_some()),
            max_lag: objectives.and_then(|o| o.max_lag).map(|d| d.0),
            retention_headroom: objectives.and_then(|o| o.retention_headroom).map(|d| d.0),
            offset_retention: self.offset_retention.map(|d| d.0),
        });
        if let Some(name) = &self.group_name {
            violations.extend(rules::check_group_name(name));
        }
        violations
    }

    /// What is handed to the brokers. `topic_name`: the name that clients use of a topic that is called so here.
    pub fn effective(&self, topic_name: impl Fn(&str) -> String) -> EffectiveGroup {
        let items = self.topics.iter().flatten();
        let by_its_name = |item: &GroupTopic| GroupTopic {
            name: item.name.as_deref().map(&topic_name),
            pattern: item.pattern.clone(),
        };
        EffectiveGroup {
            mode: self.mode.unwrap_or(GroupMode::Partitioned),
            topics: items.map(by_its_name).collect(),
            assignment: self.assignment.clone(),
            delivery: self.delivery,
            start_from: self.start_from.clone(),
            on_out_of_range: self.on_out_of_range,
            objectives: self.objectives.clone().unwrap_or_default(),
            offset_retention: self.offset_retention,
        }
    }
}

impl From<&EffectiveGroup> for core::GroupPolicy {
    fn from(group: &EffectiveGroup) -> Self {
        let assignment = group.assignment.clone().unwrap_or_default();
        let Assignment {
            strategy,
            rack_aware,
            session_timeout,
        } = assignment;
        let names = group.topics.iter().filter_map(|item| item.name.clone());
        let patterns = group.topics.iter().filter_map(|item| item.pattern.clone());
        Self {
            subscription: core::Subscription {
                topics: names.collect(),
                patterns: patterns.collect(),
            },
            strategy: strategy.map(Into::into).unwrap_or_default(),
            rack_aware,
            session_timeout_ms: session_timeout.map(in_ms),
            delivery: group.delivery.and_then(delivery),
            start_from: group.start_from.as_ref().map(start_from),
            out_of_range: group.on_out_of_range.map(Into::into),
            offset_retention_ms: group.offset_retention.map(in_ms),
        }
    }
}

impl From<Strategy> for core::AssignmentStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Sticky => Self::Sticky,
            Strategy::Range => Self::Range,
            Strategy::RoundRobin => Self::RoundRobin,
        }
    }
}

impl From<OutOfRange> for core::OutOfRange {
    fn from(policy: OutOfRange) -> Self {
        match policy {
            OutOfRange::Stop => Self::Stop,
            OutOfRange::Earliest => Self::Earliest,
            OutOfRange::Latest => Self::Latest,
        }
    }
}

/// A rule refuses the one that there is not yet.
fn delivery(delivery: Delivery) -> Option<core::Delivery> {
    match delivery {
        Delivery::AtLeastOnce => Some(core::Delivery::AtLeastOnce),
        Delivery::AtMostOnce => Some(core::Delivery::AtMostOnce),
        Delivery::ExactlyOnce => None,
    }
}

fn start_from(start: &StartFrom) -> core::StartFrom {
    let at = start.timestamp.as_ref().map(|at| at.0.as_millisecond());
    match (start.position, at) {
        (StartPosition::Timestamp, Some(ms)) => core::StartFrom::Timestamp(ms),
        (StartPosition::Latest, _) => core::StartFrom::Latest,
        // A timestamp that is missing is refused by a rule.
        (StartPosition::Earliest | StartPosition::Timestamp, _) => core::StartFrom::Earliest,
    }
}

pub(super) fn in_ms(duration: crate::units::GoDuration) -> u64 {
    u64::try_from(duration.0.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: &Value) -> ConsumerGroupSpec {
        serde_json::from_value(value.clone()).expect("readable")
    }

    #[test]
    fn a_spec_that_says_nothing_leaves_everything_to_members_and_brokers() {
        let effective = spec(&json!({})).effective(ToOwned::to_owned);
        assert_eq!(
            core::GroupPolicy::from(&effective),
            core::GroupPolicy::default()
        );
        assert_eq!(
            serde_json::to_value(&effective).expect("JSON"),
            json!({ "mode": "Partitioned", "objectives": {} })
        );
    }

    #[test]
    fn everything_that_a_spec_says_reaches_the_brokers() {
        let spec = spec(&json!({
            "topics": [{ "name": "orders" }, { "pattern": "payments.*" }],
            "assignment": { "strategy": "Range", "rackAware": true, "sessionTimeout": "45s" },
            "delivery": "AtMostOnce",
            "startFrom": { "position": "Timestamp", "timestamp": "2013-01-24T00:00:00Z" },
            "onOutOfRange": "Latest",
            "objectives": { "maxLag": "10m" },
            "offsetRetention": "720h",
        }));
        assert_eq!(spec.violations(), []);
        let effective = spec.effective(|name| format!("shop.{name}"));
        let policy = core::GroupPolicy::from(&effective);
        let expected = core::GroupPolicy {
            subscription: core::Subscription {
                topics: ["shop.orders".to_owned()].into(),
                patterns: ["payments.*".to_owned()].into(),
            },
            strategy: core::AssignmentStrategy::Range,
            rack_aware: Some(true),
            session_timeout_ms: Some(45_000),
            delivery: Some(core::Delivery::AtMostOnce),
            start_from: Some(core::StartFrom::Timestamp(1_358_985_600_000)),
            out_of_range: Some(core::OutOfRange::Latest),
            offset_retention_ms: Some(2_592_000_000),
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn every_broken_rule_is_reported_at_once() {
        let broken = spec(&json!({
            "groupName": "__billing",
            "mode": "Shared",
            "topics": [{ "name": "a", "pattern": "b" }, {}],
            "startFrom": { "position": "Timestamp" },
        }))
        .violations();
        let expected = [
            &rules::GROUP_MODE_KNOWN,
            &rules::GROUP_TOPICS_NAMED,
            &rules::GROUP_START_TIMESTAMP,
            &rules::GROUP_NAME_NOT_INTERNAL,
        ];
        assert_eq!(broken, expected.map(Violation::of));
    }

    #[test]
    fn a_group_outside_the_clusters_namespace_carries_its_namespace() {
        let group = |name: Option<&str>| {
            let mut group = ConsumerGroup::new("billing", spec(&json!({ "groupName": name })));
            group.metadata.namespace = Some("shop".to_owned());
            group
        };
        assert_eq!(group(None).client_name(Some("shop")), "billing");
        assert_eq!(group(None).client_name(Some("streams")), "shop.billing");
        assert_eq!(group(None).client_name(None), "billing");
        assert_eq!(group(Some("b")).client_name(Some("streams")), "b");
    }
}
