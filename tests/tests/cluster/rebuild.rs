//! Replicas whose logs are damaged or gone, while others are in sync: they begin anew and catch up, and what was damaged is kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taffrail_client::{ProducerConfig, Record};
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    partitions::{files, flip_a_bit},
    wait,
};

use crate::{SOME, TOPIC, loaded};

/// Everything of an unsealed segment is looked at when a broker starts after a crash; sealed segments are looked at all the time.
const SETTINGS: &str = "[disk]\ncheckpoint_interval_ms = 3600000\nscrub_interval_ms = 100\n";
/// In the middle of what is there before anything happens.
const POSITION: usize = 2_000;

/// The logs of a broker that were set aside.
fn kept(cluster: &Cluster, index: usize) -> Vec<PathBuf> {
    let quarantine = cluster.volume(index).join("quarantine");
    let entries = fs::read_dir(quarantine).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The first segment of the only log that was set aside is this damaged file, and people are told of it.
async fn check_kept(cluster: &Cluster, topic: &str, index: usize, damaged: &[u8]) {
    let kept = kept(cluster, index);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let log = fs::read(&files(&kept[0], "log")[0]).expect("it is readable");
    assert!(log == damaged, "the damaged file is not what it was");
    let reason = fs::read_to_string(kept[0].join("reason")).expect("there is a reason");
    assert!(reason.contains("is damaged at byte"), "{reason}");
    wait::until_async("a word of it", wait::PATIENCE, || async {
        let partitions = cluster.metadata().partitions(topic).await?;
        let place = kept[0].to_string_lossy();
        let told = partitions.iter().any(|p| p.message.contains(&*place));
        told.then_some(())
    })
    .await;
    let metrics = cluster.metrics(index);
    let gauge = "taffrail_broker_quarantined_partitions 1";
    assert!(metrics.contains(gauge), "{metrics}");
}

/// Damages the first segment; gives what it holds then.
fn damaged(folder: &Path) -> Vec<u8> {
    let log = &files(folder, "log")[0];
    flip_a_bit(log, POSITION);
    fs::read(log).expect("it is readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_log_is_damaged_begins_anew_and_keeps_what_was_damaged() {
    let mut cluster = Cluster::start_with("rebuild-follower", SETTINGS).await;
    let load = loaded(&cluster).await;
    let follower = cluster.metadata().followers(TOPIC, 0).await[0];
    cluster.kill(follower);
    let damaged = damaged(&cluster.folder(follower, TOPIC, 0));
    cluster.restart(follower);
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check_kept(&cluster, TOPIC, follower, &damaged).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_is_damaged_is_replaced_and_begins_anew() {
    let mut cluster = Cluster::start_with("rebuild-leader", SETTINGS).await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    let damaged = damaged(&cluster.folder(leader, TOPIC, 0));
    cluster.restart(leader);
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check_kept(&cluster, TOPIC, leader, &damaged).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_directory_is_lost_begins_anew() {
    let mut cluster = Cluster::start_with("rebuild-lost", SETTINGS).await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    fs::remove_dir_all(cluster.folder(leader, TOPIC, 0)).expect("it can be removed");
    cluster.restart(leader);
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    assert_eq!(kept(&cluster, leader), [] as [PathBuf; 0]);
    load.stop_and_check(&mut cluster).await;
}

/// A topic of one partition with sealed segments.
async fn with_sealed_segments(cluster: &Cluster) -> &'static str {
    let topic = "sealed";
    let spec = [
        "partitions: 1",
        "replicas: 3",
        "minInSync: 2",
        "segment: {bytes: 1Mi}",
    ];
    cluster.create(topic, &spec);
    let client = cluster.client().await;
    let producer = client.producer(ProducerConfig::default());
    let value = "x".repeat(100_000);
    for _ in 0..30 {
        let delivery = producer.send(topic, Record::new(&value)).await;
        let stored = delivery.expect("it is taken").await;
        stored.expect("it is stored");
    }
    topic
}

/// Damages a sealed segment under a running broker.
async fn damage_under_way(name: &str, is_leader: bool) {
    let mut cluster = Cluster::start_with(name, SETTINGS).await;
    let topic = with_sealed_segments(&cluster).await;
    let load = loaded(&cluster).await;
    let index = if is_leader {
        cluster.metadata().leader(topic, 0).await
    } else {
        cluster.metadata().followers(topic, 0).await[0]
    };
    let damaged = damaged(&cluster.folder(index, topic, 0));
    wait::until("a log set aside", wait::PATIENCE, || {
        (!kept(&cluster, index).is_empty()).then_some(())
    });
    load.more(SOME).await;
    cluster.metadata().until_in_sync(topic, BROKERS).await;
    check_kept(&cluster, topic, index, &damaged).await;
    cluster.check_replicas(topic).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_finds_a_sealed_segment_damaged_begins_anew_under_way() {
    damage_under_way("rebuild-sealed-follower", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_finds_a_sealed_segment_damaged_is_replaced_and_begins_anew() {
    damage_under_way("rebuild-sealed-leader", true).await;
}
