//! What is promised besides acks=all, minInSync: 2 and durability: Fsync.

use taffrail_client::Acks;
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
};

use crate::{SOME, TOPIC, crash, restart, volumes};

/// A topic of three replicas under a load that waits for so many of them.
async fn loaded(cluster: &Cluster, acks: Acks, spec: &[&str]) -> Load {
    let of_all = ["partitions: 3", "replicas: 3"];
    cluster.create(TOPIC, &[&of_all[..], spec].concat());
    let load = Load::start_with(cluster, TOPIC, acks).await;
    load.more(SOME).await;
    load
}

async fn kill_leaders(name: &str, acks: Acks, spec: &[&str]) {
    let cluster = Cluster::start(name).await;
    let load = loaded(&cluster, acks, spec).await;
    crash::kill_two_leaders(cluster, load).await;
}

async fn stop_in_turn(name: &str, acks: Acks, spec: &[&str]) {
    let cluster = Cluster::start(name).await;
    let load = loaded(&cluster, acks, spec).await;
    restart::roll(cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_min_in_sync_1_a_rolling_restart_loses_nothing_acknowledged() {
    stop_in_turn("rolling-min-1", Acks::All, &["minInSync: 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_page_cache_a_rolling_restart_loses_nothing_acknowledged() {
    let spec = ["minInSync: 2", "durability: PageCache"];
    stop_in_turn("rolling-page-cache", Acks::All, &spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acks_leader_or_none_a_rolling_restart_invents_nothing_and_keeps_the_order() {
    stop_in_turn("rolling-leader", Acks::Leader, &["minInSync: 2"]).await;
    stop_in_turn("rolling-none", Acks::None, &["minInSync: 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_page_cache_a_volume_that_comes_back_older_loses_nothing_acknowledged() {
    let cluster = Cluster::start("older-page-cache").await;
    let spec = ["minInSync: 2", "durability: PageCache"];
    let load = loaded(&cluster, Acks::All, &spec).await;
    volumes::bring_back(cluster, load, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_page_cache_kill_9_of_leaders_loses_nothing_acknowledged() {
    let spec = ["minInSync: 2", "durability: PageCache"];
    kill_leaders("page-cache-leader", Acks::All, &spec).await;
}

async fn kill_all(name: &str, spec: &[&str]) {
    let mut cluster = Cluster::start(name).await;
    let load = loaded(&cluster, Acks::All, spec).await;
    for index in 0..BROKERS {
        cluster.kill(index);
    }
    for index in 0..BROKERS {
        cluster.restart(index);
    }
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_page_cache_kill_9_of_everything_at_once_loses_nothing_acknowledged() {
    let spec = ["minInSync: 2", "durability: PageCache"];
    kill_all("page-cache-all", &spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_min_in_sync_1_kill_9_of_everything_at_once_loses_nothing_acknowledged() {
    kill_all("min-1-all", &["minInSync: 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acks_leader_kill_9_of_leaders_invents_nothing_and_keeps_the_order() {
    kill_leaders("acks-leader", Acks::Leader, &["minInSync: 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acks_none_kill_9_of_leaders_invents_nothing_and_keeps_the_order() {
    kill_leaders("acks-none", Acks::None, &["minInSync: 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_min_in_sync_1_the_last_member_is_waited_for_and_nothing_acknowledged_is_lost() {
    lose_the_last_member("last-member", "durability: Fsync").await;
    lose_the_last_member("last-member-page-cache", "durability: PageCache").await;
}

async fn lose_the_last_member(name: &str, durability: &str) {
    let mut cluster = Cluster::start(name).await;
    let load = loaded(&cluster, Acks::All, &["minInSync: 1", durability]).await;
    let last = cluster.metadata().leader(TOPIC, 0).await;
    let others: Vec<_> = (0..BROKERS).filter(|index| *index != last).collect();
    for other in &others {
        cluster.kill(*other);
    }
    for other in &others {
        cluster.metadata().until_out_of_sync(TOPIC, *other).await;
    }
    load.more(SOME).await;
    cluster.kill(last);
    for other in &others {
        cluster.restart(*other);
        cluster.until_online(*other).await;
    }
    cluster.metadata().until_offline(TOPIC).await;
    cluster.restart(last);
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_min_in_sync_1_a_leader_that_is_cut_off_from_its_followers_goes_on_and_loses_nothing()
{
    let mut cluster = Cluster::start_with_network("cut-min-1").await;
    let load = loaded(&cluster, Acks::All, &["minInSync: 1"]).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let followers = cluster.metadata().followers(TOPIC, 0).await;
    for follower in &followers {
        cluster.network().cut(*follower, leader);
        cluster.network().cut(leader, *follower);
    }
    load.more(SOME).await;
    for follower in &followers {
        let metadata = cluster.metadata();
        metadata.until_left_behind(TOPIC, 0, *follower).await;
    }
    cluster.network().heal();
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
