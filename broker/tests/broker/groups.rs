//! Consumer groups over gRPC, as members of any language see them.

mod bounds;
mod closed;
mod damage;
mod expiry;
mod failover;
mod forgetting;
mod late_words;
mod long_logs;
mod member;
mod policies;
mod reports;
mod routed;
mod thin;

use std::time::Duration;

use taffrail_api::{WireError, status::from_status, v1};
use taffrail_core::{ErrorCode, TopicId, internal};
use tokio::time::timeout;
use tonic::Status;

use self::member::{TestMember, at, groups, joining, partitions};
use crate::{
    controller::{Topic, bytes_of},
    fixture::{Fixture, TOPIC, batch, code, request, until},
};

/// `__offsets`.
const OFFSETS: TopicId = TopicId::from_bytes([0x0f; 16]);

/// Records of each partition.
const RECORDS: usize = 200;

/// A broker that coordinates, with topic `flights` of four partitions that have records.
async fn coordinated() -> Fixture {
    with_records(empty().await).await
}

async fn with_records(fixture: Fixture) -> Fixture {
    let mut client = fixture.client().await;
    for partition in 0..4 {
        let values = [""; RECORDS];
        let produced = client.produce(request(partition, batch(&values))).await;
        produced.expect("stored");
    }
    fixture
}

/// The same, without records.
async fn empty() -> Fixture {
    with_offsets(Fixture::start(4).await).await
}

async fn with_offsets(fixture: Fixture) -> Fixture {
    let offsets = Topic::new(internal::OFFSETS, &[1, 1]);
    fixture.controller.put(OFFSETS, offsets);
    coordinates(&fixture).await;
    fixture
}

/// Waits until it does.
async fn coordinates(fixture: &Fixture) {
    until("a coordinator", async || {
        let request = v1::DescribeGroupRequest {
            group: "nobody".to_owned(),
        };
        let described = groups(fixture.channel()).describe_group(request).await;
        described.is_err_and(|status| of(&status) == ErrorCode::UnknownGroup)
    })
    .await;
}

fn of(status: &Status) -> ErrorCode {
    from_status(status).code
}

async fn describe(fixture: &Fixture, group: &str) -> Result<v1::DescribeGroupResponse, WireError> {
    let request = v1::DescribeGroupRequest {
        group: group.to_owned(),
    };
    let described = groups(fixture.channel()).describe_group(request).await;
    described
        .map(tonic::Response::into_inner)
        .map_err(|s| from_status(&s))
}

#[tokio::test]
async fn members_share_a_topic_and_one_gives_up_before_another_gets() {
    let fixture = coordinated().await;
    let mut first = TestMember::join(fixture.channel(), joining(1)).await;
    let all = first.assigned().await;
    assert_eq!(partitions(&all), [0, 1, 2, 3]);
    let mut second = TestMember::join(fixture.channel(), joining(2)).await;
    let none = second.assigned().await;
    assert_eq!(
        partitions(&none),
        [] as [u32; 0],
        "the first one has them yet"
    );
    let half = first.assigned().await;
    assert_eq!(partitions(&half).len(), 2);
    first.heartbeat(half.epoch);
    let others = second.assigned().await;
    let mut both = [partitions(&half), partitions(&others)].concat();
    both.sort_unstable();
    assert_eq!(both, [0, 1, 2, 3]);
    first.leave(false);
    let everything = second.assigned().await;
    assert_eq!(partitions(&everything), [0, 1, 2, 3]);
    assert!(everything.heartbeat_interval_ms < everything.answer_timeout_ms);
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart_and_a_member_comes_back_to_what_it_had() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    assert!(assigned.partitions.iter().all(|p| p.offset == -1));
    let refused = member
        .commit(assigned.epoch, vec![at(0, 42), at(3, 7)])
        .await;
    assert_eq!(refused, []);
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    let back = v1::JoinGroup {
        epoch: assigned.epoch,
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), back).await;
    let again = member.assigned().await;
    let offsets: Vec<_> = again.partitions.iter().map(|p| p.offset).collect();
    assert_eq!(offsets, [42, -1, -1, 7]);
    assert_eq!(again.epoch, assigned.epoch, "nothing moved");
}

#[tokio::test]
async fn a_member_that_is_silent_loses_its_partitions_and_is_told_what_to_do() {
    let fixture = coordinated().await;
    let silent = v1::JoinGroup {
        session_timeout_ms: 3_000,
        ..joining(1)
    };
    let mut silent = TestMember::join(fixture.channel(), silent).await;
    let assigned = silent.assigned().await;
    let mut other = TestMember::join(fixture.channel(), joining(2)).await;
    let none = other.assigned().await;
    let ended = tokio::select! {
        ended = silent.ended() => ended,
        () = other.talk(none.epoch) => unreachable!("it talks on"),
    };
    assert_eq!(ended.code, ErrorCode::UnknownMember);
    assert!(ended.message.contains("new member id"), "{ended}");
    assert_eq!(partitions(&other.assigned().await), [0, 1, 2, 3]);
    let back = v1::JoinGroup {
        epoch: assigned.epoch,
        ..joining(1)
    };
    let mut back = TestMember::join(fixture.channel(), back).await;
    assert_eq!(back.ended().await.code, ErrorCode::UnknownMember);
}

#[tokio::test]
async fn a_heartbeat_keeps_a_member() {
    let fixture = coordinated().await;
    let short = v1::JoinGroup {
        session_timeout_ms: 3_000,
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), short).await;
    let assigned = member.assigned().await;
    let talk = timeout(Duration::from_millis(4_500), member.talk(assigned.epoch));
    tokio::select! {
        ended = member.ended() => panic!("it was given up: {ended}"),
        _ = talk => {}
    }
}

#[tokio::test]
async fn a_commit_of_what_is_not_the_members_is_refused_and_the_rest_is_stored() {
    let fixture = coordinated().await;
    let mut first = TestMember::join(fixture.channel(), joining(1)).await;
    first.assigned().await;
    let mut second = TestMember::join(fixture.channel(), joining(2)).await;
    second.assigned().await;
    let half = first.assigned().await;
    first.heartbeat(half.epoch);
    let others = second.assigned().await;
    let (mine, theirs) = (partitions(&half)[0], partitions(&others)[0]);
    let offsets = vec![at(mine, 5), at(theirs, 6), at(99, 1)];
    let refused = first.commit(half.epoch, offsets).await;
    let codes: Vec<_> = refused
        .into_iter()
        .map(|r| (r.partition, code(r.error.expect("why"))))
        .collect();
    let expected = [
        (theirs, ErrorCode::NotAssigned),
        (99, ErrorCode::NotAssigned),
    ];
    assert_eq!(codes, expected);
    let described = describe(&fixture, "billing").await.expect("known");
    let stored = described
        .offsets
        .into_iter()
        .map(|o| o.committed.expect("one"));
    assert_eq!(stored.collect::<Vec<_>>(), [at(mine, 5)]);
}

#[tokio::test]
async fn an_offset_beyond_the_end_is_neither_committed_nor_reset_to() {
    let fixture = coordinated().await;
    let end = RECORDS as i64;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    let offsets = vec![at(0, end), at(1, end + 1)];
    let refused = member.commit(assigned.epoch, offsets).await;
    let refused: Vec<_> = refused
        .into_iter()
        .map(|r| (r.partition, r.error.expect("why")))
        .collect();
    assert_eq!(refused.len(), 1);
    let (partition, error) = refused[0].clone();
    assert!(error.message.contains("flights/1"), "{error:?}");
    assert_eq!((partition, code(error)), (1, ErrorCode::OffsetOutOfRange));
    let reset = v1::ResetOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(2, 5), at(3, end + 1)],
    };
    let mut groups = groups(fixture.channel());
    let refused = groups
        .reset_offsets(reset)
        .await
        .expect_err("beyond the end");
    assert_eq!(of(&refused), ErrorCode::OffsetOutOfRange);
    let described = describe(&fixture, "billing").await.expect("known");
    let stored = described.offsets.into_iter().filter_map(|o| o.committed);
    assert_eq!(stored.collect::<Vec<_>>(), [at(0, end)]);
}

#[tokio::test]
async fn a_live_group_is_reset_and_commits_in_flight_are_refused() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let before = member.assigned().await;
    assert_eq!(
        member
            .commit(before.epoch, vec![at(0, 100), at(1, 100)])
            .await,
        []
    );
    let reset = v1::ResetOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, 5)],
    };
    groups(fixture.channel())
        .reset_offsets(reset)
        .await
        .expect("resets");
    let after = member.assigned().await;
    let zero = &after.partitions[0];
    assert_eq!((zero.offset, zero.since_epoch), (5, after.epoch));
    assert!(
        after.partitions[1].since_epoch <= before.epoch,
        "that one goes on"
    );
    let refused = member
        .commit(before.epoch, vec![at(0, 101), at(1, 101)])
        .await;
    let refused: Vec<_> = refused
        .into_iter()
        .map(|r| (r.partition, code(r.error.expect("why"))))
        .collect();
    assert_eq!(refused, [(0, ErrorCode::NotAssigned)]);
    assert_eq!(member.commit(after.epoch, vec![at(0, 6)]).await, []);
}

#[tokio::test]
async fn two_members_cannot_have_one_instance_id_and_a_successor_gets_all() {
    let fixture = coordinated().await;
    let named = |member| v1::JoinGroup {
        instance_id: "pod-0".to_owned(),
        ..joining(member)
    };
    let mut first = TestMember::join(fixture.channel(), named(1)).await;
    let all = first.assigned().await;
    let mut twin = TestMember::join(fixture.channel(), named(2)).await;
    let ended = twin.ended().await;
    assert_eq!(ended.code, ErrorCode::InstanceIdInUse);
    assert!(ended.retriable);
    first.leave(true);
    until("the place to be free", async || {
        let described = describe(&fixture, "billing").await.expect("known");
        !described.members[0].connected
    })
    .await;
    let mut successor = TestMember::join(fixture.channel(), named(3)).await;
    let taken_over = successor.assigned().await;
    assert_eq!(partitions(&taken_over), partitions(&all));
}

#[tokio::test]
async fn a_pattern_picks_up_topics_and_partitions_that_come_later() {
    let fixture = coordinated().await;
    let reader = v1::JoinGroup {
        topics: Vec::new(),
        patterns: vec!["fl.*|orders.*".to_owned()],
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), reader).await;
    assert_eq!(member.assigned().await.partitions.len(), 4, "not __offsets");
    let orders = TopicId::from_bytes([0x33; 16]);
    fixture
        .controller
        .put(orders, Topic::new("orders.eu", &[1, 1]));
    let more = member.assigned().await;
    assert_eq!(more.partitions.len(), 6);
    assert!(more.partitions.iter().any(|p| p.topic == "orders.eu"));
}

#[tokio::test]
async fn a_member_that_says_nonsense_is_told_and_others_notice_nothing() {
    let fixture = coordinated().await;
    let mut good = TestMember::join(fixture.channel(), joining(1)).await;
    good.assigned().await;
    for (nonsense, words) in [
        (
            v1::JoinGroup {
                group: "a/b".to_owned(),
                ..joining(2)
            },
            "letters, digits",
        ),
        (
            v1::JoinGroup {
                patterns: vec!["(a{1000}){1000}".to_owned()],
                ..joining(2)
            },
            "regular expression",
        ),
        (
            v1::JoinGroup {
                member_id: vec![1].into(),
                ..joining(2)
            },
            "member id",
        ),
    ] {
        let mut member = TestMember::join(fixture.channel(), nonsense).await;
        let ended = member.ended().await;
        assert_eq!(ended.code, ErrorCode::InvalidRequest);
        assert!(ended.message.contains(words), "{ended}");
    }
    let mut first_a_heartbeat = TestMember::open(fixture.channel()).await;
    first_a_heartbeat.heartbeat(0);
    assert_eq!(
        first_a_heartbeat.ended().await.code,
        ErrorCode::InvalidRequest
    );
    // An assignment that was never made.
    let mut liar = TestMember::join(fixture.channel(), joining(3)).await;
    let none = liar.assigned().await;
    liar.heartbeat(none.epoch + 100);
    assert_eq!(liar.ended().await.code, ErrorCode::UnknownMember);
    let half = good.assigned().await;
    let mine = partitions(&half)[0];
    assert_eq!(good.commit(half.epoch, vec![at(mine, 1)]).await, []);
}

#[tokio::test]
async fn only_a_group_without_members_is_deleted_or_committed_from_outside() {
    let fixture = coordinated().await;
    let commit = |offset| v1::CommitOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, offset)],
        ..v1::CommitOffsetsRequest::default()
    };
    let delete = || v1::DeleteGroupRequest {
        group: "billing".to_owned(),
    };
    let mut calls = groups(fixture.channel());
    let unknown = calls.delete_group(delete()).await.expect_err("not there");
    assert_eq!(of(&unknown), ErrorCode::UnknownGroup);
    let stored = calls.commit_offsets(commit(3)).await.expect("stores");
    assert_eq!(stored.into_inner().refused, []);
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    assert_eq!(member.assigned().await.partitions[0].offset, 3);
    let refused = calls
        .commit_offsets(commit(4))
        .await
        .expect("answers")
        .into_inner()
        .refused;
    let why = refused.into_iter().map(|r| code(r.error.expect("why")));
    assert_eq!(why.collect::<Vec<_>>(), [ErrorCode::GroupNotEmpty]);
    let live = calls
        .delete_group(delete())
        .await
        .expect_err("it has a member");
    assert_eq!(of(&live), ErrorCode::GroupNotEmpty);
    member.leave(false);
    until("the member to be gone", async || {
        calls.clone().delete_group(delete()).await.is_ok()
    })
    .await;
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    let gone = describe(&fixture, "billing").await.expect_err("forgotten");
    assert_eq!(gone.code, ErrorCode::UnknownGroup);
}

#[tokio::test]
async fn groups_are_listed_by_who_coordinates_them() {
    let fixture = coordinated().await;
    let names = ["billing", "audit", "search"];
    for (name, number) in names.iter().zip(1..) {
        let join = v1::JoinGroup {
            group: (*name).to_owned(),
            ..joining(number)
        };
        let mut member = TestMember::join(fixture.channel(), join).await;
        member.assigned().await;
    }
    let listed = groups(fixture.channel())
        .list_groups(v1::ListGroupsRequest {})
        .await;
    let listed = listed.expect("answers").into_inner().groups;
    let mut found: Vec<_> = listed
        .iter()
        .map(|g| (g.group.as_str(), g.members))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("audit", 1), ("billing", 1), ("search", 1)]);
}

#[tokio::test]
async fn a_broker_that_does_not_lead_offsets_is_no_coordinator() {
    let fixture = Fixture::start(1).await;
    let early = describe(&fixture, "billing")
        .await
        .expect_err("no __offsets");
    assert_eq!(early.code, ErrorCode::NotCoordinator);
    assert!(
        early.retriable && early.message.contains("__offsets"),
        "{early}"
    );
    fixture
        .controller
        .put(OFFSETS, Topic::new(internal::OFFSETS, &[2, 2]));
    until("the leader to be known", async || {
        let error = describe(&fixture, "billing")
            .await
            .expect_err("another leads");
        assert_eq!(error.code, ErrorCode::NotCoordinator);
        error.message.contains("broker 2")
    })
    .await;
}

/// What of [`TOPIC`] is committed.
pub(crate) fn topic_bytes() -> bytes::Bytes {
    bytes_of(TOPIC)
}
