//! Offsets that come from outside, where another broker than the coordinator's leads the partition.

use taffrail_api::stream::Route;
use tonic::transport::Channel;

use super::{failover, thin::with_expired, *};
use crate::{
    fixture::{Client, channel},
    replication::Two,
};

/// Broker 1 coordinates; it leads the first partition of `flights` and the other one leads the second, of ten records each.
async fn coordinated() -> Two {
    let two = Two::start().await;
    two.controller.put(TOPIC, Topic::new("flights", &[1, 2]));
    failover::assign_offsets(&two, 1, 1);
    failover::coordinates(&two, 1).await;
    for (partition, leader) in [(0, 1), (1, 2)] {
        until("records", async || {
            let mut client = Client::connect(channel(two.broker(leader)), Route::Direct).await;
            let records = request(partition, batch(&[""; 10]));
            client.produce(records).await.is_ok()
        })
        .await;
    }
    two
}

/// Ends broker 2. No copy of `__offsets` is missed, so that groups are coordinated all the time.
async fn lose_the_other(two: &mut Two) {
    let mut offsets = Topic::new(internal::OFFSETS, &[1]);
    (offsets.generation, offsets.leader_epoch) = (2, 2);
    offsets.partition_epoch = 2;
    two.controller.put(OFFSETS, offsets);
    two.stop(2).await;
    failover::coordinates(two, 1).await;
}

async fn commit(two: &Two, offsets: &[v1::CommittedOffset]) -> Vec<(u32, WireError)> {
    let commit = v1::CommitOffsetsRequest {
        group: "billing".to_owned(),
        offsets: offsets.to_vec(),
        ..v1::CommitOffsetsRequest::default()
    };
    let stored = groups(channel(two.broker(1))).commit_offsets(commit).await;
    let refused = stored.expect("answers").into_inner().refused.into_iter();
    let refused = refused.map(|r| (r.partition, r.error.expect("why").into()));
    refused.collect()
}

async fn reset(on: Channel, offsets: &[v1::CommittedOffset]) -> Result<(), WireError> {
    let reset = v1::ResetOffsetsRequest {
        group: "billing".to_owned(),
        offsets: offsets.to_vec(),
    };
    let reset = groups(on).reset_offsets(reset).await;
    reset.map(drop).map_err(|status| from_status(&status))
}

async fn committed(two: &Two) -> Vec<v1::CommittedOffset> {
    let request = v1::DescribeGroupRequest {
        group: "billing".to_owned(),
    };
    let described = groups(channel(two.broker(1))).describe_group(request).await;
    let offsets = described.expect("known").into_inner().offsets.into_iter();
    offsets.filter_map(|offset| offset.committed).collect()
}

#[tokio::test]
async fn what_lies_beyond_the_end_of_another_brokers_partition_is_refused() {
    let two = coordinated().await;
    let refused = commit(&two, &[at(0, 11), at(1, 11)]).await;
    assert_eq!(refused.len(), 2);
    for (partition, error) in refused {
        assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
        let words = format!("offset 11 of flights/{partition} is out of range: 0 to 10");
        assert!(error.message.contains(&words), "{error}");
    }
    assert_eq!(commit(&two, &[at(0, 10), at(1, 10)]).await, []);
    let error = reset(channel(two.broker(1)), &[at(0, 3), at(1, 11)]).await;
    let error = error.expect_err("beyond the end");
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert!(error.message.contains("flights/1"), "{error}");
    assert_eq!(committed(&two).await, [at(0, 10), at(1, 10)]);
    let done = reset(channel(two.broker(1)), &[at(0, 3), at(1, 4)]).await;
    done.expect("within");
    assert_eq!(committed(&two).await, [at(0, 3), at(1, 4)]);
}

#[tokio::test]
async fn what_a_leader_that_is_gone_cannot_say_is_not_stored_and_the_rest_is() {
    let mut two = coordinated().await;
    assert_eq!(commit(&two, &[at(0, 1), at(1, 1)]).await, []);
    lose_the_other(&mut two).await;
    let refused = commit(&two, &[at(0, 2), at(1, 2)]).await;
    let [(1, error)] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert!(error.retriable, "{error}");
    let error = reset(channel(two.broker(1)), &[at(1, 2)]).await;
    assert!(error.expect_err("nobody says").retriable);
    assert_eq!(committed(&two).await, [at(0, 2), at(1, 1)]);
}

#[tokio::test]
async fn a_member_commits_nothing_beyond_the_end_of_another_brokers_partition() {
    let two = coordinated().await;
    let mut member = TestMember::join(channel(two.broker(1)), joining(1)).await;
    let epoch = member.assigned().await.epoch;
    let refused = member.commit(epoch, vec![at(0, 10), at(1, 11)]).await;
    let [refused] = &refused[..] else {
        panic!("{refused:?}");
    };
    let error = WireError::from(refused.error.clone().expect("why"));
    assert_eq!(
        (refused.partition, error.code),
        (1, ErrorCode::OffsetOutOfRange)
    );
    assert!(error.message.contains("flights/1"), "{error}");
    assert_eq!(committed(&two).await, [at(0, 10)]);
    assert_eq!(member.commit(epoch, vec![at(1, 10)]).await, []);
}

/// It has read it, and goes on while a partition has no leader.
#[tokio::test]
async fn a_members_commit_does_not_fail_because_a_leader_is_gone() {
    let mut two = coordinated().await;
    lose_the_other(&mut two).await;
    let mut member = TestMember::join(channel(two.broker(1)), joining(1)).await;
    let epoch = member.assigned().await.epoch;
    assert_eq!(member.commit(epoch, vec![at(1, 7)]).await, []);
    assert_eq!(committed(&two).await, [at(1, 7)]);
}

#[tokio::test]
async fn a_reset_to_records_that_are_gone_is_refused_with_those_that_are_there() {
    let fixture = with_expired().await;
    let error = reset(fixture.channel(), &[at(0, 0)]).await;
    let error = error.expect_err("they are gone");
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert!(error.message.contains(" to 6 can be set"), "{error}");
    let unknown = describe(&fixture, "billing").await;
    unknown.expect_err("nothing was stored");
    let done = reset(fixture.channel(), &[at(0, 6)]).await;
    done.expect("the end is there");
}
