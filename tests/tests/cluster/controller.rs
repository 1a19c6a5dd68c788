//! The controller is away.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use crate::{SOME, TOPIC, loaded};

#[tokio::test(flavor = "multi_thread")]
async fn records_flow_without_a_controller_and_a_leader_that_died_meanwhile_is_replaced_after() {
    let mut cluster = Cluster::start("controller-away").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill_controller();
    load.more(SOME).await;
    cluster.kill(leader);
    cluster.restart_controller();
    load.more(SOME).await;
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_restarted_while_the_controller_was_away_leads_only_after_it_is_back() {
    let mut cluster = Cluster::start("restart-without-controller").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill_controller();
    cluster.kill(leader);
    cluster.restart(leader);
    wait::until("its second start", wait::PATIENCE, || {
        let starts = cluster.said(leader).matches(": serving ").count();
        (starts == 2).then_some(())
    });
    let metrics = cluster.metrics(leader);
    let gauge = "taffrail_broker_partitions{state=\"leader\"} 0\n";
    assert!(metrics.contains(gauge), "{metrics}");
    cluster.restart_controller();
    cluster.until_online(leader).await;
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.stop_and_check(&mut cluster).await;
}
