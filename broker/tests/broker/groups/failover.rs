//! Two brokers, of which one coordinates and the other may.

use taffrail_api::{status::from_status, stream::Route, v1};
use taffrail_core::{ErrorCode, internal};

use super::{
    OFFSETS,
    member::{TestMember, at, groups, joining, partitions},
};
use crate::{
    controller::Topic,
    fixture::{Client, batch, channel, request, until, within},
    replication::{Two, both},
};

/// `__offsets` of one partition, led by `leader` in `epoch`, both in sync.
pub(super) fn assign_offsets(two: &Two, leader: u32, epoch: i32) {
    let mut topic = both(leader, epoch);
    internal::OFFSETS.clone_into(&mut topic.name);
    two.controller.put(OFFSETS, topic);
}

pub(super) async fn coordinates(two: &Two, broker: usize) {
    until("a coordinator", async || {
        let request = v1::DescribeGroupRequest {
            group: "nobody".to_owned(),
        };
        let described = groups(channel(two.broker(broker)))
            .describe_group(request)
            .await;
        described.is_err_and(|status| from_status(&status).code == ErrorCode::UnknownGroup)
    })
    .await;
}

pub(super) async fn coordinated() -> Two {
    let two = Two::start().await;
    two.controller
        .put(crate::fixture::TOPIC, Topic::new("flights", &[1, 1]));
    assign_offsets(&two, 1, 1);
    coordinates(&two, 1).await;
    let mut client = Client::connect(channel(two.broker(1)), Route::Direct).await;
    for partition in 0..2 {
        let produced = client.produce(request(partition, batch(&[""; 10]))).await;
        produced.expect("stored");
    }
    two
}

#[tokio::test]
async fn another_coordinator_knows_members_and_offsets() {
    let two = coordinated().await;
    let mut member = TestMember::join(channel(two.broker(1)), joining(1)).await;
    let assigned = member.assigned().await;
    assert_eq!(partitions(&assigned), [0, 1]);
    assert_eq!(member.commit(assigned.epoch, vec![at(1, 9)]).await, []);
    assign_offsets(&two, 2, 2);
    let ended = member.ended().await;
    assert_eq!(
        (ended.code, ended.retriable),
        (ErrorCode::NotCoordinator, true)
    );
    coordinates(&two, 2).await;
    let back = v1::JoinGroup {
        epoch: assigned.epoch,
        ..joining(1)
    };
    let mut member = TestMember::join(channel(two.broker(2)), back).await;
    let again = member.assigned().await;
    assert_eq!(
        (again.epoch, again.partitions[1].offset),
        (assigned.epoch, 9)
    );
    assert_eq!(member.commit(again.epoch, vec![at(1, 10)]).await, []);
}

#[tokio::test]
async fn a_coordinator_that_does_not_hear_its_follower_answers_nobody() {
    let mut two = coordinated().await;
    let short = v1::JoinGroup {
        session_timeout_ms: 9_000,
        ..joining(1)
    };
    let mut member = TestMember::join(channel(two.broker(1)), short).await;
    let assigned = member.assigned().await;
    two.stop(2).await;
    // The map still has it in the in-sync set: for all that this broker knows, it may lead by now.
    let talk = member.talk(assigned.epoch);
    let ended = tokio::select! {
        ended = within("an end to answers", member.ended()) => ended,
        () = talk => unreachable!("it talks on"),
    };
    assert_eq!(ended.code, ErrorCode::NotCoordinator);
    assert!(ended.message.contains("follower"), "{ended}");
    let mut other = TestMember::join(channel(two.broker(1)), joining(2)).await;
    assert_eq!(other.ended().await.code, ErrorCode::NotCoordinator);
    two.run(2).await;
    coordinates(&two, 1).await;
    let back = v1::JoinGroup {
        session_timeout_ms: 9_000,
        epoch: assigned.epoch,
        ..joining(1)
    };
    let mut member = TestMember::join(channel(two.broker(1)), back).await;
    assert_eq!(
        member.assigned().await.epoch,
        assigned.epoch,
        "it keeps what it had"
    );
}
