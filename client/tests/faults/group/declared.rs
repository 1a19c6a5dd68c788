//! What the group's policy says comes before what a member is set to.

use taffrail_client::{DeliveryMode, ErrorCode, GroupEvent, Offset, PartitionIndex, Start};
use taffrail_core::group::{Delivery, GroupPolicy, OutOfRange, StartFrom, Subscription};

use super::*;
use crate::{
    cluster::Partition,
    consuming::append,
    coordinator::{at, committed},
    following::until,
};

const P0: PartitionIndex = PartitionIndex(0);

fn delivery(delivery: Delivery) -> GroupPolicy {
    GroupPolicy {
        delivery: Some(delivery),
        ..GroupPolicy::default()
    }
}

fn declare(cluster: &Cluster, policy: GroupPolicy) {
    cluster.state().coordinator.declare(policy);
}

fn offsets(cluster: &Cluster) -> Vec<(u32, u64)> {
    cluster.state().coordinator.offsets()
}

/// Until the member says that it carries out its newest assignment.
async fn heard(cluster: &Cluster) {
    until("the member heard of it", || {
        let coordinator = &cluster.state().coordinator;
        coordinator.heartbeats.last() == Some(&coordinator.group.epoch().0)
    })
    .await;
}

/// One partition of two batches.
async fn cluster() -> Arc<Cluster> {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    cluster
}

/// Commits nothing in time.
async fn slow(cluster: &Arc<Cluster>) -> GroupBuilder {
    builder(cluster).await.commit_interval(DEADLINE)
}

#[tokio::test]
async fn at_most_once_by_policy_nothing_is_handed_out_again_after_a_kill() {
    let cluster = cluster().await;
    declare(&cluster, delivery(Delivery::AtMostOnce));
    let mut killed = joined(slow(&cluster).await).await;
    assert_eq!(batch(&mut killed).await, (0, 0, 10));
    assert_eq!(offsets(&cluster), [(0, 10)], "before it is handed out");
    drop(killed);
    cluster.state().coordinator.forget();
    let mut next = joined(slow(&cluster).await).await;
    assert_eq!(
        next.delivery(),
        DeliveryMode::AtLeastOnce,
        "not adopted yet"
    );
    assert_eq!(batch(&mut next).await, (0, 10, 20));
    assert_eq!(next.delivery(), DeliveryMode::AtMostOnce);
}

#[tokio::test]
async fn at_least_once_by_policy_everything_is_handed_out_again_after_a_kill() {
    let cluster = cluster().await;
    declare(&cluster, delivery(Delivery::AtLeastOnce));
    let builder = async || slow(&cluster).await.delivery(DeliveryMode::AtMostOnce);
    let mut killed = joined(builder().await).await;
    assert_eq!(batch(&mut killed).await, (0, 0, 10));
    drop(killed);
    cluster.state().coordinator.forget();
    let mut next = joined(builder().await).await;
    assert_eq!(batch(&mut next).await, (0, 0, 10));
}

#[tokio::test]
async fn a_policy_that_changes_on_a_live_group_holds_for_the_next_batch_and_no_commit_goes_back() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let mut group = joined(builder(&cluster).await).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    declare(&cluster, delivery(Delivery::AtMostOnce));
    driven(&mut group, heard(&cluster)).await;
    append(&cluster, 0, 10..20);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    assert_eq!(offsets(&cluster), [(0, 20)]);
    declare(&cluster, GroupPolicy::default());
    driven(&mut group, heard(&cluster)).await;
    append(&cluster, 0, 20..30);
    assert_eq!(batch(&mut group).await, (0, 20, 30));
    assert_eq!(offsets(&cluster), [(0, 20)], "it is being processed");
    let stored = || offsets(&cluster) == [(0, 30)];
    driven(&mut group, until("it is committed", stored)).await;
    let mut commits = cluster.state().coordinator.commits.clone();
    let in_order = commits.clone();
    commits.sort_unstable();
    assert_eq!(commits, in_order);
}

#[tokio::test]
async fn who_commits_by_hand_stays_so_at_least_once_and_is_ended_at_most_once() {
    let cluster = cluster().await;
    declare(&cluster, delivery(Delivery::AtLeastOnce));
    let builder = async || builder(&cluster).await.delivery(DeliveryMode::Manual);
    let mut group = joined(builder().await).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    nothing(&mut group).await;
    assert_eq!(offsets(&cluster), [(0, 0)], "nobody committed");
    declare(&cluster, delivery(Delivery::AtMostOnce));
    let ended = loop {
        if let Err(error) = event(&mut group).await {
            break error;
        }
    };
    assert_eq!(ended.code(), ErrorCode::InvalidRequest);
    let message = ended.to_string();
    assert!(
        message.contains("the group's policy says AtMostOnce"),
        "{message}"
    );
    let refused = timeout(DEADLINE, builder().await.join()).await;
    let refused = refused.expect("in time").expect_err("cannot join either");
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
    let left = || cluster.state().coordinator.left == [false, false];
    until("others get its partitions at once", left).await;
}

#[tokio::test]
async fn who_commits_by_hand_unless_the_policy_forbids_it_moves_no_commit_back() {
    let cluster = cluster().await;
    declare(&cluster, delivery(Delivery::AtMostOnce));
    let builder = builder(&cluster).await.manual_unless_at_most_once();
    let mut group = joined(builder).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    assert_eq!(offsets(&cluster), [(0, 10)]);
    let commit = group.begin_commit_of(TOPIC, P0, Offset(4));
    commit.expect("it was handed out").await.expect("stored");
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    assert_eq!(offsets(&cluster), [(0, 20)]);
    assert!(!cluster.state().coordinator.commits.contains(&(0, 4)));
}

#[tokio::test]
async fn a_group_begins_where_its_policy_says() {
    for (start_from, began) in [
        (StartFrom::Latest, 20),
        (StartFrom::Timestamp(4), 4),
        (StartFrom::Earliest, 0),
    ] {
        let cluster = cluster().await;
        declare(
            &cluster,
            GroupPolicy {
                start_from: Some(start_from),
                ..GroupPolicy::default()
            },
        );
        let mut group = joined(builder(&cluster).await.start(Start::Timestamp(7))).await;
        let started = until_event(&mut group, |event| match event {
            GroupEvent::Started { offset, .. } => Some(offset.0),
            _ => None,
        });
        assert_eq!(started.await, began);
    }
}

#[tokio::test]
async fn a_partition_that_stopped_goes_on_when_the_policy_says_where() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().partitions[0] = Partition {
        log_start: 100,
        ..Partition::default()
    };
    append(&cluster, 0, 100..110);
    let behind = [(at(0), committed(40))];
    cluster.state().coordinator.group.reset(behind);
    let policy = |out_of_range| GroupPolicy {
        out_of_range: Some(out_of_range),
        ..GroupPolicy::default()
    };
    declare(&cluster, policy(OutOfRange::Stop));
    let builder = builder(&cluster).await;
    let mut group = joined(builder.out_of_range(taffrail_client::OutOfRange::Latest)).await;
    let error = loop {
        if let Err(error) = event(&mut group).await {
            break error;
        }
    };
    assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    nothing(&mut group).await;
    declare(&cluster, policy(OutOfRange::Earliest));
    assert_eq!(batch(&mut group).await, (0, 100, 110));
}

#[tokio::test]
async fn a_member_that_names_no_topics_reads_what_the_policy_names() {
    let cluster = cluster().await;
    let client = cluster.client().await;
    let builder = || client.group("billing").consumer(config());
    let refused = timeout(DEADLINE, builder().join()).await;
    let refused = refused.expect("in time").expect_err("nothing to read");
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
    assert!(refused.to_string().contains("name topics"), "{refused}");
    declare(
        &cluster,
        GroupPolicy {
            subscription: Subscription {
                topics: [TOPIC.to_owned()].into(),
                ..Subscription::default()
            },
            ..GroupPolicy::default()
        },
    );
    let mut group = joined(builder()).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
}
