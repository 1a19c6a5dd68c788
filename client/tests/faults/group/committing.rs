//! What is committed, when, and in which order.

use taffrail_client::{DeliveryMode, ErrorCode, Offset, PartitionIndex};
use tokio::time::timeout;

use super::*;
use crate::{
    cluster::{Cluster, TOPIC},
    consuming::append,
    following::until,
};

/// What was stored, in order. What is under way when the next one is due is sent twice.
fn stored_commits(cluster: &Cluster) -> Vec<(u32, u64)> {
    let mut commits = cluster.state().coordinator.commits.clone();
    commits.dedup();
    commits
}

const P0: PartitionIndex = PartitionIndex(0);

#[tokio::test]
async fn what_was_handed_out_is_committed_in_time_once_the_application_came_back() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    let before = cluster.state().coordinator.heartbeats.len();
    until("several commits are due", || {
        cluster.state().coordinator.heartbeats.len() > before + 5
    })
    .await;
    assert_eq!(
        cluster.state().coordinator.offsets(),
        [(0, 0)],
        "it is being processed"
    );
    driven(
        &mut group,
        until("it is committed", || {
            cluster.state().coordinator.offsets() == [(0, 10)]
        }),
    )
    .await;
    nothing(&mut group).await;
    assert_eq!(stored_commits(&cluster), [(0, 0), (0, 10)]);
}

#[tokio::test]
async fn at_most_once_a_batch_is_handed_out_after_its_commit_is_stored() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder.delivery(DeliveryMode::AtMostOnce)).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 10)]);
    let faults = [ErrorCode::NotEnoughReplicas; 3];
    cluster.state().coordinator.commit_faults.extend(faults);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    let state = cluster.state();
    assert_eq!(state.coordinator.offsets(), [(0, 20)]);
    assert!(state.coordinator.commit_faults.is_empty());
}

#[tokio::test]
async fn by_hand_nothing_is_committed_but_what_the_application_says_and_where_the_group_began() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let mut group = joined(builder(&cluster).await.delivery(DeliveryMode::Manual)).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    nothing_handed_out(&mut group, 20);
    let commit = group
        .begin_commit_of(TOPIC, P0, Offset(7))
        .expect("it was handed out");
    commit.await.expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 7)]);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    nothing(&mut group).await;
    assert_eq!(stored_commits(&cluster), [(0, 0), (0, 7)]);
    group.commit().await.expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 20)]);
}

fn nothing_handed_out(group: &mut Group, next: u64) {
    for (partition, next) in [(P0, next), (PartitionIndex(7), 0)] {
        let refused = group.begin_commit_of(TOPIC, partition, Offset(next));
        let error = refused.expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
    }
}

#[tokio::test]
async fn a_commit_that_is_refused_for_now_does_not_undo_a_later_one() {
    let cluster = Cluster::start(1, 1).await;
    for first in (0..50).step_by(10) {
        append(&cluster, 0, first..first + 10);
    }
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder.delivery(DeliveryMode::Manual)).await;
    let mut commits = Vec::new();
    for round in 0..5 {
        batch(&mut group).await;
        let fault = [ErrorCode::TimedOut, ErrorCode::NotEnoughReplicas][round % 2];
        cluster.state().coordinator.commit_faults.push_back(fault);
        commits.push(group.begin_commit());
    }
    for commit in commits {
        let stored = timeout(DEADLINE, commit).await;
        stored.expect("in time").expect("stored");
    }
    let stored = stored_commits(&cluster);
    assert!(stored.is_sorted(), "{stored:?}");
    assert_eq!(stored.last(), Some(&(0, 50)));
}

#[tokio::test]
async fn a_commit_that_is_refused_for_good_says_of_which_partition() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder.delivery(DeliveryMode::Manual)).await;
    batch(&mut group).await;
    until("where it began is stored", || {
        !cluster.state().coordinator.commits.is_empty()
    })
    .await;
    let fault = ErrorCode::InvalidRequest;
    cluster.state().coordinator.commit_faults.push_back(fault);
    let error = group.commit().await.expect_err("refused");
    assert_eq!(error.code(), fault);
    assert!(error.to_string().contains("flights/0"), "{error}");
    group.commit().await.expect("the next one is stored");
}

#[tokio::test]
async fn a_reset_moves_a_live_member_and_what_was_prefetched_is_dropped() {
    let cluster = Cluster::start(1, 1).await;
    for first in (0..50).step_by(10) {
        append(&cluster, 0, first..first + 10);
    }
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    cluster.state().coordinator.reset(0, 45);
    let began = until_event(&mut group, |event| match event {
        GroupEvent::Started { offset, .. } => Some(offset.0),
        _ => None,
    })
    .await;
    assert_eq!(began, 45);
    assert_eq!(batch(&mut group).await, (0, 45, 50));
    cluster.state().coordinator.reset(0, 5);
    while batch(&mut group).await != (0, 5, 10) {}
    assert_eq!(batch(&mut group).await, (0, 10, 20));
}

#[tokio::test]
async fn a_commit_from_before_a_reset_does_not_undo_it() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut group = joined(builder.delivery(DeliveryMode::Manual)).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    until("where it began is stored", || {
        !cluster.state().coordinator.commits.is_empty()
    })
    .await;
    cluster.state().coordinator.reset(0, 3);
    let error = group.commit().await.expect_err("it was reset");
    assert_eq!(error.code(), ErrorCode::NotAssigned);
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 3)]);
    assert_eq!(batch(&mut group).await, (0, 3, 10));
    group.commit().await.expect("stored");
    assert_eq!(cluster.state().coordinator.offsets(), [(0, 10)]);
}
