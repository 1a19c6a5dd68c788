//! A leader that stands still, connections open, while another broker takes over.

use std::{sync::Arc, time::Duration};

use taffrail_client::{
    Client, ClientConfig, ConsumerConfig, PartitionIndex, ProducerConfig, Record, Start,
};
use tokio::time::timeout;

use crate::cluster::{Cluster, TOPIC};

/// Well below the request timeout of 30 s, which is all that would end the wait otherwise.
const DEADLINE: Duration = Duration::from_secs(15);

/// Broker 0 leads; the client hears of changes from broker 1.
async fn cluster_and_client() -> (Arc<Cluster>, Client) {
    let cluster = Cluster::start(2, 1).await;
    let client = connect(&cluster).await;
    (cluster, client)
}

async fn connect(cluster: &Cluster) -> Client {
    let config = ClientConfig::new(cluster.address(1));
    Client::connect(config).await.expect("broker 1 answers")
}

#[tokio::test]
async fn records_arrive_although_the_old_leader_never_answers() {
    let (cluster, client) = cluster_and_client().await;
    let producer = client.producer(ProducerConfig::default());
    let first = producer.send(TOPIC, Record::new("first")).await;
    first.expect("there is room").await.expect("delivered");
    cluster.freeze(0);
    let second = producer.send(TOPIC, Record::new("second")).await;
    let second = second.expect("there is room");
    cluster.move_leader(0, 1);
    let stored = timeout(DEADLINE, second).await.expect("in time");
    stored.expect("the new leader has it");
    assert_eq!(cluster.values(0), ["first", "second"]);
}

#[tokio::test]
async fn reading_goes_on_although_the_old_leader_never_answers() {
    let (cluster, client) = cluster_and_client().await;
    let mut consumer = client.consumer(ConsumerConfig::default());
    let start = (TOPIC, PartitionIndex(0), Start::Earliest);
    consumer.assign([start]).await.expect("there");
    let mut next = async |value: &str| {
        // A client of its own: one that never met the old leader.
        let producer = connect(&cluster).await.producer(ProducerConfig::default());
        let delivery = producer.send(TOPIC, Record::new(value)).await;
        delivery.expect("there is room").await.expect("delivered");
        let batch = timeout(DEADLINE, consumer.next_batch()).await;
        let batch = batch.expect("in time").expect("sound");
        let record = batch.records().expect("sound").next().expect("one");
        let record = record.expect("sound");
        assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
    };
    next("first").await;
    cluster.freeze(0);
    cluster.move_leader(0, 1);
    next("second").await;
}
