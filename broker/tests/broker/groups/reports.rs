//! What the controller hears of groups.

use taffrail_api::v1::member_request;
use taffrail_core::group::AssignmentStrategy;

use super::{
    policies::{declare, strategy, topics},
    *,
};

/// Waits for a report of `billing` that is so.
async fn reported(
    fixture: &Fixture,
    what: &str,
    is_so: impl Fn(&v1::GroupReport) -> bool,
) -> v1::GroupReport {
    let newest = || fixture.controller.group("billing");
    until(what, async || newest().is_some_and(|report| is_so(&report))).await;
    newest().expect("reported")
}

#[tokio::test]
async fn a_group_is_reported_with_its_members_and_offsets_until_it_is_gone() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    let begun = reported(&fixture, "members", |r| !r.member_partitions.is_empty()).await;
    assert_eq!(begun.member_partitions, [4]);
    assert_eq!(begun.state(), v1::GroupState::GroupStable);
    assert_eq!((begun.epoch, begun.coordinator_epoch), (assigned.epoch, 1));
    assert_eq!(begun.topic_ids, [topic_bytes()]);
    let offsets = |report: &v1::GroupReport| {
        let mut offsets: Vec<_> = report
            .offsets
            .iter()
            .map(|o| (o.partition, o.offset))
            .collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(offsets(&begun), [(0, -1), (1, -1), (2, -1), (3, -1)]);
    assert_eq!(member.commit(assigned.epoch, vec![at(2, 7)]).await, []);
    let read = reported(&fixture, "a commit", |r| offsets(r)[2] == (2, 7)).await;
    assert_eq!(offsets(&read), [(0, -1), (1, -1), (2, 7), (3, -1)]);
    let times = read.offsets.iter().map(|o| o.committed_at_ms > 0);
    assert_eq!(times.filter(|is_set| *is_set).count(), 1);
    member.leave(false);
    let empty = reported(&fixture, "nobody", |r| r.member_partitions.is_empty()).await;
    assert_eq!(empty.state(), v1::GroupState::GroupEmpty);
    assert_eq!(offsets(&empty), [(2, 7)]);
    let delete = v1::DeleteGroupRequest {
        group: "billing".to_owned(),
    };
    let mut groups = groups(fixture.channel());
    groups.delete_group(delete).await.expect("deletes");
    reported(&fixture, "an end", |r| r.is_gone).await;
}

#[tokio::test]
async fn what_a_member_lost_is_reported_if_it_reads_that_partition() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    member.assigned().await;
    let lost = |partition, from, to| v1::MemberLoss {
        topic_id: topic_bytes(),
        partition,
        from,
        to,
    };
    member.say(member_request::Request::Lost(lost(9, 0, 5)));
    member.say(member_request::Request::Lost(lost(2, 10, 30)));
    let told = reported(&fixture, "the loss", |r| !r.lost.is_empty()).await;
    assert_eq!(told.lost, [lost(2, 10, 30)], "no more of what is not its");
    member.say(member_request::Request::Lost(lost(2, 40, 40)));
    let ended = member.ended().await;
    assert_eq!(ended.code, ErrorCode::InvalidRequest, "no range");
}

#[tokio::test]
async fn a_group_that_is_only_declared_is_reported_and_so_is_its_end() {
    let fixture = coordinated().await;
    declare(&fixture, &topics(&["flights", "not-there"]));
    let empty = reported(&fixture, "the group", |r| !r.is_gone).await;
    assert_eq!(empty.state(), v1::GroupState::GroupEmpty);
    assert_eq!(empty.topic_ids, [topic_bytes()]);
    assert_eq!(empty.offsets, []);
    let described = describe(&fixture, "billing").await.expect("declared");
    assert_eq!(described.state(), v1::GroupState::GroupEmpty);
    assert_eq!(described.topic_ids, [topic_bytes()]);
    let policy = described.policy.expect("what is declared");
    assert_eq!(policy.topics, ["flights", "not-there"]);
    fixture.controller.say(|update| {
        update.removed_groups.push("billing".to_owned());
    });
    reported(&fixture, "an end", |r| r.is_gone).await;
    let described = describe(&fixture, "billing").await;
    let unknown = described.expect_err("nobody declares it");
    assert_eq!(unknown.code, ErrorCode::UnknownGroup);
}

#[tokio::test]
async fn topics_that_a_policy_names_are_reported_when_they_come_if_nobody_is_in_the_group() {
    let fixture = coordinated().await;
    declare(&fixture, &topics(&["flights", "later"]));
    reported(&fixture, "the group", |r| r.topic_ids.len() == 1).await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    assert_eq!(member.commit(assigned.epoch, vec![at(2, 7)]).await, []);
    member.leave(false);
    let left = |report: &v1::GroupReport| {
        report.member_partitions.is_empty() && !report.offsets.is_empty()
    };
    reported(&fixture, "nobody", left).await;
    let later = TopicId::from_bytes([0x33; 16]);
    fixture.controller.put(later, Topic::new("later", &[1]));
    let both = reported(&fixture, "both topics", |r| r.topic_ids.len() == 2).await;
    assert!(left(&both));
}

#[tokio::test]
async fn a_new_session_hears_of_all_groups() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    member.assigned().await;
    reported(&fixture, "the group", |r| !r.is_gone).await;
    fixture.controller.forget_reports();
    let heartbeats = fixture.controller.heartbeats();
    until("heartbeats", async || {
        fixture.controller.heartbeats() > heartbeats + 5
    })
    .await;
    assert_eq!(fixture.controller.group("billing"), None, "nothing changed");
    fixture.controller.end_sessions();
    reported(&fixture, "the group again", |r| r.member_partitions == [4]).await;
}

#[tokio::test]
async fn a_coordinator_says_once_in_a_session_that_it_has_told_all_its_groups() {
    let fixture = coordinated().await;
    let told = async || {
        until("all is told", async || {
            fixture.controller.told_all().len() >= 2
        })
        .await;
        let told = fixture.controller.told_all().into_iter();
        let mut told: Vec<_> = told.map(|t| (t.partition, t.coordinator_epoch)).collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told().await, [(0, 1), (1, 1)], "those without groups too");
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    member.assigned().await;
    reported(&fixture, "the group", |r| !r.is_gone).await;
    assert_eq!(told().await.len(), 2, "not again");
    fixture.controller.forget_reports();
    fixture.controller.end_sessions();
    assert_eq!(told().await, [(0, 1), (1, 1)]);
    assert!(fixture.controller.group("billing").is_some());
}

#[tokio::test]
async fn a_broker_that_does_not_coordinate_a_group_any_more_says_nothing_of_it() {
    let fixture = coordinated().await;
    declare(&fixture, &strategy(AssignmentStrategy::Range));
    reported(&fixture, "the group", |r| !r.is_gone).await;
    let mut elsewhere = Topic::new(internal::OFFSETS, &[2, 2]);
    elsewhere.leader_epoch = 2;
    fixture.controller.put(OFFSETS, elsewhere);
    until("the broker follows", async || {
        let described = describe(&fixture, "billing").await;
        described.is_err_and(|error| error.code == ErrorCode::NotCoordinator)
    })
    .await;
    fixture.controller.forget_reports();
    fixture.controller.end_sessions();
    let heartbeats = fixture.controller.heartbeats();
    until("heartbeats of a new session", async || {
        fixture.controller.heartbeats() > heartbeats + 5
    })
    .await;
    assert_eq!(fixture.controller.group("billing"), None);
}
