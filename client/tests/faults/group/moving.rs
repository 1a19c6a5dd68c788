//! Streams break and coordinators move: members keep what they have.

use std::time::Duration;

use taffrail_client::ErrorCode;

use super::*;
use crate::{cluster::Cluster, consuming::append, following::until};

#[tokio::test]
async fn a_member_keeps_its_partitions_and_positions_when_the_coordinator_moves() {
    let cluster = Cluster::start(2, 1).await;
    append(&cluster, 0, 0..10);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    until("it says what it carries out", || {
        cluster
            .state()
            .coordinator
            .heartbeats
            .last()
            .is_some_and(|epoch| *epoch > 0)
    })
    .await;
    cluster.state().coordinator.move_to(1);
    until("it is back", || cluster.state().coordinator.joins.len() > 1).await;
    append(&cluster, 0, 10..20);
    assert_eq!(
        batch(&mut group).await,
        (0, 10, 20),
        "nothing is read twice"
    );
    group.commit().await.expect("the new one stores it");
    let state = cluster.state();
    assert_eq!(state.coordinator.offsets(), [(0, 20)]);
    let last = state.coordinator.joins.last().expect("it joined");
    assert_eq!(
        Some(last.epoch),
        state.coordinator.heartbeats.last().copied()
    );
}

#[tokio::test]
async fn a_commit_under_way_is_stored_by_the_next_coordinator() {
    let cluster = Cluster::start(2, 1).await;
    append(&cluster, 0, 0..10);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    cluster.state().coordinator.is_silent = true;
    let commit = group.begin_commit();
    until("it is sent", || {
        cluster.state().coordinator.unheard_commits > 0
    })
    .await;
    cluster.state().coordinator.is_silent = false;
    cluster.state().coordinator.move_to(1);
    let stored = timeout(DEADLINE, commit).await;
    stored.expect("in time").expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 10)]);
}

#[tokio::test]
async fn connections_that_break_again_and_again_cost_nothing_but_time() {
    let cluster = Cluster::start(1, 2).await;
    let mut group = member(&cluster).await;
    let mut next = [0_u64; 2];
    for round in 0..10_u64 {
        for partition in 0..2 {
            append(&cluster, partition, round * 5..round * 5 + 5);
        }
        if round % 3 == 1 {
            cluster.cut(0);
        }
        for _ in 0..2 {
            let (partition, first, end) = batch(&mut group).await;
            let expected = &mut next[partition as usize];
            assert_eq!(first, *expected, "once and in order");
            *expected = end;
        }
    }
    group.commit().await.expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 50), (1, 50)]);
}

#[tokio::test]
async fn a_coordinator_that_stands_still_is_left_before_the_members_time_is_over() {
    let cluster = Cluster::start(2, 1).await;
    cluster.state().coordinator.here = Some(1);
    cluster.state().coordinator.answer_timeout_ms = 6_000;
    append(&cluster, 0, 0..10);
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    cluster.freeze(1);
    cluster.state().coordinator.here = Some(0);
    cluster.state().coordinator.moves += 1;
    append(&cluster, 0, 10..20);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    driven(
        &mut group,
        until("it is back", || cluster.state().coordinator.joins.len() > 1),
    )
    .await;
    assert!(
        cluster.state().coordinator.joins[1].epoch > 0,
        "it kept what it had"
    );
}

#[tokio::test]
async fn an_instance_id_that_somebody_has_is_waited_for_and_named() {
    let cluster = Cluster::start(1, 1).await;
    let _first = joined(builder(&cluster).await.instance_id("pod-0")).await;
    let config = taffrail_client::ClientConfig {
        bootstrap: vec![cluster.address(0)],
        call_timeout: Duration::from_millis(200),
        ..taffrail_client::ClientConfig::default()
    };
    let client = taffrail_client::Client::connect(config)
        .await
        .expect("connects");
    let second = client.group("billing").topic(TOPIC).instance_id("pod-0");
    let error = second.join().await.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::TimedOut);
    assert!(error.to_string().contains("INSTANCE_ID_IN_USE"), "{error}");
}

/// As behind a port-forward to one broker.
#[tokio::test]
async fn a_group_whose_coordinator_cannot_be_reached_is_reached_through_another_broker() {
    let cluster = Cluster::start(2, 1).await;
    append(&cluster, 0, 0..10);
    cluster.state().coordinator.move_to(1);
    // No such name anywhere (RFC 2606).
    cluster.state().advertised[1] = "broker-1.invalid:9640".to_owned();
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    group.commit().await.expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 10)]);
    let admin = cluster.client().await.admin();
    let listed = admin.list_groups().await.expect("listed").groups;
    let names: Vec<_> = listed.iter().map(|group| &*group.group).collect();
    assert_eq!(names, ["of-broker-1"]);
    let described = admin.describe_group("billing").await.expect("described");
    assert_eq!(described.offsets.len(), 1);
    let refused = admin.delete_group("billing").await.expect_err("a member");
    assert_eq!(refused.code(), ErrorCode::GroupNotEmpty);
}
