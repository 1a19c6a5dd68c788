//! What members and policies may say.

use std::collections::BTreeSet;

use taffrail_api::{WireError, pattern::compile};
use taffrail_core::{
    group::Subscription,
    rules::{self, SESSION_TIMEOUT_MS},
};

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
    let subscription = Subscription {
        topics: BTreeSet::from_iter(topics),
        patterns: BTreeSet::from_iter(patterns),
    };
    rules::check_subscription(&subscription)
        .map_err(|error| WireError::invalid(error.to_string()))?;
    for pattern in &subscription.patterns {
        compile(pattern).map_err(|error| {
            WireError::invalid(format!(
                "pattern {pattern:?} is no regular expression that can be used: {error}"
            ))
        })?;
    }
    Ok(subscription)
}

pub(crate) fn check_session_timeout(ms: u64) -> Result<(), WireError> {
    if SESSION_TIMEOUT_MS.contains(&ms) {
        return Ok(());
    }
    Err(WireError::invalid(format!(
        "session_timeout_ms is {ms}; it must be between {} and {}",
        SESSION_TIMEOUT_MS.start(),
        SESSION_TIMEOUT_MS.end()
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
