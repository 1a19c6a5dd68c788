//! Compacted topics: of each key the last record stays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use taffrail_api::v1::{SubscribeRequest, gateway_client::GatewayClient, subscribe_request::Start};
use taffrail_broker::{DiskSettings, Environment};
use taffrail_core::Cleanup;
use taffrail_record::{BatchBuilder, Compression, NewRecord};

use crate::{
    controller::Topic,
    fixture::{Fixture, TOPIC, request, until, within},
    http::ask,
};

/// Three of them fill a segment.
const VALUE_BYTES: usize = 300_000;

fn keyed(key: &str, value: u32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord {
        key: Some(key.as_bytes()),
        value: Some(&value_of(value)),
        timestamp_ms: 1_000,
        ..NewRecord::default()
    });
    builder.build().expect("a record")
}

/// A number with many zeros before it.
fn value_of(n: u32) -> Vec<u8> {
    let digits = n.to_string();
    let zeros = "0".repeat(VALUE_BYTES - digits.len());
    (zeros + &digits).into_bytes()
}

/// A compacted topic with twelve values of two keys, by turns.
async fn compacted(settings: DiskSettings) -> Fixture {
    compacted_in(Environment::real(None), settings).await
}

async fn compacted_in(environment: Environment, settings: DiskSettings) -> Fixture {
    let fixture = Fixture::in_environment(1, environment, settings).await;
    filled(&fixture, topic(Cleanup::Compact)).await;
    fixture
}

/// With segments of 1 MiB, kept for ever.
fn topic(cleanup: Cleanup) -> Topic {
    let mut topic = Topic {
        generation: 2,
        leader_epoch: 2,
        ..Topic::new("flights", &[1])
    };
    topic.config.segment_bytes = 1 << 20;
    topic.config.cleanup = cleanup;
    topic.config.retention = None;
    topic
}

async fn filled(fixture: &Fixture, topic: Topic) {
    fixture.put(topic).await;
    let mut client = fixture.client().await;
    for n in 0..12 {
        let key = if n % 2 == 0 { "a" } else { "b" };
        client
            .produce(request(0, keyed(key, n)))
            .await
            .expect("stored");
    }
}

/// Numbers of the records, as a smart client and then a thin one reads them. `None`: some went between the two.
async fn numbers(fixture: &Fixture) -> Option<Vec<u32>> {
    let values = fixture.client().await.values(0, 0).await;
    let values: Vec<u32> = values
        .iter()
        .map(|v| v.parse().expect("a number"))
        .collect();
    let request = SubscribeRequest {
        topic: "flights".into(),
        start: Some(Start::Earliest(true)),
        until_end: true,
        ..SubscribeRequest::default()
    };
    let mut stream = GatewayClient::new(fixture.channel())
        .subscribe(request)
        .await
        .expect("opens")
        .into_inner();
    let mut thin = Vec::new();
    while let Some(answer) = within("records", stream.message()).await.expect("open") {
        for record in answer.records {
            let value = String::from_utf8(record.value.expect("a value").to_vec());
            let number: u32 = value.expect("text").parse().expect("a number");
            assert_eq!(record.offset, i64::from(number), "it has its offset still");
            thin.push(number);
        }
    }
    let mut of_both = values.clone();
    of_both.retain(|number| thin.contains(number));
    assert_eq!(of_both, thin, "none came: {values:?}");
    (values == thin).then_some(values)
}

fn counted(metrics: &str, metric: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(metric));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("{metric} in {metrics}"))
}

#[tokio::test]
async fn the_last_value_of_each_key_is_there_after_compaction_and_a_restart() {
    let settings = DiskSettings {
        compaction_interval_ms: 20,
        checkpoint_interval_ms: 20,
        ..DiskSettings::default()
    };
    let fixture = compacted(settings).await;
    // Below the active segment only the last of each key, and all of the active one.
    let expected = [7, 8, 9, 10, 11];
    until("compaction", async || {
        numbers(&fixture).await.is_some_and(|n| n == expected)
    })
    .await;
    until("the metrics of it", async || {
        let (_, metrics) = ask(&fixture.broker, "GET /metrics", "").await;
        let counted = |metric| counted(&metrics, metric);
        counted("taffrail_broker_compactions_total{outcome=\"done\"}") >= 1
            && counted("taffrail_broker_compaction_removed_bytes_total") >= 7 * VALUE_BYTES as u64
            && counted("taffrail_broker_compaction_bytes_total") >= 9 * VALUE_BYTES as u64
            && counted("taffrail_broker_compaction_cleaned_bytes_total") >= 9 * VALUE_BYTES as u64
            && counted("taffrail_broker_compaction_seconds_count") >= 1
            && counted("taffrail_broker_partition_cleaned_offset") == 9
            && counted("taffrail_broker_partition_dirty_bytes") == 0
    })
    .await;
    let fixture = fixture.restart().await;
    until("the partition", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| r.leading)
    })
    .await;
    assert_eq!(numbers(&fixture).await.as_deref(), Some(&expected[..]));
    let mut client = fixture.client().await;
    client
        .produce(request(0, keyed("a", 12)))
        .await
        .expect("the log goes on");
    until("the next record", async || {
        let numbers = numbers(&fixture).await;
        numbers.is_some_and(|numbers| numbers.ends_with(&[12]))
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_compacted_and_deleted_loses_what_was_replaced_and_then_what_is_too_much() {
    let settings = DiskSettings {
        compaction_interval_ms: 20,
        checkpoint_interval_ms: 20,
        expire_interval_ms: 20,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(1, Environment::real(None), settings).await;
    filled(&fixture, topic(Cleanup::CompactAndDelete)).await;
    until("compaction", async || {
        let numbers = numbers(&fixture).await;
        numbers.is_some_and(|numbers| numbers == [7, 8, 9, 10, 11])
    })
    .await;
    let mut less = topic(Cleanup::CompactAndDelete);
    // The active segment is more than that.
    less.config.retention_bytes_per_partition = Some(1 << 19);
    less.generation = 3;
    fixture.put(less).await;
    until("the old segment to go", async || {
        let report = fixture.controller.report(TOPIC, 0);
        report.is_some_and(|report| report.log_start_offset == 9)
    })
    .await;
    let client = fixture.client().await;
    assert_eq!(client.values(0, 9).await.len(), 3, "the rest is there");
}

/// Of a pass that has begun: has it used up what it may by now, and is it over?
async fn pass(fixture: &Fixture, allowed: u64) -> (u64, bool) {
    let seen = AtomicU64::new(0);
    let over = AtomicU64::new(0);
    until("the pass to have gone on", async || {
        let (_, metrics) = ask(&fixture.broker, "GET /metrics", "").await;
        let done = counted(
            &metrics,
            "taffrail_broker_compactions_total{outcome=\"done\"}",
        );
        let bytes = counted(&metrics, "taffrail_broker_compaction_bytes_total");
        over.store(done, Ordering::Relaxed);
        seen.store(bytes, Ordering::Relaxed);
        done > 0 || bytes > allowed
    })
    .await;
    (seen.into_inner(), over.into_inner() > 0)
}

#[tokio::test]
async fn a_pass_goes_no_faster_than_it_may() {
    const BYTES_PER_S: u64 = 1_000_000;
    /// What it goes over before it looks at the clock.
    const STEP_BYTES: u64 = 1 << 20;
    let stopped_ms = Arc::new(AtomicU64::new(1_000));
    let shown_ms = Arc::clone(&stopped_ms);
    let environment = Environment {
        uptime: Arc::new(move || shown_ms.load(Ordering::Relaxed)),
        ..Environment::real(None)
    };
    let settings = DiskSettings {
        compaction_interval_ms: 20,
        checkpoint_interval_ms: 20,
        compaction_bytes_per_s_max: BYTES_PER_S,
        ..DiskSettings::default()
    };
    let fixture = compacted_in(environment, settings).await;
    let mut seconds = 0;
    loop {
        // A second's worth comes at once.
        let allowed = BYTES_PER_S * (1 + seconds);
        let (bytes, is_over) = pass(&fixture, allowed).await;
        assert!(
            bytes <= allowed + STEP_BYTES,
            "{bytes} within {seconds} s of the first"
        );
        if is_over {
            break;
        }
        seconds += 1;
        stopped_ms.fetch_add(1_000, Ordering::Relaxed);
    }
    // More than three megabytes, of which one came at once and one may be too much.
    assert!(seconds >= 2, "it was over after {seconds} s");
}

#[tokio::test]
async fn a_broker_does_not_wait_for_a_pass_to_stop() {
    let settings = DiskSettings {
        compaction_interval_ms: 20,
        checkpoint_interval_ms: 20,
        // What is more than a second's worth takes weeks.
        compaction_bytes_per_s_max: 1,
        ..DiskSettings::default()
    };
    let fixture = compacted(settings).await;
    until("a pass that is held back", async || {
        let (_, metrics) = ask(&fixture.broker, "GET /metrics", "").await;
        let line = "taffrail_broker_compaction_bytes_total ";
        metrics
            .lines()
            .any(|l| l.strip_prefix(line).is_some_and(|bytes| bytes != "0"))
    })
    .await;
    let started = Instant::now();
    let fixture = fixture.restart().await;
    assert!(started.elapsed() < Duration::from_secs(10));
    until("the partition", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| r.leading)
    })
    .await;
    // With the settings of that one a pass may be over by now, or over in a moment.
    until("the last of each key, at least", async || {
        let numbers = numbers(&fixture).await;
        numbers.is_some_and(|numbers| numbers.ends_with(&[7, 8, 9, 10, 11]))
    })
    .await;
}
