//! Puts what changed into the store.

use std::time::{Duration, Instant};

use crate::{
    state::draft::{Value, Write},
    store::{Store, StoreError, Version},
    writes::{WriteCounters, WriteReason},
};

/// How long one operation of the store may take before its outcome counts as unknown.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts one after another; stops at the first failure.
pub(super) async fn put_all(
    store: &dyn Store,
    writes: Vec<Write>,
    counters: &WriteCounters,
) -> Result<Vec<Version>, StoreError> {
    let started = Instant::now();
    let elections = writes.iter().filter(|w| is_of_an_election(w)).count();
    let mut versions = Vec::with_capacity(writes.len());
    for write in writes {
        let object = write.object();
        counters.add(&object, write.reason);
        let expected = write.expected.as_ref();
        let put = match &write.value {
            Value::Root(root) => store.put_root(expected, root),
            Value::Map(map) => store.put_map(expected, map),
            Value::Broker(broker) => store.put_broker(expected, broker),
        };
        let version = tokio::time::timeout(STORE_TIMEOUT, put).await;
        versions.push(version.unwrap_or_else(|e| {
            Err(StoreError::Unknown {
                object,
                cause: e.into(),
            })
        })?);
    }
    if elections > 0 {
        let took_ms = started.elapsed().as_millis();
        tracing::info!(
            maps = elections,
            writes = versions.len(),
            took_ms,
            "elections are stored"
        );
    }
    Ok(versions)
}

fn is_of_an_election(write: &Write) -> bool {
    matches!(write.value, Value::Map(_)) && write.reason == WriteReason::Election
}
