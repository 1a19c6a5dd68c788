//! What the controller hears of groups.

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
async fn a_group_that_is_only_declared_is_reported_and_so_is_its_end() {
    let fixture = coordinated().await;
    declare(&fixture, &topics(&["flights", "not-there"]));
    let empty = reported(&fixture, "the group", |r| !r.is_gone).await;
    assert_eq!(empty.state(), v1::GroupState::GroupEmpty);
    assert_eq!(empty.topic_ids, [topic_bytes()]);
    assert_eq!(empty.offsets, []);
    fixture.controller.say(|update| {
        update.removed_groups.push("billing".to_owned());
    });
    reported(&fixture, "an end", |r| r.is_gone).await;
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
