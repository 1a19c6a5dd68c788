//! Groups whose resource is gone, and whose offsets are to go.

use super::{
    policies::{record, session_timeout},
    *,
};

/// A group with a member and an offset, of which the controller says that it is to be forgotten.
async fn to_be_forgotten() -> (Fixture, TestMember) {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    assert_eq!(member.commit(assigned.epoch, vec![at(0, 5)]).await, []);
    let forget = v1::GroupPolicyRecord {
        forget: true,
        ..record(&session_timeout(6_000))
    };
    fixture.controller.say(|update| update.groups.push(forget));
    (fixture, member)
}

#[tokio::test]
async fn a_group_whose_resource_is_gone_is_forgotten_once_nobody_is_in_it() {
    let (fixture, mut member) = to_be_forgotten().await;
    assert_eq!(
        member.assigned().await.answer_timeout_ms,
        4_000,
        "the policy holds until then"
    );
    let described = describe(&fixture, "billing")
        .await
        .expect("somebody is in it");
    assert_eq!(described.offsets.len(), 1);
    member.leave(false);
    until("the controller hears that it is gone", async || {
        let report = fixture.controller.group("billing");
        report.is_some_and(|report| report.is_gone)
    })
    .await;
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    // What is declared is remembered until the controller says otherwise.
    let gone = describe(&fixture, "billing").await.expect("declared");
    assert_eq!((gone.offsets, gone.members), (vec![], vec![]), "durably");
    fixture.controller.say(|update| update.all_groups = true);
    until("nobody to declare it", async || {
        let gone = describe(&fixture, "billing").await;
        gone.is_err_and(|error| error.code == ErrorCode::UnknownGroup)
    })
    .await;
}

#[tokio::test]
async fn a_group_that_was_to_be_forgotten_is_not_if_the_next_controller_does_not_say_so() {
    let (fixture, mut member) = to_be_forgotten().await;
    let told = member.assigned().await;
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    let back = v1::JoinGroup {
        epoch: told.epoch,
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), back).await;
    let again = member.assigned().await;
    assert_eq!(again.answer_timeout_ms, 4_000, "the policy still holds");
    member.leave(false);
    // Reported after what is to be forgotten was looked at.
    until("nobody is in it", async || {
        let report = fixture.controller.group("billing");
        report.is_some_and(|report| report.is_gone || report.member_partitions.is_empty())
    })
    .await;
    let kept = describe(&fixture, "billing").await.expect("it is there");
    assert_eq!(kept.offsets.len(), 1);
}
