//! What members and policies may say.

use std::collections::BTreeSet;

use taffrail_api::WireError;
use taffrail_core::{group::Subscription, rules};

use super::catalog::compile;

const TOPICS_MAX: usize = 256;
const PATTERNS_MAX: usize = 32;
const PATTERN_BYTES_MAX: usize = 256;
/// A third of it is how long a coordinator may go without word of a follower, and idle followers say something every half second.
const SESSION_TIMEOUT_MS_MIN: u64 = 3_000;
const SESSION_TIMEOUT_MS_MAX: u64 = 1_800_000;

pub(crate) fn check_name(name: &str) -> Result<(), WireError> {
    match rules::check_group_name(name).first() {
        None => Ok(()),
        Some(violation) => Err(WireError::invalid(format!(
            "group {name:?}: {}",
            violation.message
        ))),
    }
}

/// Names and patterns that can be used. None at all is up to whoever asks.
pub(crate) fn subscription(
    topics: Vec<String>,
    patterns: Vec<String>,
) -> Result<Subscription, WireError> {
    within("topics", topics.len(), TOPICS_MAX)?;
    within("patterns", patterns.len(), PATTERNS_MAX)?;
    for topic in &topics {
        if let Some(violation) = rules::check_topic_name(topic).first() {
            let message = format!("topic {topic:?}: {}", violation.message);
            return Err(WireError::invalid(message));
        }
    }
    for pattern in &patterns {
        within("bytes of a pattern", pattern.len(), PATTERN_BYTES_MAX)?;
        compile(pattern).map_err(|error| {
            WireError::invalid(format!(
                "pattern {pattern:?} is no regular expression that can be used: {error}"
            ))
        })?;
    }
    Ok(Subscription {
        topics: BTreeSet::from_iter(topics),
        patterns: BTreeSet::from_iter(patterns),
    })
}

pub(crate) fn check_session_timeout(ms: u64) -> Result<(), WireError> {
    if (SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX).contains(&ms) {
        return Ok(());
    }
    Err(WireError::invalid(format!(
        "session_timeout_ms is {ms}; it must be between {SESSION_TIMEOUT_MS_MIN} and {SESSION_TIMEOUT_MS_MAX}"
    )))
}

pub(crate) fn within(what: &str, count: usize, max: usize) -> Result<(), WireError> {
    if count <= max {
        return Ok(());
    }
    Err(WireError::invalid(format!(
        "{count} {what}; at most {max} are taken"
    )))
}
