//! Calls of clients that reach only a broker that does not coordinate the group.

use prost::Message as _;
use taffrail_api::{
    WireError,
    status::from_status,
    transport::ROUTE_HEADER,
    v1::{self, groups_client::GroupsClient},
};
use taffrail_core::ErrorCode;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    failover::{assign_offsets, coordinated, coordinates},
    member::{TestMember, at, joining, partitions},
};
use crate::{
    bad_input::raw_with,
    fixture::{channel, until},
    replication::Two,
};

pub(super) fn routed<R>(request: R) -> Request<R> {
    let mut request = Request::new(request);
    let value = "1".parse().expect("a value");
    request.metadata_mut().insert(ROUTE_HEADER, value);
    request
}

/// Broker 2 is asked; broker 1 coordinates.
fn asked(two: &Two) -> GroupsClient<Channel> {
    GroupsClient::new(channel(two.broker(2)))
}

fn answer<T>(answered: Result<Response<T>, Status>) -> Result<T, WireError> {
    let answered = answered.map_err(|status| from_status(&status));
    answered.map(Response::into_inner)
}

fn billing() -> v1::DescribeGroupRequest {
    let group = "billing".to_owned();
    v1::DescribeGroupRequest { group }
}

/// What is committed of partition 0.
async fn committed(two: &Two) -> i64 {
    let described = asked(two).describe_group(routed(billing())).await;
    let described = answer(described).expect("described");
    let committed = described.offsets.into_iter().filter_map(|o| o.committed);
    let mut of_0 = committed.filter(|c| c.partition == 0);
    of_0.next().expect("committed").offset
}

#[tokio::test]
async fn every_call_of_a_group_is_passed_on_to_its_coordinator_if_that_is_asked_for() {
    let two = coordinated().await;
    let direct = answer(asked(&two).describe_group(billing()).await);
    assert_eq!(
        direct.expect_err("not there").code,
        ErrorCode::NotCoordinator
    );
    let unknown = answer(asked(&two).describe_group(routed(billing())).await);
    // The coordinator's own word.
    assert_eq!(unknown.expect_err("nobody").code, ErrorCode::UnknownGroup);

    let mut member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    let assigned = member.assigned().await;
    assert_eq!(partitions(&assigned), [0, 1]);
    assert_eq!(member.commit(assigned.epoch, vec![at(0, 5)]).await, []);
    assert_eq!(committed(&two).await, 5);

    let listed = asked(&two)
        .list_groups(routed(v1::ListGroupsRequest {}))
        .await;
    let listed = answer(listed).expect("listed").groups;
    let listed: Vec<_> = listed.iter().map(|g| (&*g.group, g.members)).collect();
    assert_eq!(listed, [("billing", 1)]);

    let group = || "billing".to_owned();
    let delete = || routed(v1::DeleteGroupRequest { group: group() });
    let refused = answer(asked(&two).delete_group(delete()).await);
    assert_eq!(
        refused.expect_err("a member").code,
        ErrorCode::GroupNotEmpty
    );
    member.leave(false);
    until("the member to be gone", async || {
        let described = asked(&two).describe_group(routed(billing())).await;
        answer(described).expect("described").members.is_empty()
    })
    .await;
    let commit = v1::CommitOffsetsRequest {
        group: group(),
        offsets: vec![at(0, 7)],
        ..v1::CommitOffsetsRequest::default()
    };
    let stored = answer(asked(&two).commit_offsets(routed(commit)).await);
    assert_eq!(stored.expect("stored").refused, []);
    assert_eq!(committed(&two).await, 7);
    let offsets = vec![at(0, 2)];
    let reset = v1::ResetOffsetsRequest {
        group: group(),
        offsets,
    };
    answer(asked(&two).reset_offsets(routed(reset)).await).expect("reset");
    assert_eq!(committed(&two).await, 2);
    answer(asked(&two).delete_group(delete()).await).expect("deleted");
}

#[tokio::test]
async fn a_stream_that_was_passed_on_ends_with_either_of_its_ends() {
    let mut two = coordinated().await;
    let member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    until("the member to be there", async || {
        is_connected(&two).await == Some(true)
    })
    .await;
    // The member's own end: it is waited for, as one that said nothing.
    drop(member);
    until("the stream to end", async || {
        is_connected(&two).await == Some(false)
    })
    .await;
    let mut member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    member.assigned().await;
    // The coordinator's: the member hears why, and asks again.
    assign_offsets(&two, 2, 2);
    let ended = member.ended().await;
    assert_eq!(
        (ended.code, ended.retriable),
        (ErrorCode::NotCoordinator, true)
    );
    coordinates(&two, 2).await;
    let mut member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    member.assigned().await;
    // And the broker's in between.
    assign_offsets(&two, 1, 3);
    coordinates(&two, 1).await;
    let mut member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    member.assigned().await;
    two.stop(2).await;
    assert!(member.ended().await.retriable);
}

#[tokio::test]
async fn what_is_wrong_with_a_members_words_is_told_by_the_broker_that_passes_them_on() {
    let two = coordinated().await;
    let join = v1::MemberRequest {
        request: Some(v1::member_request::Request::Join(joining(1))),
    };
    let join = join.encode_to_vec();
    let mut said = vec![0];
    said.extend((join.len() as u32).to_be_bytes());
    said.extend(join);
    said.extend([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]);
    let (path, routed) = ("/taffrail.v1.Groups/Join", [(ROUTE_HEADER, "1")]);
    let ended = raw_with(channel(two.broker(2)), path, &routed, said.into()).await;
    let error = from_status(&ended);
    assert_eq!(error.code, ErrorCode::InvalidRequest, "{error}");
    assert!(error.message.contains("malformed"), "{error}");
    // And by the coordinator, what only that one knows.
    let mut member = TestMember::join_routed(channel(two.broker(2)), joining(1)).await;
    member.say(v1::member_request::Request::Join(joining(1)));
    let error = member.ended().await;
    assert_eq!(error.code, ErrorCode::InvalidRequest, "{error}");
}

/// Has the first member a stream? `None`: there is none.
async fn is_connected(two: &Two) -> Option<bool> {
    let described = asked(two).describe_group(routed(billing())).await;
    let members = answer(described).ok()?.members;
    members.first().map(|member| member.connected)
}
