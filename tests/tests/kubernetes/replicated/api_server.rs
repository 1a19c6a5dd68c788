//! The API server is away.

use std::time::{Duration, Instant};

use taffrail_client::{
    Client, Consumer, ConsumerConfig, PartitionIndex, ProducerConfig, Record, Start,
};
use taffrail_tests::{cluster::BROKERS, traffic::offset_of, wait};

use super::{SOME, TOPIC, loaded};

/// Many times as long as an operator stays in office without its API server, and as its Lease lasts.
const AWAY: Duration = Duration::from_mins(2);
/// Many times as long as it takes, in debug builds on a busy machine.
const REPLACED_WITHIN: Duration = Duration::from_secs(45);
/// A topic for clients that come and go.
const OTHER: &str = "other";

/// What a new program does: it stores a record and reads everything up to it.
async fn produce_and_read(client: &Client) -> u64 {
    let producer = client.producer(ProducerConfig::default());
    let sent = producer.send(OTHER, Record::new("beside the load")).await;
    let delivered = sent.expect("the topic is known").await;
    let offset = offset_of(delivered.expect("it is stored"));
    let mut consumer = client.consumer(ConsumerConfig::default());
    let all = (OTHER, PartitionIndex(0), Start::Earliest);
    consumer.assign([all]).await.expect("the topic is known");
    let position = |consumer: &Consumer| {
        let position = consumer.position(OTHER, PartitionIndex(0));
        position.map_or(0, |offset| offset.0)
    };
    while position(&consumer) <= offset {
        let polled = consumer.poll(wait::PATIENCE).await;
        assert!(!polled.expect("the leader answers").is_empty());
    }
    offset
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn without_an_api_server_records_flow_and_clients_come_and_a_leader_that_died_is_replaced_when_it_is_back()
 {
    let (mut cluster, load) = loaded("api-server-away", BROKERS).await;
    cluster.create(OTHER, &["partitions: 1", "replicas: 3", "minInSync: 2"]);
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.operated().api_mut().kill();
    let begun = Instant::now();
    let mut stored = None;
    while begun.elapsed() < AWAY {
        let offset = produce_and_read(&cluster.client().await).await;
        assert!(stored < Some(offset));
        stored = Some(offset);
        load.more(SOME).await;
    }
    cluster.kill(leader);
    cluster.operated().api_mut().restart();
    let back = Instant::now();
    load.more(SOME).await;
    let replaced = back.elapsed();
    eprintln!("the leader that died was replaced within {replaced:?}");
    assert!(replaced < REPLACED_WITHIN, "{replaced:?}");
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    produce_and_read(&cluster.client().await).await;
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
