//! What a ConsumerGroup declares, told by the controller.

use taffrail_core::group::{AssignmentStrategy, Delivery, GroupPolicy, Subscription};

use super::{failover, *};
use crate::{
    fixture::{channel, within},
    replication::Two,
};

/// Of group `billing`.
pub(super) fn record(policy: &GroupPolicy) -> v1::GroupPolicyRecord {
    v1::GroupPolicyRecord {
        group: "billing".to_owned(),
        policy: Some(policy.into()),
        forget: false,
    }
}

pub(super) fn declare(fixture: &Fixture, policy: &GroupPolicy) {
    let record = record(policy);
    fixture.controller.say(|update| update.groups.push(record));
}

/// Before anybody joins: waits until the coordinator knows it.
pub(super) async fn declared(fixture: &Fixture, policy: &GroupPolicy) {
    declare(fixture, policy);
    until("the policy is known", async || {
        fixture.controller.group("billing").is_some()
    })
    .await;
}

pub(super) fn strategy(strategy: AssignmentStrategy) -> GroupPolicy {
    GroupPolicy {
        strategy,
        ..GroupPolicy::default()
    }
}

pub(super) fn topics(topics: &[&str]) -> GroupPolicy {
    GroupPolicy {
        subscription: Subscription {
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            ..Subscription::default()
        },
        ..GroupPolicy::default()
    }
}

fn session_timeout(ms: u64) -> GroupPolicy {
    GroupPolicy {
        session_timeout_ms: Some(ms),
        ..GroupPolicy::default()
    }
}

fn naming(topics: &[&str], member: u8) -> v1::JoinGroup {
    v1::JoinGroup {
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        ..joining(member)
    }
}

/// Two members that have two of four partitions each, as told last.
async fn halves(fixture: &Fixture) -> [(TestMember, v1::Assigned); 2] {
    let mut first = TestMember::join(fixture.channel(), joining(1)).await;
    first.assigned().await;
    let mut second = TestMember::join(fixture.channel(), joining(2)).await;
    second.assigned().await;
    let half = first.assigned().await;
    first.heartbeat(half.epoch);
    let other = second.assigned().await;
    second.heartbeat(other.epoch);
    [(first, half), (second, other)]
}

#[tokio::test]
async fn another_strategy_on_a_live_group_changes_who_reads_what_one_owner_at_a_time() {
    let fixture = coordinated().await;
    declared(&fixture, &strategy(AssignmentStrategy::Range)).await;
    let [(mut first, low), (mut second, high)] = halves(&fixture).await;
    assert_eq!(
        (partitions(&low), partitions(&high)),
        (vec![0, 1], vec![2, 3])
    );
    declare(&fixture, &strategy(AssignmentStrategy::RoundRobin));
    let (one, other) = (first.assigned().await, second.assigned().await);
    assert_eq!((partitions(&one), partitions(&other)), (vec![0], vec![3]));
    first.heartbeat(one.epoch);
    assert_eq!(partitions(&second.assigned().await), [1, 3]);
    second.heartbeat(other.epoch);
    assert_eq!(partitions(&first.assigned().await), [0, 2]);
}

#[tokio::test]
async fn members_read_of_the_topics_that_the_policy_names_only() {
    let fixture = coordinated().await;
    let orders = TopicId::from_bytes([0x33; 16]);
    fixture.controller.put(orders, Topic::new("orders", &[1]));
    let mut nothing = TestMember::join(fixture.channel(), naming(&[], 1)).await;
    let refused = nothing.ended().await;
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    assert!(refused.message.contains("policy"), "{refused}");
    let mut member = TestMember::join(fixture.channel(), naming(&["flights", "orders"], 2)).await;
    within("both topics", async {
        while member.assigned().await.partitions.len() < 5 {}
    })
    .await;
    declare(&fixture, &topics(&["orders"]));
    let bounded = member.assigned().await;
    assert_eq!(bounded.partitions.len(), 1);
    assert_eq!(bounded.partitions[0].topic, "orders");
    member.leave(false);
    let mut any = TestMember::join(fixture.channel(), naming(&[], 3)).await;
    assert_eq!(any.assigned().await.partitions[0].topic, "orders");
}

#[tokio::test]
async fn a_session_timeout_of_the_policy_is_told_and_counts() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let long = member.assigned().await;
    declare(&fixture, &session_timeout(3_000));
    let short = member.assigned().await;
    assert_eq!(short.answer_timeout_ms, 2_000);
    assert!(short.epoch > long.epoch);
    assert_eq!(partitions(&short), partitions(&long), "nothing moved");
    let mut silent = TestMember::join(fixture.channel(), joining(2)).await;
    assert_eq!(silent.assigned().await.answer_timeout_ms, 2_000);
    let ended = tokio::select! {
        ended = silent.ended() => ended,
        () = member.talk(short.epoch) => unreachable!("it talks on"),
    };
    assert_eq!(ended.code, ErrorCode::UnknownMember);
}

#[tokio::test]
async fn members_are_told_what_the_policy_says_to_them() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let before = member.assigned().await;
    assert_eq!(before.policy, None);
    let policy = GroupPolicy {
        delivery: Some(Delivery::AtMostOnce),
        ..GroupPolicy::default()
    };
    declare(&fixture, &policy);
    let told = member.assigned().await;
    let delivery = told.policy.map(|policy| policy.delivery);
    assert_eq!(delivery, Some(v1::DeliveryPolicy::AtMostOnce.into()));
    assert!(told.epoch > before.epoch);
    fixture.controller.say(|update| {
        update.removed_groups.push("billing".to_owned());
    });
    assert_eq!(member.assigned().await.policy, None);
}

#[tokio::test]
async fn a_policy_outlives_the_broker_and_a_controller_that_does_not_know_it() {
    let fixture = coordinated().await;
    declared(&fixture, &session_timeout(6_000)).await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    member.assigned().await;
    member.leave(false);
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    let mut member = TestMember::join(fixture.channel(), joining(2)).await;
    assert_eq!(member.assigned().await.answer_timeout_ms, 4_000);
    // One that knows all says so.
    fixture.controller.say(|update| update.all_groups = true);
    assert_eq!(member.assigned().await.answer_timeout_ms, 30_000);
}

#[tokio::test]
async fn the_next_coordinator_knows_the_policy() {
    let two: Two = failover::coordinated().await;
    let policy = record(&session_timeout(6_000));
    two.controller.say(|update| update.groups.push(policy));
    let mut member = TestMember::join(channel(two.broker(1)), joining(1)).await;
    within("the policy", async {
        while member.assigned().await.answer_timeout_ms != 4_000 {}
    })
    .await;
    failover::assign_offsets(&two, 2, 2);
    failover::coordinates(&two, 2).await;
    let mut member = TestMember::join(channel(two.broker(2)), joining(1)).await;
    assert_eq!(member.assigned().await.answer_timeout_ms, 4_000);
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_keeps_nothing_else_from_being_heard() {
    let fixture = coordinated().await;
    let odd = v1::GroupPolicyRecord {
        policy: Some(v1::GroupPolicy {
            patterns: vec!["orders(".to_owned()],
            ..v1::GroupPolicy::default()
        }),
        ..record(&GroupPolicy::default())
    };
    let good = v1::GroupPolicyRecord {
        group: "other".to_owned(),
        ..record(&session_timeout(6_000))
    };
    fixture.controller.say(|update| {
        update.groups.extend([odd, good]);
    });
    let other = v1::JoinGroup {
        group: "other".to_owned(),
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), other).await;
    within("the other one's policy", async {
        while member.assigned().await.answer_timeout_ms != 4_000 {}
    })
    .await;
}

#[tokio::test]
async fn a_group_whose_resource_is_gone_is_forgotten_once_nobody_is_in_it() {
    let fixture = coordinated().await;
    let mut member = TestMember::join(fixture.channel(), joining(1)).await;
    let assigned = member.assigned().await;
    assert_eq!(member.commit(assigned.epoch, vec![at(0, 5)]).await, []);
    let forget = v1::GroupPolicyRecord {
        forget: true,
        ..record(&session_timeout(6_000))
    };
    fixture.controller.say(|update| update.groups.push(forget));
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
    let gone = describe(&fixture, "billing").await.expect_err("forgotten");
    assert_eq!(gone.code, ErrorCode::UnknownGroup, "durably");
    fixture.controller.say(|update| update.all_groups = true);
}
