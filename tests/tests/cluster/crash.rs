//! kill -9.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
    wait,
};

use crate::{PAUSE_MAX, SOME, TOPIC, loaded};

/// A producer that waits for acknowledgements has more requests than these under way.
const AHEAD: usize = 10;

/// One after the other, each while it has records that no follower has, and looks at what became of the load.
pub(crate) async fn kill_two_leaders(mut cluster: Cluster, load: Load) {
    for _ in 0..2 {
        let leader = cluster.metadata().leader(TOPIC, 0).await;
        let followers = cluster.metadata().followers(TOPIC, 0).await;
        for follower in &followers {
            cluster.stand_still(*follower);
        }
        cluster.metadata().until_ahead(TOPIC, 0, AHEAD).await;
        cluster.kill(leader);
        for follower in &followers {
            cluster.go_on(*follower);
        }
        load.more(SOME).await;
        // What was sent meanwhile may be acknowledged before the controller shows who leads.
        wait::until_async("another leader", wait::PATIENCE, || async {
            (cluster.metadata().leader(TOPIC, 0).await != leader).then_some(())
        })
        .await;
        cluster.restart(leader);
        cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    }
    load.more(SOME).await;
    let pause = load.stop_and_check(&mut cluster).await;
    assert!(pause < PAUSE_MAX, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_leaders_loses_nothing_acknowledged() {
    let cluster = Cluster::start("kill-leader").await;
    let load = loaded(&cluster).await;
    kill_two_leaders(cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_follower_loses_nothing_and_it_catches_up() {
    let mut cluster = Cluster::start("kill-follower").await;
    let load = loaded(&cluster).await;
    let follower = cluster.metadata().followers(TOPIC, 0).await[0];
    cluster.kill(follower);
    load.more(SOME).await;
    cluster.metadata().until_out_of_sync(TOPIC, follower).await;
    load.more(SOME).await;
    cluster.restart(follower);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_everything_at_once_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start("kill-all").await;
    let load = loaded(&cluster).await;
    for index in 0..BROKERS {
        cluster.kill(index);
    }
    cluster.kill_controller();
    cluster.restart_controller();
    for index in 0..BROKERS {
        cluster.restart(index);
    }
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
