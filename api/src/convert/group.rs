//! What a ConsumerGroup declares.

use taffrail_core::group::{
    AssignmentStrategy, Delivery, GroupPolicy, OutOfRange, StartFrom, Subscription,
};

use crate::{WireError, v1};

impl From<&GroupPolicy> for v1::GroupPolicy {
    fn from(policy: &GroupPolicy) -> Self {
        let strategy = match policy.strategy {
            AssignmentStrategy::Sticky => v1::AssignmentStrategy::Sticky,
            AssignmentStrategy::Range => v1::AssignmentStrategy::Range,
            AssignmentStrategy::RoundRobin => v1::AssignmentStrategy::RoundRobin,
        };
        Self {
            topics: policy.subscription.topics.iter().cloned().collect(),
            patterns: policy.subscription.patterns.iter().cloned().collect(),
            strategy: strategy.into(),
            rack_aware: policy.rack_aware,
            session_timeout_ms: policy
                .session_timeout_ms
                .map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            members: Some(v1::MemberPolicy::from(policy)),
            offset_retention_ms: policy.offset_retention_ms,
        }
    }
}

/// What of it members are told.
impl From<&GroupPolicy> for v1::MemberPolicy {
    fn from(policy: &GroupPolicy) -> Self {
        let delivery = match policy.delivery {
            None => v1::DeliveryPolicy::DeliveryUnspecified,
            Some(Delivery::AtLeastOnce) => v1::DeliveryPolicy::AtLeastOnce,
            Some(Delivery::AtMostOnce) => v1::DeliveryPolicy::AtMostOnce,
        };
        let out_of_range = match policy.out_of_range {
            None => v1::OutOfRangePolicy::OutOfRangeUnspecified,
            Some(OutOfRange::Stop) => v1::OutOfRangePolicy::OutOfRangeStop,
            Some(OutOfRange::Earliest) => v1::OutOfRangePolicy::OutOfRangeEarliest,
            Some(OutOfRange::Latest) => v1::OutOfRangePolicy::OutOfRangeLatest,
        };
        let start = policy.start_from.map(|start| {
            let (position, timestamp_ms) = match start {
                StartFrom::Earliest => (v1::StartPosition::StartEarliest, 0),
                StartFrom::Latest => (v1::StartPosition::StartLatest, 0),
                StartFrom::Timestamp(ms) => (v1::StartPosition::StartTimestamp, ms),
            };
            v1::StartPolicy {
                position: position.into(),
                timestamp_ms,
            }
        });
        Self {
            delivery: delivery.into(),
            start,
            out_of_range: out_of_range.into(),
        }
    }
}

impl TryFrom<v1::GroupPolicy> for GroupPolicy {
    type Error = WireError;

    fn try_from(policy: v1::GroupPolicy) -> Result<Self, WireError> {
        let members = policy.members.unwrap_or_default();
        Ok(Self {
            strategy: strategy(policy.strategy)?,
            delivery: delivery(members.delivery)?,
            start_from: start_from(members.start)?,
            out_of_range: out_of_range(members.out_of_range)?,
            subscription: Subscription {
                topics: policy.topics.into_iter().collect(),
                patterns: policy.patterns.into_iter().collect(),
            },
            rack_aware: policy.rack_aware,
            session_timeout_ms: policy.session_timeout_ms.map(u64::from),
            offset_retention_ms: policy.offset_retention_ms,
        })
    }
}

fn strategy(strategy: i32) -> Result<AssignmentStrategy, WireError> {
    match v1::AssignmentStrategy::try_from(strategy) {
        Ok(v1::AssignmentStrategy::StrategyUnspecified | v1::AssignmentStrategy::Sticky) => {
            Ok(AssignmentStrategy::Sticky)
        }
        Ok(v1::AssignmentStrategy::Range) => Ok(AssignmentStrategy::Range),
        Ok(v1::AssignmentStrategy::RoundRobin) => Ok(AssignmentStrategy::RoundRobin),
        Err(_) => Err(unknown("assignment strategy", strategy)),
    }
}

/// # Errors
/// A delivery that this version does not know.
pub fn delivery(delivery: i32) -> Result<Option<Delivery>, WireError> {
    match v1::DeliveryPolicy::try_from(delivery) {
        Ok(v1::DeliveryPolicy::DeliveryUnspecified) => Ok(None),
        Ok(v1::DeliveryPolicy::AtLeastOnce) => Ok(Some(Delivery::AtLeastOnce)),
        Ok(v1::DeliveryPolicy::AtMostOnce) => Ok(Some(Delivery::AtMostOnce)),
        Err(_) => Err(unknown("delivery", delivery)),
    }
}

/// # Errors
/// A position that this version does not know.
pub fn start_from(start: Option<v1::StartPolicy>) -> Result<Option<StartFrom>, WireError> {
    let Some(start) = start else { return Ok(None) };
    match v1::StartPosition::try_from(start.position) {
        Ok(v1::StartPosition::StartUnspecified) => Ok(None),
        Ok(v1::StartPosition::StartEarliest) => Ok(Some(StartFrom::Earliest)),
        Ok(v1::StartPosition::StartLatest) => Ok(Some(StartFrom::Latest)),
        Ok(v1::StartPosition::StartTimestamp) => Ok(Some(StartFrom::Timestamp(start.timestamp_ms))),
        Err(_) => Err(unknown("start position", start.position)),
    }
}

/// # Errors
/// A policy that this version does not know.
pub fn out_of_range(policy: i32) -> Result<Option<OutOfRange>, WireError> {
    match v1::OutOfRangePolicy::try_from(policy) {
        Ok(v1::OutOfRangePolicy::OutOfRangeUnspecified) => Ok(None),
        Ok(v1::OutOfRangePolicy::OutOfRangeStop) => Ok(Some(OutOfRange::Stop)),
        Ok(v1::OutOfRangePolicy::OutOfRangeEarliest) => Ok(Some(OutOfRange::Earliest)),
        Ok(v1::OutOfRangePolicy::OutOfRangeLatest) => Ok(Some(OutOfRange::Latest)),
        Err(_) => Err(unknown("out-of-range policy", policy)),
    }
}

fn unknown(what: &str, number: i32) -> WireError {
    WireError::invalid(format!(
        "group policy: {number} is no {what} that this version knows"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_the_wire() {
        let policy = GroupPolicy {
            subscription: Subscription {
                topics: ["orders".to_owned()].into(),
                patterns: ["payments.*".to_owned()].into(),
            },
            strategy: AssignmentStrategy::RoundRobin,
            rack_aware: Some(false),
            session_timeout_ms: Some(30_000),
            delivery: Some(Delivery::AtMostOnce),
            start_from: Some(StartFrom::Timestamp(17)),
            out_of_range: Some(OutOfRange::Latest),
            offset_retention_ms: Some(9),
        };
        for policy in [policy, GroupPolicy::default()] {
            let wire = v1::GroupPolicy::from(&policy);
            assert_eq!(GroupPolicy::try_from(wire).ok(), Some(policy));
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let policy = v1::GroupPolicy {
            strategy: 9,
            ..v1::GroupPolicy::default()
        };
        let error = GroupPolicy::try_from(policy).expect_err("unknown");
        assert!(error.message.contains("9 is no assignment strategy"));
        assert!(delivery(9).is_err());
        assert!(out_of_range(9).is_err());
        let start = v1::StartPolicy {
            position: 9,
            timestamp_ms: 0,
        };
        assert!(start_from(Some(start)).is_err());
    }
}
