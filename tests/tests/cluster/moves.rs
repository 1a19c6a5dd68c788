//! Replicas that move between brokers.

use std::collections::BTreeMap;

use taffrail_api::v1::PartitionStatus;
use taffrail_core::internal;
use taffrail_tests::{
    cluster::{BROKERS, Cluster, Metadata},
    wait,
};

use crate::{SOME, TOPIC, loaded, started};

async fn partition(metadata: Metadata, partition: usize) -> PartitionStatus {
    metadata.known_partitions(TOPIC).await.remove(partition)
}

fn numbers(brokers: &[u32]) -> String {
    let texts: Vec<_> = brokers.iter().map(u32::to_string).collect();
    texts.join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_under_load_also_when_the_controller_dies_meanwhile() {
    let mut cluster = Cluster::start_with_a_spare("moving").await;
    let load = loaded(&cluster).await;
    let before = partition(cluster.metadata(), 0).await.replicas;
    let spare = (0..=BROKERS as u32).find(|number| !before.contains(number));
    let spare = spare.expect("one of four has no replica");
    let index = cluster.metadata().index_of(spare).await;
    let left = before[BROKERS - 1];
    let leaver = cluster.metadata().index_of(left).await;
    let target = [before[0], before[1], spare];
    let to = numbers(&target);
    let line = ["move", TOPIC, "--partition", "0", "--to", &to];
    let planned = cluster.taffrail(&[&line[..], &["--dry-run"]].concat());
    assert!(planned.expect_success().contains(&to));
    assert_eq!(partition(cluster.metadata(), 0).await.replicas, before);

    // It cannot catch up, so that the controller dies in the middle.
    cluster.stand_still(index);
    cluster.taffrail(&line).expect_success();
    let moving = partition(cluster.metadata(), 0).await;
    assert_eq!((moving.adding[0], moving.removing), (spare, vec![left]));
    let listed = cluster.taffrail(&["get", "partitions", TOPIC]);
    let adding = format!("adding {spare}: ");
    assert!(listed.expect_success().contains(&adding));
    let described = cluster.taffrail(&["describe", TOPIC]).expect_success();
    for said in ["Moving", "2 of 3 partitions have their replicas"] {
        assert!(described.contains(said), "{described}");
    }
    let leads = cluster.metadata().leader(TOPIC, 0).await;
    wait::until("the gauge", wait::PATIENCE, || {
        let metrics = cluster.metrics(leads);
        metrics
            .contains("taffrail_broker_moving_partitions 1")
            .then_some(())
    });
    cluster.kill_controller();
    cluster.go_on(index);
    cluster.restart_controller();
    cluster.metadata().until_moved(TOPIC, 0, &target).await;
    cluster.until_deleted(leaver, TOPIC, 0);
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
    let listed = cluster.taffrail(&["get", "partitions", TOPIC, "-o", "wide"]);
    let listed = listed.expect_success();
    assert!(
        listed.contains(&to) && !listed.contains("MOVING"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_emptied_under_load_and_stops_without_being_missed() {
    let mut cluster = Cluster::start_with_a_spare("move-off").await;
    let load = loaded(&cluster).await;
    let left = partition(cluster.metadata(), 0).await.replicas[0];
    let leaver = cluster.metadata().index_of(left).await;
    let off = cluster.taffrail(&["move", "--off", &left.to_string(), "--wait"]);
    assert!(off.expect_success().contains("done"));
    for index in 0..3 {
        cluster.until_deleted(leaver, TOPIC, index);
    }
    cluster.stop(leaver);
    load.more(SOME).await;
    // It may come back, and nothing comes back with it.
    cluster.restart(leaver);
    cluster.until_online(leaver).await;
    cluster.until_deleted(leaver, TOPIC, 0);
    load.stop_and_check(&mut cluster).await;
}

/// How many replicas of both topics each broker has, by number.
async fn shares(cluster: &Cluster) -> BTreeMap<u32, usize> {
    let mut shares: BTreeMap<_, _> = (0..=BROKERS as u32).map(|broker| (broker, 0)).collect();
    for topic in [TOPIC, internal::OFFSETS] {
        for partition in cluster.metadata().known_partitions(topic).await {
            for broker in partition.replicas {
                *shares.entry(broker).or_default() += 1;
            }
        }
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_nothing_gets_its_share_under_load() {
    let mut cluster = Cluster::start_with_a_spare("move-balance").await;
    let load = loaded(&cluster).await;
    let empty = partition(cluster.metadata(), 0).await.replicas[0];
    let off = cluster.taffrail(&["move", "--off", &empty.to_string(), "--wait"]);
    off.expect_success();
    let before = shares(&cluster).await;
    assert_eq!(before[&empty], 0, "{before:?}");
    let planned = cluster.taffrail(&["move", "--balance", "--dry-run"]);
    let planned = planned.expect_success();
    assert!(planned.contains(internal::OFFSETS), "{planned}");
    assert_eq!(shares(&cluster).await, before);
    let moved = cluster.taffrail(&["move", "--balance", "--wait"]);
    assert!(moved.expect_success().contains("done"));
    let after = shares(&cluster).await;
    let (least, most) = (after.values().min(), after.values().max());
    assert!(
        most.zip(least).is_some_and(|(m, l)| m - l <= 1),
        "{after:?}"
    );
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_added_and_taken_away_by_applying_the_topic_again_under_load() {
    let mut cluster = Cluster::start("more-replicas").await;
    cluster.create(TOPIC, &["partitions: 3", "replicas: 1"]);
    let load = started(&cluster).await;
    for replicas in [3, 2, 3] {
        let spec = format!("replicas: {replicas}");
        cluster.create(TOPIC, &["partitions: 3", &spec]);
        cluster.metadata().until_in_sync(TOPIC, replicas).await;
        load.more(SOME).await;
    }
    load.stop_and_check(&mut cluster).await;
}
