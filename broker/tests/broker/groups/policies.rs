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
    declare_record(fixture, &record(policy));
}

fn declare_record(fixture: &Fixture, record: &v1::GroupPolicyRecord) {
    let record = record.clone();
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

pub(super) fn session_timeout(ms: u64) -> GroupPolicy {
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
async fn a_member_without_topics_is_refused_for_good_once_it_is_known_what_is_declared() {
    let fixture = coordinated().await;
    let refused = async |fixture: &Fixture| {
        let mut nothing = TestMember::join(fixture.channel(), naming(&[], 1)).await;
        nothing.ended().await
    };
    let early = refused(&fixture).await;
    assert_eq!(early.code, ErrorCode::NotYetKnown);
    assert!(early.retriable, "a policy may be there");
    fixture.controller.say(|update| update.all_groups = true);
    until("a clear answer", async || {
        let refused = refused(&fixture).await;
        refused.code == ErrorCode::InvalidRequest && refused.message.contains("at least one topic")
    })
    .await;
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    let again = refused(&fixture).await;
    assert_eq!(again.code, ErrorCode::InvalidRequest, "it is remembered");
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
async fn a_description_says_what_is_in_force_and_what_each_member_reads() {
    let fixture = coordinated().await;
    let orders = TopicId::from_bytes([0x33; 16]);
    fixture.controller.put(orders, Topic::new("orders", &[1]));
    let policy = GroupPolicy {
        strategy: AssignmentStrategy::Range,
        rack_aware: Some(false),
        session_timeout_ms: Some(6_000),
        delivery: Some(Delivery::AtLeastOnce),
        ..topics(&["flights", "orders", "nothing"])
    };
    declared(&fixture, &policy).await;
    let mut one = TestMember::join(fixture.channel(), naming(&["flights", "other"], 1)).await;
    one.assigned().await;
    let mut all = TestMember::join(fixture.channel(), naming(&[], 2)).await;
    all.assigned().await;
    let described = describe(&fixture, "billing").await.expect("known");
    assert_eq!(described.policy, Some((&policy).into()));
    assert_eq!(described.coordinator, Some(1));
    assert_eq!(described.offset_retention_ms, 720 * 3_600_000);
    let ids = |topics: &[TopicId]| -> Vec<_> {
        let bytes = |id: &TopicId| id.as_bytes().to_vec().into();
        topics.iter().map(bytes).collect::<Vec<bytes::Bytes>>()
    };
    let mut both = [TOPIC, orders];
    both.sort_unstable();
    assert_eq!(described.topic_ids, ids(&both));
    let read: Vec<_> = (described.members.into_iter())
        .map(|member| (member.topic_ids, member.session_timeout_ms))
        .collect();
    assert_eq!(read, [(ids(&[TOPIC]), 6_000), (ids(&both), 6_000)]);
    declare(
        &fixture,
        &GroupPolicy {
            offset_retention_ms: Some(7_000),
            ..policy
        },
    );
    until("the other retention", async || {
        let described = describe(&fixture, "billing").await.expect("known");
        described.offset_retention_ms == 7_000
    })
    .await;
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
async fn the_next_coordinator_gives_a_dead_member_up_by_the_policys_session_timeout() {
    let two: Two = failover::coordinated().await;
    let mut dead = TestMember::join(channel(two.broker(1)), joining(1)).await;
    let long = dead.assigned().await;
    let policy = record(&session_timeout(3_000));
    two.controller.say(|update| update.groups.push(policy));
    let short = dead.assigned().await;
    assert!(short.answer_timeout_ms < long.answer_timeout_ms);
    // It says that it has heard of it, which is written by when the commit is answered, and is not heard of again.
    dead.heartbeat(short.epoch);
    assert_eq!(dead.commit(short.epoch, vec![at(0, 1)]).await, []);
    failover::assign_offsets(&two, 2, 2);
    failover::coordinates(&two, 2).await;
    let mut other = TestMember::join(channel(two.broker(2)), joining(2)).await;
    let none = other.assigned().await;
    assert_eq!(partitions(&none), [] as [u32; 0]);
    // The other one's own timeout is far longer than a test waits.
    let talk = other.talk(none.epoch);
    tokio::select! {
        all = within("partitions", other.assigned()) => assert_eq!(partitions(&all), [0, 1]),
        () = talk => unreachable!("it talks on"),
    }
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
async fn policies_with_too_many_patterns_are_ignored_and_members_join_all_the_same() {
    let fixture = coordinated().await;
    // More than both coordinators have room for.
    let many = (0..80).map(|group| v1::GroupPolicyRecord {
        group: format!("many-{group}"),
        policy: Some(v1::GroupPolicy {
            patterns: (0..32).map(|n| format!("t-{group}-{n}")).collect(),
            ..v1::GroupPolicy::default()
        }),
        forget: false,
    });
    let many: Vec<_> = many.collect();
    fixture.controller.say(|update| {
        update.groups = many.clone();
        update.all_groups = true;
    });
    until("they are heard of", async || {
        let is_known = |record: &v1::GroupPolicyRecord| fixture.controller.group(&record.group);
        many.iter().all(|record| is_known(record).is_some())
    })
    .await;
    let pattern = v1::GroupPolicyRecord {
        policy: Some(v1::GroupPolicy {
            patterns: (0..32).map(|n| format!("fl.*|{n}")).collect(),
            ..v1::GroupPolicy::default()
        }),
        ..record(&GroupPolicy::default())
    };
    declare_record(&fixture, &pattern);
    until("the last one is heard of", async || {
        fixture.controller.group("billing").is_some()
    })
    .await;
    let own = v1::JoinGroup {
        patterns: vec!["fli.*".to_owned()],
        ..naming(&[], 1)
    };
    let mut member = TestMember::join(fixture.channel(), own).await;
    assert_eq!(partitions(&member.assigned().await), [0, 1, 2, 3]);
    let mut ignored = TestMember::join(fixture.channel(), naming(&[], 2)).await;
    assert_eq!(ignored.ended().await.code, ErrorCode::InvalidRequest);
    fixture.controller.say(|update| {
        update.groups.push(pattern);
        update.all_groups = true;
    });
    // There is room now.
    until("the policy holds", async || {
        let report = |record: &v1::GroupPolicyRecord| fixture.controller.group(&record.group);
        let mut reports = many.iter().map(report);
        reports.all(|report| report.is_some_and(|report| report.is_gone))
    })
    .await;
    let mut served = TestMember::join(fixture.channel(), naming(&[], 2)).await;
    served.assigned().await;
}

#[tokio::test]
async fn racks_count_unless_the_policy_says_that_they_do_not() {
    for (rack_aware, kept) in [(None, [2, 3]), (Some(false), [0, 1])] {
        let fixture = empty().await;
        fixture.controller.add_broker(v1::BrokerRecord {
            number: 2,
            rack: "west".to_owned(),
            ..v1::BrokerRecord::default()
        });
        let halves = Topic::new("flights", &[1, 1, 2, 2]);
        fixture.controller.put(TOPIC, halves);
        let policy = GroupPolicy {
            rack_aware,
            ..GroupPolicy::default()
        };
        // Told after the racks: whoever knows the policy knows them.
        declared(&fixture, &policy).await;
        let west = v1::JoinGroup {
            rack: "west".to_owned(),
            ..joining(1)
        };
        let mut near = TestMember::join(fixture.channel(), west).await;
        near.assigned().await;
        let mut far = TestMember::join(fixture.channel(), joining(2)).await;
        far.assigned().await;
        assert_eq!(partitions(&near.assigned().await), kept, "{rack_aware:?}");
    }
}
