//! Compacted topics: each replica compacts alone, whatever befalls the others.

use std::{collections::BTreeMap, time::Duration};

use taffrail_client::{
    Acks, Client, ConsumerConfig, Delivery, PartitionIndex, ProducerConfig, Record, Start,
};
use taffrail_tests::{
    cluster::{
        BROKERS, Cluster,
        compacted::{self, Records},
    },
    wait,
};

const TOPIC: &str = "state";
const SPEC: &[&str] = &[
    "partitions: 1",
    "replicas: 3",
    "minInSync: 2",
    "cleanup: Compact",
    "segment: {bytes: 1Mi, maxAge: 1s}",
    "compaction: {minLag: 0s, tombstoneRetention: 1s}",
];
const SETTINGS: &str = "[disk]\ncompaction_interval_ms = 100\ncheckpoint_interval_ms = 200\n";
/// So many values fill a segment.
const ROUND: u32 = 1_200;
const KEYS: u32 = 40;

/// Writes with keys, and knows what of each key has to be there in the end.
struct Writer {
    client: Client,
    newest: BTreeMap<String, String>,
    written: u32,
}

impl Writer {
    async fn of(cluster: &Cluster) -> Self {
        Self {
            client: cluster.client().await,
            newest: BTreeMap::new(),
            written: 0,
        }
    }

    /// More than a segment: values of some of the keys, and tombstones of others. Everything is acknowledged on return.
    async fn round(&mut self) {
        let producer = self.client.producer(ProducerConfig {
            acks: Acks::All,
            delivery_timeout: wait::PATIENCE,
            ..ProducerConfig::default()
        });
        let mut deliveries: Vec<Delivery> = Vec::new();
        for _ in 0..ROUND {
            self.written += 1;
            let key = format!("key-{}", self.written.wrapping_mul(7) % KEYS);
            let value = (!self.written.is_multiple_of(5))
                .then(|| format!("{} {}", self.written, "x".repeat(1_000)));
            let record = Record {
                key: Some(key.as_bytes()),
                value: value.as_ref().map(String::as_bytes),
                ..Record::default()
            };
            deliveries.push(producer.send(TOPIC, record).await.expect("it is taken"));
            match value {
                Some(value) => self.newest.insert(key, value),
                None => self.newest.remove(&key),
            };
        }
        for delivery in deliveries {
            delivery.await.expect("it is acknowledged");
        }
    }

    async fn put(&self, key: &str, value: Option<&str>) {
        let producer = self.client.producer(ProducerConfig {
            acks: Acks::All,
            ..ProducerConfig::default()
        });
        let record = Record {
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            ..Record::default()
        };
        let sent = producer.send(TOPIC, record).await.expect("it is taken");
        sent.await.expect("it is acknowledged");
    }
}

/// Stops all brokers, and gives what each of them holds.
fn stopped(cluster: &mut Cluster) -> Vec<Records> {
    for ended in cluster.stop_all() {
        assert!(ended.success(), "{ended}");
    }
    let all = 0..BROKERS;
    all.map(|index| cluster.records(index, TOPIC, 0)).collect()
}

fn has(records: &Records, key: &str) -> bool {
    records.values().any(|(found, _)| found == key)
}

/// How far compaction of the topic came at a broker.
fn cleaned_to(cluster: &Cluster, index: usize) -> u64 {
    let name =
        format!("taffrail_broker_partition_cleaned_offset{{topic=\"{TOPIC}\",partition=\"0\"}} ");
    let metrics = cluster.metrics(index);
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&name));
    values
        .next()
        .map_or(0, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_replicas_agree_wherever_two_have_a_record_though_brokers_are_killed() {
    let mut cluster = Cluster::start_with("compacted", SETTINGS).await;
    cluster.create(TOPIC, SPEC);
    let mut writer = Writer::of(&cluster).await;
    for round in 0..4 {
        writer.round().await;
        let victim = match round {
            0 | 2 => cluster.metadata().leader(TOPIC, 0).await,
            _ => cluster.metadata().followers(TOPIC, 0).await[0],
        };
        cluster.kill(victim);
        writer.round().await;
        cluster.restart(victim);
        cluster.until_online(victim).await;
        cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    }
    writer.round().await;
    for index in 0..BROKERS {
        wait::until("a pass over half of it", wait::PATIENCE, || {
            (cleaned_to(&cluster, index) > u64::from(writer.written) / 2).then_some(())
        });
    }
    let replicas = stopped(&mut cluster);
    for (index, replica) in replicas.iter().enumerate() {
        assert!(
            replica.len() < writer.written as usize / 2,
            "broker-{index}"
        );
        assert!(
            compacted::newest(replica) == writer.newest,
            "broker-{index} holds other values than were written last"
        );
        for (offset, record) in replica {
            let others = replicas.iter().filter_map(|other| other.get(offset));
            let mut differing = others.filter(|other| *other != record);
            assert_eq!(differing.next(), None, "offset {offset} at broker-{index}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_for_longer_than_tombstones_stay_brings_no_deleted_key_back() {
    let mut cluster = Cluster::start_with("tombstones", SETTINGS).await;
    cluster.create(TOPIC, SPEC);
    let mut writer = Writer::of(&cluster).await;
    writer.put("deleted", Some("long ago")).await;
    writer.round().await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let away = cluster.metadata().followers(TOPIC, 0).await[0];
    cluster.kill(away);
    let had = cluster.records(away, TOPIC, 0);
    assert!(has(&had, "deleted"), "it is to come back with that");
    writer.put("deleted", None).await;
    let client = writer.client.clone();
    let mut rounds = 0;
    while rounds < 3 || is_there(&client, "deleted").await {
        writer.round().await;
        rounds += 1;
        assert!(rounds < 60, "the tombstone stays");
    }
    assert_eq!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(away);
    cluster.until_online(away).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    for replica in stopped(&mut cluster) {
        assert!(!compacted::newest(&replica).contains_key("deleted"));
        assert!(compacted::newest(&replica) == writer.newest);
    }
    let said = cluster.said(away);
    assert!(said.contains("tombstones that this log lacks"), "{said}");
}

/// Does the leader have anything of a key?
async fn is_there(client: &Client, key: &str) -> bool {
    let end = client
        .offsets(&[(TOPIC.to_owned(), PartitionIndex(0), Start::Latest)])
        .await
        .expect("the leader answers")[0];
    let mut consumer = client.consumer(ConsumerConfig::default());
    let all = [(TOPIC, PartitionIndex(0), Start::Earliest)];
    consumer.assign(all).await.expect("the topic is there");
    let mut is_there = false;
    while consumer.position(TOPIC, PartitionIndex(0)) < Some(end) {
        let read = consumer.poll(Duration::from_millis(100)).await;
        let read = read.expect("the leader is there");
        is_there |= read
            .iter()
            .any(|r| r.key.as_deref() == Some(key.as_bytes()));
    }
    is_there
}
