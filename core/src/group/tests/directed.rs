//! One scenario each.

use super::{super::*, world::*};
use crate::{
    ErrorCode,
    ids::{GroupEpoch, MemberId, Offset, TopicPartition},
};

pub(super) struct Fixture {
    pub(super) topics: Topics,
    pub(super) group: Group,
}

impl Fixture {
    pub(super) fn new(topics: &[(&str, u32)]) -> Self {
        Self {
            topics: Topics::of(topics),
            group: Group::new(GroupPolicy::default(), MEMBERS_MAX, at(0)),
        }
    }

    pub(super) fn join(&mut self, member: u8, profile: Profile, ms: u64) -> Result<(), Refusal> {
        self.come_back(member, profile, 0, ms)
    }

    pub(super) fn come_back(
        &mut self,
        member: u8,
        profile: Profile,
        epoch: u64,
        ms: u64,
    ) -> Result<(), Refusal> {
        let join = Join {
            member: id(member),
            profile,
            epoch: GroupEpoch(epoch),
        };
        self.group.join(join, &self.topics, at(ms))
    }

    pub(super) fn epoch(&self, member: u8) -> GroupEpoch {
        self.group.member(id(member)).expect("a member").epoch()
    }

    /// Carries out whatever it was told.
    pub(super) fn follow(&mut self, member: u8, ms: u64) {
        let epoch = self.epoch(member);
        self.group
            .heartbeat(id(member), epoch, at(ms))
            .expect("a member");
    }

    pub(super) fn has(&self, member: u8) -> Vec<TopicPartition> {
        let member = self.group.member(id(member)).expect("a member");
        member.assigned().map(|(partition, _)| partition).collect()
    }

    pub(super) fn commit(
        &mut self,
        member: u8,
        epoch: GroupEpoch,
        partition: TopicPartition,
        offset: u64,
    ) -> Result<(), Refusal> {
        self.group.commit(
            Commit::Member(id(member), epoch),
            partition,
            committed(offset),
        )
    }
}

fn committed(offset: u64) -> Committed {
    Committed {
        offset: Offset(offset),
        metadata: String::new(),
        at_ms: 0,
    }
}

fn named(instance: &str) -> Profile {
    Profile {
        instance_id: Some(instance.to_owned()),
        ..profile(&["a"])
    }
}

#[test]
fn a_newcomer_gets_a_partition_once_the_one_before_gave_it_up() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    assert_eq!(f.has(1).len(), 4);
    let before = f.epoch(1);
    f.join(2, profile(&["a"]), 0).expect("joins");
    assert_eq!(
        (f.has(1).len(), f.has(2).len()),
        (2, 0),
        "the other two are nobody's yet"
    );
    assert_eq!(f.group.state(), GroupState::Assigning);
    f.group.heartbeat(id(1), before, at(1)).expect("a member");
    assert_eq!(
        f.has(2).len(),
        0,
        "that heartbeat is of the assignment before"
    );
    f.follow(1, 2);
    assert_eq!((f.has(1).len(), f.has(2).len()), (2, 2));
    assert_eq!(f.group.state(), GroupState::Stable);
}

#[test]
fn what_is_being_given_up_may_still_be_committed() {
    let mut f = Fixture::new(&[("a", 2)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    let (epoch, all) = (f.epoch(1), f.has(1));
    f.join(2, profile(&["a"]), 0).expect("joins");
    let kept = f.has(1);
    let lost = all
        .into_iter()
        .find(|p| !kept.contains(p))
        .expect("one goes");
    assert_eq!(f.commit(1, epoch, lost, 7), Ok(()));
    f.follow(1, 1);
    let epoch = f.epoch(1);
    assert_eq!(f.commit(1, epoch, lost, 8), Err(Refusal::NotAssigned));
    assert_eq!(f.group.committed(lost).map(|c| c.offset), Some(Offset(7)));
}

#[test]
fn a_member_that_is_not_heard_of_loses_its_partitions_and_is_told() {
    let mut f = Fixture::new(&[("a", 2)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.join(2, profile(&["a"]), 0).expect("joins");
    f.follow(2, SESSION_TIMEOUT_MS - 1);
    assert_eq!(f.group.expire(&f.topics, at(SESSION_TIMEOUT_MS - 1)), []);
    assert_eq!(f.group.expire(&f.topics, at(SESSION_TIMEOUT_MS)), [id(1)]);
    assert_eq!(f.has(2).len(), 2);
    let late = f
        .group
        .heartbeat(id(1), GroupEpoch(1), at(SESSION_TIMEOUT_MS));
    assert_eq!(late.map_err(Refusal::code), Err(ErrorCode::UnknownMember));
    let late = f.commit(1, GroupEpoch(1), partition("a", 0), 9);
    assert_eq!(late, Err(Refusal::UnknownMember));
    let back = f.come_back(1, profile(&["a"]), 1, SESSION_TIMEOUT_MS);
    assert_eq!(
        back,
        Err(Refusal::UnknownMember),
        "it believes to have something"
    );
}

/// Or a partition would wait for its lost owner for as long as its coordinator is busy now and then.
#[test]
fn time_in_which_nobody_was_heard_is_given_back_and_no_more() {
    let mut f = Fixture::new(&[("a", 2)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.group.disconnected(id(1));
    let quiet = SESSION_TIMEOUT_MS / 4;
    for beat in 1..=7 {
        // Every other quarter of its session timeout.
        let ms = if beat % 2 == 0 { quiet } else { 0 };
        f.group.give_time(ms, at(beat * quiet));
        assert_eq!(f.group.expire(&f.topics, at(beat * quiet - 1)), []);
    }
    assert_eq!(f.group.expire(&f.topics, at(7 * quiet)), [id(1)]);
}

#[test]
fn a_static_member_that_restarts_moves_nothing() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, named("x"), 0).expect("joins");
    f.join(2, named("y"), 0).expect("joins");
    f.follow(1, 1);
    let (x, y, y_epoch) = (f.has(1), f.has(2), f.epoch(2));
    f.group.leave(id(1), true, &f.topics, at(10));
    f.join(3, named("x"), 20).expect("joins");
    assert_eq!((f.has(3), f.has(2)), (x, y));
    assert_eq!(f.epoch(2), y_epoch, "the other one hears nothing of it");
    assert!(f.group.member(id(1)).is_none());
    let since = f
        .group
        .member(id(3))
        .expect("a member")
        .assigned()
        .map(|(_, since)| since);
    assert!(
        since.into_iter().all(|since| since == f.epoch(3)),
        "it begins at what is committed"
    );
}

#[test]
fn an_instance_id_is_given_once() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, named("x"), 0).expect("joins");
    assert_eq!(f.join(2, named("x"), 1), Err(Refusal::InstanceIdInUse));
    f.group.disconnected(id(1));
    f.join(2, named("x"), 2)
        .expect("the first one's connection is gone");
    let late = f.come_back(1, named("x"), 1, 3);
    assert_eq!(late, Err(Refusal::UnknownMember), "its place is taken");
}

#[test]
fn a_reset_refuses_commits_in_flight_and_says_where_to_go_on() {
    let mut f = Fixture::new(&[("a", 2)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    let (before, zero, one) = (f.epoch(1), partition("a", 0), partition("a", 1));
    f.commit(1, before, zero, 100).expect("its own");
    f.group.reset([(zero, committed(5))]);
    assert_eq!(f.commit(1, before, zero, 101), Err(Refusal::NotAssigned));
    assert_eq!(
        f.commit(1, before, one, 3),
        Ok(()),
        "that one was not reset"
    );
    let (epoch, told) = assignment(&f.group, id(1)).expect("a member");
    assert!(epoch > before);
    assert_eq!(told[&zero], (epoch, Some(Offset(5))));
    assert!(told[&one].0 <= before, "it goes on where it is");
    assert_eq!(f.commit(1, epoch, zero, 6), Ok(()));
}

#[test]
fn only_a_group_without_members_is_committed_from_outside() {
    let mut f = Fixture::new(&[("a", 1)]);
    let zero = partition("a", 0);
    f.group
        .commit(Commit::Outside, zero, committed(4))
        .expect("nobody is there");
    f.join(1, profile(&["a"]), 0).expect("joins");
    let refused = f.group.commit(Commit::Outside, zero, committed(5));
    assert_eq!(refused, Err(Refusal::HasMembers));
    assert_eq!(f.group.committed(zero).map(|c| c.offset), Some(Offset(4)));
}

#[test]
fn a_partition_is_committed_by_its_member_only() {
    let mut f = Fixture::new(&[("a", 2)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.join(2, profile(&["a"]), 0).expect("joins");
    f.follow(1, 1);
    let (ones, epoch) = (f.has(1)[0], f.epoch(2));
    assert_eq!(f.commit(2, epoch, ones, 1), Err(Refusal::NotAssigned));
    assert_eq!(
        f.commit(2, GroupEpoch(epoch.0 + 1), f.has(2)[0], 1),
        Err(Refusal::UnknownMember),
        "an assignment that was never made"
    );
}

#[test]
fn new_partitions_and_new_topics_are_picked_up() {
    let mut f = Fixture::new(&[("orders.eu", 1)]);
    let mut profile = profile(&[]);
    profile.subscription.patterns.insert("orders.*".to_owned());
    f.join(1, profile, 0).expect("joins");
    assert_eq!(f.has(1).len(), 1);
    f.topics = Topics::of(&[("orders.eu", 2), ("orders.us", 3), ("other", 1)]);
    f.group.catalog_changed(&f.topics);
    assert_eq!(f.has(1).len(), 5);
}

#[test]
fn a_member_of_topics_that_are_not_there_waits() {
    let mut f = Fixture::new(&[]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    assert_eq!(
        assignment(&f.group, id(1)),
        Some((GroupEpoch(1), [].into()))
    );
    assert_eq!(f.group.state(), GroupState::Stable);
    f.topics = Topics::of(&[("a", 2)]);
    f.group.catalog_changed(&f.topics);
    assert_eq!(f.has(1).len(), 2);
}

#[test]
fn a_group_takes_so_many_members() {
    let mut f = Fixture::new(&[("a", 1)]);
    for member in 0..MEMBERS_MAX as u8 {
        f.join(member, profile(&["a"]), 0).expect("joins");
    }
    let refused = f.join(MEMBERS_MAX as u8, profile(&["a"]), 0);
    assert_eq!(
        refused.map_err(Refusal::code),
        Err(ErrorCode::ResourceExhausted)
    );
}

#[test]
fn a_new_coordinator_keeps_owners_and_gives_them_time() {
    let mut f = Fixture::new(&[("a", 4)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    f.join(2, profile(&["a"]), 0).expect("joins");
    let (ones, epoch) = (f.has(1), f.epoch(1));
    let offsets = f.group.offsets().map(|(p, c)| (p, c.clone())).collect();
    let now = at(100_000);
    f.group = Group::restore(
        GroupPolicy::default(),
        MEMBERS_MAX,
        f.group.stored(),
        offsets,
        now,
    )
    .expect("whole");
    f.group.catalog_changed(&f.topics);
    assert_eq!(
        (f.has(1), f.has(2).len()),
        (ones, 0),
        "what is being given up is still nobody's"
    );
    assert_eq!(
        f.group
            .expire(&f.topics, at(100_000 + SESSION_TIMEOUT_MS - 1)),
        [] as [MemberId; 0]
    );
    f.come_back(1, profile(&["a"]), epoch.0, 100_001)
        .expect("known");
    assert_eq!(f.has(2).len(), 2);
}

#[test]
fn a_stored_group_that_contradicts_itself_is_refused() {
    let mut f = Fixture::new(&[("a", 1)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    let mut stored = f.group.stored();
    let mut twin = stored.members[0].clone();
    twin.id = id(2);
    stored.members.push(twin);
    let restored = Group::restore(
        GroupPolicy::default(),
        MEMBERS_MAX,
        stored,
        [].into(),
        at(0),
    );
    assert_eq!(restored.err(), Some("a partition has two owners"));
}

#[test]
fn a_group_is_dead_when_nobody_was_in_it_for_the_retention() {
    let mut f = Fixture::new(&[("a", 1)]);
    f.join(1, profile(&["a"]), 0).expect("joins");
    let left = at(50_000);
    f.commit(1, GroupEpoch(1), partition("a", 0), 1)
        .expect("its own");
    assert!(!f.group.is_dead(left.wall_ms, 1_000), "it has a member");
    f.group.leave(id(1), false, &f.topics, left);
    assert!(!f.group.is_dead(left.wall_ms + 999, 1_000));
    assert!(f.group.is_dead(left.wall_ms + 1_000, 1_000));
}
