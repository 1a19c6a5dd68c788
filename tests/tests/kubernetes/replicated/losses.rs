//! Records that an election may have lost, because the topic allows that.

use taffrail_client::{ProducerConfig, Record};
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    traffic::offset_of,
    wait,
};

const TOPIC: &str = "careless";
/// Stored on the broker alone that is lost afterwards.
const ALONE: usize = 5;

/// Sends records one after the other; gives the offset of the last.
async fn produce(cluster: &Cluster, count: usize) -> u64 {
    let producer = cluster.client().await.producer(ProducerConfig::default());
    let mut last = 0;
    for _ in 0..count {
        let delivery = producer.send(TOPIC, Record::new("some")).await;
        let stored = delivery.expect("the topic is known").await;
        last = offset_of(stored.expect("it is stored"));
    }
    last
}

/// The notes of events with this reason on the topic.
fn notes(cluster: &mut Cluster, reason: &str) -> Vec<String> {
    let list = cluster.operated().api().get(&["events.events.k8s.io"]);
    let events = list["items"].as_array().expect("a list").iter();
    let about = |event: &&serde_json::Value| {
        event["reason"] == reason
            && event["type"] == "Warning"
            && event["regarding"]["kind"] == "Topic"
            && event["regarding"]["name"] == TOPIC
    };
    let notes = events.filter(about).map(|event| event["note"].as_str());
    notes
        .map(|note| note.unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_election_that_loses_records_is_told_on_the_topic_with_partition_and_offsets() {
    let mut cluster = Cluster::start_operated("lossy", BROKERS).await;
    let spec = [
        "partitions: 1",
        "replicas: 2",
        "minInSync: 1",
        "uncleanElection: Allow",
    ];
    cluster.create(TOPIC, &spec);
    produce(&cluster, 1).await;
    cluster.metadata().until_in_sync(TOPIC, 2).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let follower = cluster.metadata().followers(TOPIC, 0).await[0];
    cluster.kill(follower);
    cluster.metadata().until_out_of_sync(TOPIC, follower).await;
    assert_eq!(produce(&cluster, ALONE).await, ALONE as u64);
    wait::until_async("a report of all records", wait::PATIENCE, || async {
        let partitions = cluster.metadata().partitions(TOPIC).await?;
        (partitions[0].high_watermark == 1 + ALONE as i64).then_some(())
    })
    .await;
    cluster.kill(leader);
    cluster.restart(follower);
    wait::until_async("the other one leads", wait::PATIENCE, || async {
        (cluster.metadata().leader(TOPIC, 0).await == follower).then_some(())
    })
    .await;
    let told = wait::until("a word of it", wait::PATIENCE, || {
        let told = notes(&mut cluster, "RecordsMayBeLost");
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.len(), 1, "{told:?}");
    let lost = "partition 0 has a leader whose log ends at offset 1, and offsets 1 to 5 were there";
    assert!(
        told[0].contains("topic careless may be lost") && told[0].contains(lost),
        "{told:?}"
    );
    let metrics = cluster.operated().metrics();
    let counted = "taffrail_operator_lossy_elections_total{cluster=\"default/broker\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}
