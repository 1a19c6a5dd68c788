//! Metadata that comes by itself.

use std::{sync::Arc, time::Duration};

use taffrail_client::{Client, ProducerConfig, Record};
use taffrail_core::BrokerNumber;
use tokio::time::{Instant, interval, timeout};

use crate::cluster::{Cluster, TOPIC};

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let mut looks = interval(Duration::from_millis(2));
    let met = timeout(DEADLINE, async {
        while !condition() {
            looks.tick().await;
        }
    });
    met.await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

fn leader(client: &Client) -> Option<BrokerNumber> {
    client.known().topic(TOPIC)?.partitions[0].leader
}

fn partitions(client: &Client) -> usize {
    client
        .known()
        .topic(TOPIC)
        .map_or(0, |t| t.partitions.len())
}

/// A client that follows the topic, because it has produced to it.
async fn following(cluster: &Arc<Cluster>) -> (Client, taffrail_client::Producer) {
    let client = cluster.client().await;
    let producer = client.producer(ProducerConfig::default());
    let delivery = producer.send(TOPIC, Record::new("first")).await;
    delivery.expect("taken").await.expect("delivered");
    until("it is followed", || cluster.state().watched == 1).await;
    (client, producer)
}

/// The one that it follows says for ever that itself leads.
#[tokio::test]
async fn a_broker_that_is_cut_off_from_the_controller_does_not_keep_clients_from_the_new_leader() {
    let cluster = Cluster::start(2, 1).await;
    let client = cluster.client().await;
    let producer = client.producer(ProducerConfig::default());
    let before = producer.send(TOPIC, Record::new("before")).await;
    before.expect("taken").await.expect("stored");
    cluster.deafen(0);
    cluster.move_leader(0, 1);
    let after = producer.send(TOPIC, Record::new("after")).await;
    let after = timeout(DEADLINE, after.expect("taken")).await;
    after.expect("in time").expect("stored");
    assert_eq!(cluster.values(0), ["before", "after"]);
}

#[tokio::test]
async fn moved_leaders_and_new_partitions_are_learned_without_asking_and_without_an_error() {
    let cluster = Cluster::start(2, 1).await;
    let (client, producer) = following(&cluster).await;
    let asked = cluster.state().asked;
    cluster.move_leader(0, 1);
    until("the leader moved", || {
        leader(&client) == Some(BrokerNumber(1))
    })
    .await;
    cluster.add_partition();
    until("a new partition", || partitions(&client) == 2).await;
    // The producer uses it without having failed first.
    until("a record in the new partition", || {
        let record = Record {
            partition: Some(taffrail_client::PartitionIndex(1)),
            ..Record::new("to the new one")
        };
        let sent = producer.try_send(TOPIC, record);
        sent.is_ok() && !cluster.values(1).is_empty()
    })
    .await;
    assert_eq!(cluster.state().asked, asked);
}

#[tokio::test]
async fn a_cluster_is_followed_again_after_the_connection_broke() {
    let cluster = Cluster::start(2, 1).await;
    let (client, _producer) = following(&cluster).await;
    for round in 2..5 {
        // Whichever it was.
        cluster.cut(0);
        cluster.cut(1);
        until("it is followed again", || cluster.state().watched >= round).await;
        let to = (round + 1) % 2;
        cluster.move_leader(0, to);
        until("the leader moved", || {
            leader(&client) == Some(BrokerNumber(to as u32))
        })
        .await;
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_followed_is_not_stormed_and_requests_go_on() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().unwatchable = true;
    let began = Instant::now();
    let client = cluster.client().await;
    let producer = client.producer(ProducerConfig::default());
    for _ in 0..20 {
        let delivery = producer.send(TOPIC, Record::new("a")).await;
        delivery.expect("taken").await.expect("delivered");
    }
    until("several attempts", || cluster.state().watched >= 6).await;
    // Pauses of at least 10, 20, 40, 80 and 160 ms.
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_dropped_client_follows_nothing() {
    let cluster = Cluster::start(1, 1).await;
    let (client, producer) = following(&cluster).await;
    until("somebody listens", || cluster.changed.receiver_count() == 1).await;
    producer.close().await.expect("nothing is left");
    drop(client);
    until("nobody listens", || {
        // The fake broker notices when it has something to say.
        cluster.changed.send_replace(());
        cluster.changed.receiver_count() == 0
    })
    .await;
}
