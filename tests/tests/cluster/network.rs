//! A network that is cut between two brokers. Both still hear the controller.

use taffrail_tests::cluster::{BROKERS, Cluster};

use crate::{SOME, TOPIC, loaded};

/// Cuts a follower of the first partition off, in these directions as (from the follower, from the leader).
async fn cut(name: &str, from_follower: bool, from_leader: bool) {
    let mut cluster = Cluster::start_with_network(name).await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let follower = cluster.metadata().followers(TOPIC, 0).await[0];
    if from_follower {
        cluster.network().cut(follower, leader);
    }
    if from_leader {
        cluster.network().cut(leader, follower);
    }
    load.more(SOME).await;
    let metadata = cluster.metadata();
    metadata.until_left_behind(TOPIC, 0, follower).await;
    cluster.network().heal();
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_off_both_ways_leaves_the_in_sync_set_and_comes_back() {
    cut("cut-both-ways", true, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_not_heard_leaves_the_in_sync_set_and_comes_back() {
    cut("cut-to-the-leader", true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_hears_nothing_leaves_the_in_sync_set_and_comes_back() {
    cut("cut-to-the-follower", false, true).await;
}
