//! What a policy changes, one scenario each.

use super::{super::*, directed::Fixture, world::*};
use crate::{ErrorCode, ids::GroupEpoch};

const SHORT_MS: u64 = 3_000;

fn reads(topics: &[&str]) -> GroupPolicy {
    GroupPolicy {
        subscription: profile(topics).subscription,
        ..GroupPolicy::default()
    }
}

fn timeout(ms: u64) -> GroupPolicy {
    GroupPolicy {
        session_timeout_ms: Some(ms),
        ..GroupPolicy::default()
    }
}

impl Fixture {
    fn declare(&mut self, policy: GroupPolicy) {
        self.group.set_policy(policy, &self.topics, at(0));
    }

    /// Of a member: by topic, how many partitions.
    fn counts(&self, member: u8) -> Vec<(char, usize)> {
        let has = self.has(member);
        let count = |name: &str| has.iter().filter(|p| p.topic == Topics::id(name)).count();
        let counts = ["a", "b"].map(|name| (name.chars().next().unwrap_or('?'), count(name)));
        counts.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}

#[test]
fn a_member_reads_of_what_the_policy_names_only() {
    let mut f = Fixture::new(&[("a", 2), ("b", 3), ("c", 1)]);
    f.declare(reads(&["a", "b"]));
    f.join(1, profile(&["b", "c"]), 0).expect("joins");
    assert_eq!(f.counts(1), [('b', 3)]);
    f.join(2, profile(&[]), 0)
        .expect("the policy names what it reads");
    f.follow(1, 1);
    assert_eq!(f.counts(2), [('a', 2)], "nobody else may read that");
    f.declare(reads(&["a"]));
    f.follow(1, 2);
    assert_eq!((f.counts(1), f.counts(2)), (vec![], vec![('a', 2)]));
    assert_eq!(f.group.topics(&f.topics), [Topics::id("a")].into());
}

#[test]
fn a_member_without_topics_needs_a_policy_that_names_some() {
    let mut f = Fixture::new(&[("a", 1)]);
    let refused = f.join(1, profile(&[]), 0).expect_err("nothing to read");
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
    assert!(!f.group.exists());
}

#[test]
fn a_group_that_nobody_is_in_reads_what_its_policy_names() {
    let mut f = Fixture::new(&[("a", 1), ("b", 1)]);
    assert!(f.group.topics(&f.topics).is_empty());
    f.declare(reads(&["b", "not there"]));
    assert_eq!(f.group.topics(&f.topics), [Topics::id("b")].into());
}

#[test]
fn another_strategy_on_a_live_group_takes_effect_one_owner_at_a_time() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.declare(GroupPolicy {
        strategy: AssignmentStrategy::RoundRobin,
        ..GroupPolicy::default()
    });
    f.join(2, profile(&["a"]), 0).expect("joins");
    f.follow(1, 1);
    let indexes = |f: &Fixture, m| f.has(m).iter().map(|p| p.partition.0).collect::<Vec<_>>();
    assert_eq!((indexes(&f, 1), indexes(&f, 2)), (vec![0, 2], vec![1, 3]));
    f.declare(GroupPolicy {
        strategy: AssignmentStrategy::Range,
        ..GroupPolicy::default()
    });
    assert_eq!((indexes(&f, 1), indexes(&f, 2)), (vec![0], vec![3]));
    f.follow(1, 2);
    f.follow(2, 2);
    assert_eq!((indexes(&f, 1), indexes(&f, 2)), (vec![0, 1], vec![2, 3]));
}

#[test]
fn what_members_are_told_comes_with_a_new_assignment_and_moves_nothing() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.join(2, profile(&["a"]), 0).expect("joins");
    f.follow(1, 1);
    let (before, has) = (f.epoch(1), (f.has(1), f.has(2)));
    f.group.take_changed();
    let policy = GroupPolicy {
        delivery: Some(Delivery::AtMostOnce),
        ..GroupPolicy::default()
    };
    f.declare(policy.clone());
    assert!(f.group.take_changed(), "it is to be stored");
    assert!(f.epoch(1) > before);
    assert_eq!((f.has(1), f.has(2)), has);
    let own = f.has(1)[0];
    assert_eq!(
        f.group.committed(own),
        None,
        "and commits of the assignment before still count"
    );
    let offset = Committed {
        offset: crate::ids::Offset(1),
        metadata: String::new(),
        at_ms: 0,
    };
    let by = Commit::Member(id(1), before);
    assert_eq!(f.group.commit(by, own, offset), Ok(()));
    let told = f.epoch(1);
    f.declare(policy);
    f.declare(GroupPolicy {
        delivery: Some(Delivery::AtMostOnce),
        offset_retention_ms: Some(1),
        ..GroupPolicy::default()
    });
    assert_eq!(f.epoch(1), told, "members have nothing to hear of that");
}

#[test]
fn a_session_timeout_of_the_policy_comes_before_the_members_own() {
    let mut f = Fixture::new(&[("a", 1)]);
    f.declare(timeout(SHORT_MS));
    f.join(1, profile(&["a"]), 0).expect("joins");
    assert_eq!(f.group.session_timeout_ms_min(), Some(SHORT_MS));
    assert_eq!(f.group.expire(&f.topics, at(SHORT_MS - 1)), []);
    assert_eq!(f.group.expire(&f.topics, at(SHORT_MS)), [id(1)]);
}

#[test]
fn a_shorter_session_timeout_counts_once_the_member_carries_it_out() {
    let mut f = Fixture::new(&[("a", 1)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    let before = f.epoch(1);
    f.declare(timeout(SHORT_MS));
    assert!(f.epoch(1) > before, "it is told");
    // It was answered, and has not heard of the shorter one: it goes by the longer.
    let heard = f.group.heartbeat(id(1), before, at(1_000));
    assert_eq!(heard, Ok(()));
    let late = at(1_000 + SESSION_TIMEOUT_MS - 1);
    assert_eq!(f.group.expire(&f.topics, late), []);
    f.follow(1, late.ms);
    f.follow(1, late.ms + SESSION_TIMEOUT_MS - SHORT_MS);
    let over = at(late.ms + SESSION_TIMEOUT_MS);
    assert_eq!(f.group.expire(&f.topics, over), [id(1)]);
}

#[test]
fn a_new_coordinator_with_a_shorter_timeout_gives_members_the_one_they_live_by() {
    let mut f = Fixture::new(&[("a", 1)]);
    f.declare(timeout(20_000));
    f.join(1, profile(&["a"]), 0).expect("joins");
    let stored = f.group.stored();
    let restored = Group::restore(
        timeout(SHORT_MS),
        MEMBERS_MAX,
        stored,
        [].into(),
        at(50_000),
    );
    f.group = restored.expect("whole");
    assert_eq!(f.group.next_deadline_ms(), Some(70_000));
    f.come_back(1, profile(&["a"]), 1, 60_000).expect("known");
    f.group
        .heartbeat(id(1), GroupEpoch(1), at(69_000))
        .expect("a member");
    assert_eq!(f.group.next_deadline_ms(), Some(69_000 + SHORT_MS));
}

#[test]
fn racks_count_unless_the_policy_says_that_they_do_not() {
    let policy = |rack_aware| GroupPolicy {
        rack_aware,
        ..GroupPolicy::default()
    };
    let member = Profile {
        rack: Some("east".to_owned()),
        ..profile(&["a"])
    };
    for (rack_aware, counts) in [(None, true), (Some(true), true), (Some(false), false)] {
        assert_eq!(policy(rack_aware).rack(&member).is_some(), counts);
    }
}

#[test]
fn offsets_are_kept_for_as_long_as_the_policy_says() {
    let mut f = Fixture::new(&[]);
    let wall_ms = at(0).wall_ms;
    f.declare(GroupPolicy {
        offset_retention_ms: Some(50),
        ..GroupPolicy::default()
    });
    assert!(!f.group.is_dead(wall_ms + 49, 1));
    assert!(f.group.is_dead(wall_ms + 50, 1_000));
}
