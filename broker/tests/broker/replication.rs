//! Two brokers, one following the other.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use taffrail_api::{stream::Route, v1};
use taffrail_broker::{BrokerConfig, Environment, ReplicationSettings, RunningBroker, start_with};
use tempfile::TempDir;

use crate::{
    controller::{FakeController, Topic},
    fixture::{Client, TOPIC, batch, channel, config, request, until, within},
    http::ask,
};

/// Brokers 1 and 2 of one cluster.
pub(crate) struct Two {
    pub(crate) controller: FakeController,
    dirs: [TempDir; 2],
    brokers: [Option<RunningBroker>; 2],
    catch_up_bytes_per_s_max: u64,
}

impl Two {
    pub(crate) async fn start() -> Self {
        Self::throttled(ReplicationSettings::default().catch_up_bytes_per_s_max).await
    }

    /// With so much a second for replicas that are not in sync.
    async fn throttled(catch_up_bytes_per_s_max: u64) -> Self {
        let dir = || tempfile::tempdir().expect("temp dir");
        let mut two = Self {
            controller: FakeController::start().await,
            dirs: [dir(), dir()],
            brokers: [None, None],
            catch_up_bytes_per_s_max,
        };
        two.run(1).await;
        two.run(2).await;
        two
    }

    /// Starts a broker, or starts it again.
    pub(crate) async fn run(&mut self, number: usize) {
        let config = BrokerConfig {
            name: format!("broker-{number}"),
            replication: ReplicationSettings {
                catch_up_bytes_per_s_max: self.catch_up_bytes_per_s_max,
                ..ReplicationSettings::default()
            },
            ..config(&self.dirs[number - 1], &self.controller)
        };
        let broker = start_with(config, Environment::real(None))
            .await
            .expect("starts");
        within("registration", broker.ready()).await;
        self.brokers[number - 1] = Some(broker);
    }

    pub(crate) async fn stop(&mut self, number: usize) {
        if let Some(broker) = self.brokers[number - 1].take() {
            broker.stop().await;
        }
    }

    pub(crate) fn broker(&self, number: usize) -> &RunningBroker {
        self.brokers[number - 1].as_ref().expect("it runs")
    }

    /// One partition, led by `leader` in `epoch`, with both replicas in sync.
    fn assign(&self, leader: u32, epoch: i32) {
        self.controller.put(TOPIC, both(leader, epoch));
    }

    async fn led_by(&self, leader: u32, epoch: i32) {
        until("the leader leads", async || {
            let report = self.controller.report_of(leader, TOPIC, 0);
            report.is_some_and(|r| r.leading && r.leader_epoch == epoch)
        })
        .await;
    }

    async fn client(&self, number: usize) -> Client {
        Client::connect(channel(self.broker(number)), Route::Direct).await
    }

    /// Waits until both logs are the same up to `end`, byte for byte, and committed.
    async fn until_equal(&self, end: i64) {
        for broker in [1, 2] {
            until("the whole log to be committed", async || {
                let report = self.controller.report_of(broker, TOPIC, 0);
                report.is_some_and(|r| (r.log_end_offset, r.high_watermark) == (end, end))
            })
            .await;
        }
        let [first, second] = [&self.dirs[0], &self.dirs[1]].map(|dir| log_bytes(dir.path()));
        assert!(!first.is_empty() && first == second, "the logs differ");
    }
}

pub(crate) fn both(leader: u32, epoch: i32) -> Topic {
    let mut topic = Topic::new("flights", &[leader]);
    (topic.replicas, topic.isr) = (vec![1, 2], vec![1, 2]);
    (topic.config.replicas, topic.config.min_in_sync) = (2, 2);
    (topic.leader_epoch, topic.partition_epoch) = (epoch, epoch as u64);
    topic
}

/// Every segment, in the order of their names, but for the zeros that are written ahead.
fn log_bytes(dir: &Path) -> Vec<u8> {
    let mut segments: Vec<PathBuf> = walk(&dir.join("partitions"));
    segments.retain(|path| path.extension().is_some_and(|e| e == "log"));
    segments.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let read = |path: &PathBuf| {
        let mut bytes = std::fs::read(path).expect("reads");
        bytes.truncate(
            bytes
                .iter()
                .rposition(|b| *b != 0)
                .map_or(0, |last| last + 1),
        );
        bytes
    };
    segments.iter().flat_map(read).collect()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn what_the_leader_has_its_follower_gets_byte_for_byte_and_all_is_answered_then() {
    let two = Two::start().await;
    two.assign(1, 1);
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    for i in 0..100 {
        client.send(request(0, batch(&[&format!("{i}"), "more"])));
    }
    for i in 0..100 {
        let ack = client.answer().await.1.expect("stored by both");
        assert_eq!(ack.base_offset, i * 2);
    }
    let follower = two.controller.report_of(2, TOPIC, 0).expect("a replica");
    assert!(!follower.leading);
    two.until_equal(200).await;
}

#[tokio::test]
async fn all_waits_for_the_follower_and_a_follower_that_comes_back_catches_up() {
    let mut two = Two::start().await;
    two.assign(1, 1);
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    client
        .produce(request(0, batch(&["both"])))
        .await
        .expect("stored by both");
    two.stop(2).await;
    for i in 0..50 {
        client.send(request(0, batch(&[&format!("{i}")])));
    }
    until("the leader to have all", async || {
        let report = two.controller.report_of(1, TOPIC, 0);
        report.is_some_and(|r| r.durable_end_offset == 51 && r.high_watermark == 1)
    })
    .await;
    assert_eq!(client.values(0, 0).await, ["both"], "the rest waits");
    two.run(2).await;
    for _ in 0..50 {
        client.answer().await.1.expect("stored by both now");
    }
    two.until_equal(51).await;
}

#[tokio::test]
async fn a_leader_that_comes_back_as_a_follower_loses_what_nobody_else_has() {
    let mut two = Two::start().await;
    two.assign(1, 1);
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    client
        .produce(request(0, batch(&["both"])))
        .await
        .expect("stored by both");
    two.stop(2).await;
    let mut lost = request(0, batch(&["nobody else has it", "nor this"]));
    lost.acks = v1::Acks::Leader.into();
    client.produce(lost).await.expect("stored by the leader");
    two.stop(1).await;
    two.run(2).await;
    two.assign(2, 2);
    two.led_by(2, 2).await;
    let mut client = two.client(2).await;
    let id = client.send(request(0, batch(&["instead"])));
    two.run(1).await;
    let (answered, ack) = client.answer().await;
    assert_eq!(
        (answered, ack.expect("stored by both").base_offset),
        (id, 1)
    );
    two.until_equal(2).await;
    assert_eq!(client.values(0, 0).await, ["both", "instead"]);
}

#[tokio::test]
async fn many_large_batches_of_many_partitions_go_through_the_window_and_no_throttle() {
    const PARTITIONS: usize = 8;
    let two = Two::throttled(1).await;
    let mut topic = both(1, 1);
    topic.partitions = vec![1; PARTITIONS];
    two.controller.put(TOPIC, topic);
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    let large = "x".repeat(900_000);
    let sent = PARTITIONS * 8;
    for i in 0..sent {
        client.send(request((i % PARTITIONS) as u32, batch(&[&large])));
    }
    for _ in 0..sent {
        client.answer().await.1.expect("stored by both");
    }
}

#[tokio::test]
async fn a_replica_that_is_not_in_sync_catches_up_no_faster_than_it_may() {
    const RATE: u64 = 1 << 20;
    const RECORDS: i64 = 32;
    let two = Two::throttled(RATE).await;
    let mut topic = both(1, 1);
    (topic.isr, topic.config.min_in_sync) = (vec![1], 1);
    topic.replicas = vec![1];
    two.controller.put(TOPIC, topic.clone());
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    let large = "x".repeat(128 << 10);
    for _ in 0..RECORDS {
        client.send(request(0, batch(&[&large])));
    }
    for _ in 0..RECORDS {
        client.answer().await.1.expect("stored by the leader");
    }
    let begun = Instant::now();
    topic.replicas = vec![1, 2];
    topic.partition_epoch += 1;
    two.controller.put(TOPIC, topic);
    until("the follower to have all", async || {
        let report = two.controller.report_of(2, TOPIC, 0);
        report.is_some_and(|r| r.log_end_offset == RECORDS)
    })
    .await;
    // Four megabytes: one is saved up, and the last answer is waited for by nobody.
    assert!(begun.elapsed() >= Duration::from_secs(2), "too fast");
}

#[tokio::test]
async fn both_count_what_goes_between_them() {
    let two = Two::start().await;
    two.assign(1, 1);
    two.led_by(1, 1).await;
    let (mut client, sent) = (two.client(1).await, batch(&["counted"]));
    for _ in 0..3 {
        let request = request(0, sent.clone());
        client.produce(request).await.expect("stored by both");
    }
    let bytes = 3 * sent.len();
    let topic = "{topic=\"flights\"}";
    for (broker, lines) in [
        (
            1,
            [
                format!("replicated_out_bytes_total{topic} {bytes}"),
                format!("replicated_out_batches_total{topic} 3"),
                "replication_sessions{side=\"leader\"} 1".to_owned(),
                format!("follower_lag_records{topic} 0"),
            ],
        ),
        (
            2,
            [
                format!("replicated_in_bytes_total{topic} {bytes}"),
                format!("replicated_in_batches_total{topic} 3"),
                "replication_sessions{side=\"follower\"} 1".to_owned(),
                "partition_high_watermark{topic=\"flights\",partition=\"0\"} 3".to_owned(),
            ],
        ),
    ] {
        until("the metrics", async || {
            let (_, metrics) = ask(two.broker(broker), "GET /metrics", "").await;
            let has = |line| metrics.contains(&format!("\ntaffrail_broker_{line}\n"));
            lines.iter().all(has)
        })
        .await;
    }
}

#[tokio::test]
async fn a_leader_that_is_gone_is_doubted_at_once_and_one_that_is_back_is_not() {
    let mut two = Two::start().await;
    two.assign(1, 1);
    two.led_by(1, 1).await;
    let mut client = two.client(1).await;
    client
        .produce(request(0, batch(&["both"])))
        .await
        .expect("stored by both");
    assert_eq!(two.controller.doubts(2), []);
    two.stop(1).await;
    until("a doubt", async || {
        let doubts = two.controller.doubts(2);
        doubts.iter().any(|d| d.broker == 1 && d.refused)
    })
    .await;
    two.run(1).await;
    until("no doubt", async || two.controller.doubts(2).is_empty()).await;
}
