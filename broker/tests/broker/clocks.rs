//! A wall clock that jumps: it says how old records are, and nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use taffrail_api::v1::offset_query::Position;
use taffrail_broker::{DiskSettings, Environment};

use crate::fixture::{Fixture, batch, request};

const HOUR_MS: i64 = 3_600_000;

/// A clock that can be set.
fn settable() -> (Environment, Arc<AtomicI64>) {
    let real = Environment::real(None);
    let now_ms = Arc::new(AtomicI64::new((real.clock)()));
    let shown = Arc::clone(&now_ms);
    let environment = Environment {
        clock: Arc::new(move || shown.load(Ordering::Relaxed)),
        ..real
    };
    (environment, now_ms)
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_to_1970_loses_no_record_and_no_session() {
    let (environment, now_ms) = settable();
    let begun_ms = now_ms.load(Ordering::Relaxed);
    let fixture = Fixture::in_environment(1, environment, DiskSettings::default()).await;
    let mut client = fixture.client().await;
    let jumps = [0, HOUR_MS, -HOUR_MS, 0 - begun_ms, HOUR_MS - begun_ms];
    let values: Vec<String> = (0..jumps.len()).map(|n| format!("{n}")).collect();
    for (jump_ms, value) in jumps.into_iter().zip(&values) {
        now_ms.store(begun_ms + jump_ms, Ordering::Relaxed);
        let heartbeats = fixture.controller.heartbeats();
        let stored = client.produce(request(0, batch(&[value]))).await;
        stored.expect("stored");
        crate::fixture::until("heartbeats to go on", async || {
            fixture.controller.heartbeats() > heartbeats + 1
        })
        .await;
    }
    assert_eq!(client.values(0, 0).await, values);
    let earliest = client.offset(0, Position::Earliest(true)).await;
    assert_eq!(earliest.expect("known").0, 0);
    assert_eq!(fixture.controller.registrations().len(), 1);
    let fixture = fixture.crash_and_restart().await;
    let mut client = fixture.client().await;
    assert_eq!(client.values(0, 0).await, values);
    client
        .produce(request(0, batch(&["after"])))
        .await
        .expect("stored");
}
