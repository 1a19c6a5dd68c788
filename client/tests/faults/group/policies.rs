//! Where partitions begin, and what happens where their records are gone.

use taffrail_client::{ErrorCode, GroupEvent, OutOfRange, PartitionIndex, Start};

use super::*;
use crate::{
    cluster::{Cluster, Partition},
    consuming::append,
    coordinator::{at, committed},
    following::until,
};

#[tokio::test]
async fn where_a_group_began_is_committed_so_that_nothing_is_skipped_after_a_crash() {
    for (start, began) in [
        (Start::Earliest, 0),
        (Start::Latest, 10),
        (Start::Timestamp(4), 4),
    ] {
        let cluster = Cluster::start(1, 1).await;
        append(&cluster, 0, 0..10);
        let builder = builder(&cluster).await.commit_interval(DEADLINE);
        let mut group = joined(builder.start(start)).await;
        assert_eq!(until_event(&mut group, started).await, began);
        let stored = || cluster.state().coordinator.offsets() == [(0, began)];
        // The records come when the position is known; whichever does first.
        tokio::select! {
            () = until("it is committed", stored) => {}
            () = async { while event(&mut group).await.is_ok() {} } => {}
        }
    }
}

/// A partition whose first records were deleted.
async fn behind() -> Arc<Cluster> {
    let cluster = Cluster::start(1, 2).await;
    cluster.state().partitions[0] = Partition {
        log_start: 100,
        ..Partition::default()
    };
    append(&cluster, 0, 100..110);
    cluster
        .state()
        .coordinator
        .group
        .reset([(at(0), committed(40))]);
    cluster
}

#[tokio::test]
async fn by_default_a_partition_whose_records_are_gone_waits_and_the_others_go_on() {
    let cluster = behind().await;
    let mut group = member(&cluster).await;
    let error = loop {
        match event(&mut group).await {
            Ok(GroupEvent::Batch(batch)) => panic!("{batch:?}"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    let message = error.to_string();
    for part in ["billing", "flights/0", "40", "100 to 110"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    append(&cluster, 1, 0..10);
    assert_eq!(batch(&mut group).await, (1, 0, 10));
    nothing(&mut group).await;
    cluster.state().coordinator.reset(0, 105);
    assert_eq!(batch(&mut group).await, (0, 105, 110), "a reset ends it");
}

#[tokio::test]
async fn a_group_that_is_set_to_goes_on_where_there_are_records_and_says_what_it_missed() {
    for (policy, resumes) in [(OutOfRange::Earliest, 100), (OutOfRange::Latest, 110)] {
        let cluster = behind().await;
        let mut group = joined(builder(&cluster).await.out_of_range(policy)).await;
        let range = until_event(&mut group, |event| match event {
            GroupEvent::OutOfRange {
                partition,
                wanted,
                resumed,
            } => Some((partition.partition.0, wanted.0, resumed.0)),
            _ => None,
        })
        .await;
        assert_eq!(range, (0, 40, resumes));
        append(&cluster, 0, 110..120);
        let (partition, first, _) = batch(&mut group).await;
        assert_eq!((partition, first), (0, resumes));
        // Of what the policy skips as well nothing is lost.
        until("the coordinator to hear of it", || {
            cluster.state().coordinator.lost == [(0, 40, 100)]
        })
        .await;
    }
}

#[tokio::test]
async fn a_member_moves_nowhere_because_a_replaced_leader_does_not_have_the_next_record() {
    for policy in [OutOfRange::Stop, OutOfRange::Earliest, OutOfRange::Latest] {
        let cluster = Cluster::start(3, 1).await;
        cluster.state().unwatchable = true;
        append(&cluster, 0, 0..10);
        let mut group = joined(builder(&cluster).await.out_of_range(policy)).await;
        assert_eq!(batch(&mut group).await, (0, 0, 10));
        cluster.replace_leader(0, 1);
        append(&cluster, 0, 10..20);
        append(&cluster, 0, 20..30);
        // Another member has read and committed that far, at the new leader.
        cluster.state().coordinator.reset(0, 20);
        assert_eq!(batch(&mut group).await, (0, 20, 30), "{policy:?}");
    }
}

#[tokio::test]
async fn what_a_member_reads_is_said_to_the_coordinator() {
    let cluster = Cluster::start(1, 1).await;
    let builder = builder(&cluster).await;
    let group = joined(
        builder
            .topic("payments")
            .pattern("orders.*")
            .instance_id("pod-0")
            .client_name("billing-7f9c")
            .rack("b")
            .session_timeout(Duration::from_secs(9)),
    )
    .await;
    let state = cluster.state();
    let join = &state.coordinator.joins[0];
    assert_eq!(join.member_id, group.member_id().as_bytes().to_vec());
    assert_eq!(join.topics, ["flights", "payments"]);
    assert_eq!(join.patterns, ["orders.*"]);
    assert_eq!(join.instance_id, "pod-0");
    assert_eq!(join.client_name, "billing-7f9c");
    assert_eq!(
        (&*join.rack, join.session_timeout_ms, join.epoch),
        ("b", 9_000, 0)
    );
}

#[tokio::test]
async fn a_paused_partition_stays_paused_until_it_is_resumed() {
    let cluster = Cluster::start(1, 2).await;
    let mut group = member(&cluster).await;
    for _ in 0..2 {
        until_event(&mut group, started).await;
    }
    let p0 = PartitionIndex(0);
    assert!(group.pause("flights", p0));
    append(&cluster, 0, 0..10);
    append(&cluster, 1, 0..10);
    assert_eq!(batch(&mut group).await, (1, 0, 10));
    nothing(&mut group).await;
    assert!(group.resume("flights", p0));
    assert_eq!(batch(&mut group).await, (0, 0, 10));
}

#[tokio::test]
async fn a_paused_partition_that_was_to_go_and_stays_after_all_stays_paused() {
    let cluster = Cluster::start(1, 2).await;
    let mut group = member(&cluster).await;
    let both = [PartitionIndex(0), PartitionIndex(1)];
    for _ in both {
        until_event(&mut group, started).await;
    }
    for partition in both {
        assert!(group.pause("flights", partition));
    }
    let other = member(&cluster).await;
    assert_eq!(until_event(&mut group, revoked).await.len(), 1);
    drop(other);
    // A connection that breaks before the change is carried out makes it void.
    cluster.state().coordinator.is_silent = true;
    cluster.cut(0);
    let is_back = || !cluster.state().coordinator.unheard_joins.is_empty();
    until("the member joins again", is_back).await;
    for partition in 0..2 {
        append(&cluster, partition, 0..10);
    }
    assert_eq!(until_event(&mut group, assigned).await.len(), 1);
    nothing(&mut group).await;
    for partition in both {
        assert!(group.resume("flights", partition));
        assert_eq!(batch(&mut group).await, (partition.0, 0, 10));
    }
}

#[tokio::test]
async fn a_paused_partition_that_is_reset_stays_paused() {
    let cluster = Cluster::start(1, 1).await;
    let mut group = member(&cluster).await;
    until_event(&mut group, started).await;
    assert!(group.pause("flights", PartitionIndex(0)));
    append(&cluster, 0, 0..5);
    append(&cluster, 0, 5..10);
    cluster.state().coordinator.reset(0, 5);
    assert_eq!(until_event(&mut group, started).await, 5);
    nothing(&mut group).await;
    assert!(group.resume("flights", PartitionIndex(0)));
    assert_eq!(batch(&mut group).await, (0, 5, 10));
}

fn started(event: &GroupEvent) -> Option<u64> {
    match event {
        GroupEvent::Started { offset, .. } => Some(offset.0),
        _ => None,
    }
}
