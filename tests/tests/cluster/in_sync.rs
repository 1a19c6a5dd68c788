//! Fewer replicas in sync than the topic asks for.

use std::time::Duration;

use taffrail_client::{Client, ProducerConfig, Record};
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    traffic::offset_of,
    wait,
};

use crate::{SOME, TOPIC, loaded, started};

/// For a record that is to be refused.
const SOON: Duration = Duration::from_secs(2);

async fn produce(client: &Client, delivery_timeout: Duration) -> Result<u64, String> {
    let producer = client.producer(ProducerConfig {
        delivery_timeout,
        ..ProducerConfig::default()
    });
    let record = Record::new("beside the load").key("key-0");
    let sent = producer.send("other", record).await;
    let delivery = sent.map_err(|error| error.to_string())?;
    let delivered = delivery.await.map(offset_of);
    delivered.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_in_sync_records_are_refused_with_what_is_wrong_and_taken_when_they_are_back()
{
    let mut cluster = Cluster::start("too-few").await;
    let load = loaded(&cluster).await;
    cluster.create("other", &["partitions: 1", "replicas: 3", "minInSync: 2"]);
    let client = cluster.client().await;
    assert_eq!(produce(&client, wait::PATIENCE).await, Ok(0));
    let followers = cluster.metadata().followers("other", 0).await;
    for follower in &followers {
        cluster.kill(*follower);
    }
    wait::until_async(
        "a refusal that says how many are asked for",
        wait::PATIENCE,
        || async {
            let refusal = produce(&client, SOON).await.err();
            refusal.filter(|said| said.contains("acks=all needs 2 (minInSync)"))
        },
    )
    .await;
    for follower in &followers {
        cluster.restart(*follower);
    }
    load.more(SOME).await;
    wait::until_async("a record that is taken", wait::PATIENCE, || async {
        produce(&client, SOON).await.ok()
    })
    .await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_left_with_one_late_member_loses_nothing_when_both_are_killed() {
    let mut cluster = Cluster::start("late-member").await;
    cluster.create(TOPIC, &["partitions: 1", "replicas: 3", "minInSync: 2"]);
    let load = started(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let followers = cluster.metadata().followers(TOPIC, 0).await;
    let [gone, late] = followers[..] else {
        panic!("{followers:?}");
    };
    cluster.kill(gone);
    cluster.metadata().until_out_of_sync(TOPIC, gone).await;
    load.more(SOME).await;
    cluster.stand_still(late);
    wait::until_async("a word of it", wait::PATIENCE, || async {
        let partitions = cluster.metadata().partitions(TOPIC).await?;
        let is_refused = partitions[0].message.contains("acks=all is refused");
        is_refused.then_some(())
    })
    .await;
    cluster.kill(leader);
    cluster.kill(late);
    // It lacks what was acknowledged since.
    cluster.restart(gone);
    cluster.until_online(gone).await;
    cluster.metadata().until_offline(TOPIC).await;
    cluster.restart(late);
    cluster.until_online(late).await;
    cluster.restart(leader);
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
