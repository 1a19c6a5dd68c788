//! A network that is cut between two brokers that both still hear the controller, or between a broker and the controller alone.

use taffrail_api::v1::{PublishRecord, PublishRequest, gateway_client::GatewayClient};
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
    network::End,
    wait,
};

use crate::{SOME, TOPIC, loaded};

/// Cuts a follower of the first partition off, in these directions as (from the follower, from the leader).
async fn cut(mut cluster: Cluster, from_follower: bool, from_leader: bool) {
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
    let cluster = Cluster::start_with_network("cut-both-ways").await;
    cut(cluster, true, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_not_heard_leaves_the_in_sync_set_and_comes_back() {
    let cluster = Cluster::start_with_proxies("cut-to-the-leader").await;
    cut(cluster, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_hears_nothing_leaves_the_in_sync_set_and_comes_back() {
    let cluster = Cluster::start_with_proxies("cut-to-the-follower").await;
    cut(cluster, false, true).await;
}

/// By the kernel, acknowledgements included: then soon nothing goes in the other direction either.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_packets_are_lost_in_one_direction_leaves_the_in_sync_set_and_comes_back()
{
    let cluster = Cluster::start_with_network("lost-to-the-leader").await;
    cut(cluster, true, false).await;
    let cluster = Cluster::start_with_network("lost-to-the-follower").await;
    cut(cluster, false, true).await;
}

/// As if its machine had no network any more: nobody is told, and what clients have asked is never answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_reaches_any_more_is_replaced_and_clients_go_on() {
    let mut cluster = Cluster::start_with_network("unplugged").await;
    if !cluster.network().cuts_clients() {
        eprintln!("skipped: clients can be cut off only where network namespaces can be made");
        return;
    }
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let others = (0..BROKERS).filter(|other| *other != leader);
    for other in others.map(End::from).chain([End::Controller, End::Clients]) {
        cluster.network().cut(leader, other);
        cluster.network().cut(other, leader);
    }
    load.more(SOME).await;
    cluster.metadata().until_out_of_sync(TOPIC, leader).await;
    cluster.network().heal();
    cluster.until_online(leader).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

/// The leader of the first partition is cut off from the controller, in these directions; its peers and clients still reach it. Records flow. Gives its index.
async fn cut_from_controller(
    name: &str,
    from_broker: bool,
    from_controller: bool,
) -> (Cluster, Load, usize) {
    let cluster = if from_broker && from_controller {
        Cluster::start_with_network(name).await
    } else {
        // They lose bytes and no acknowledgements: the other direction goes on.
        Cluster::start_with_proxies(name).await
    };
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    if from_broker {
        cluster.network().cut(leader, End::Controller);
    }
    if from_controller {
        cluster.network().cut(End::Controller, leader);
    }
    load.more(SOME).await;
    (cluster, load, leader)
}

async fn heal_and_check(mut cluster: Cluster, load: Load, broker: usize) {
    load.more(SOME).await;
    cluster.network().heal();
    until_connected(&cluster, broker, 1);
    cluster.until_online(broker).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_from_the_controller_alone_is_replaced_and_comes_back() {
    let (cluster, load, leader) = cut_from_controller("cut-controller", true, true).await;
    cluster.metadata().until_out_of_sync(TOPIC, leader).await;
    heal_and_check(cluster, load, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_the_controller_does_not_hear_is_replaced_and_comes_back() {
    let (cluster, load, leader) = cut_from_controller("unheard", true, false).await;
    cluster.metadata().until_out_of_sync(TOPIC, leader).await;
    heal_and_check(cluster, load, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_flow_though_a_leader_does_not_hear_the_controller() {
    let (cluster, load, leader) = cut_from_controller("deaf", false, true).await;
    until_connected(&cluster, leader, 0);
    heal_and_check(cluster, load, leader).await;
}

/// A record for the first partition, given to this broker, which believes to lead it. True: it was acknowledged.
async fn is_taken(cluster: &Cluster, broker: usize) -> bool {
    let url = format!("http://{}", cluster.address(broker));
    let gateway = GatewayClient::connect(url).await;
    let request = PublishRequest {
        topic: TOPIC.to_owned(),
        records: vec![PublishRecord {
            value: Some("nobody sent this".into()),
            partition: Some(0),
            ..PublishRecord::default()
        }],
        timeout_ms: 500,
    };
    let answer = gateway.expect("clients reach it").publish(request).await;
    answer.is_ok_and(|answer| answer.into_inner().results[0].error.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_only_clients_reach_acknowledges_nothing_and_is_replaced() {
    let mut cluster = Cluster::start_with_network("clients-only").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let others = (0..BROKERS).filter(|other| *other != leader);
    for other in others.map(End::from).chain([End::Controller]) {
        cluster.network().cut(leader, other);
        cluster.network().cut(other, leader);
    }
    wait::until_async("another leader", wait::PATIENCE, async || {
        assert!(!is_taken(&cluster, leader).await, "nobody else has it");
        (cluster.metadata().leader(TOPIC, 0).await != leader).then_some(())
    })
    .await;
    assert!(!is_taken(&cluster, leader).await, "nobody told it");
    load.more(SOME).await;
    assert!(!is_taken(&cluster, leader).await, "others go on");
    cluster.network().heal();
    cluster.until_online(leader).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

/// Waits until a broker has so many sessions with the controller.
fn until_connected(cluster: &Cluster, broker: usize, sessions: usize) {
    let gauge = format!("taffrail_broker_controller_connected {sessions}\n");
    wait::until("a change of the session", wait::PATIENCE, || {
        cluster.metrics(broker).contains(&gauge).then_some(())
    });
}
