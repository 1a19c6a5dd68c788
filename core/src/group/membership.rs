//! Joining, staying, leaving.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    assignor::Topic,
    member::{Member, Profile, Subscription},
    offsets::Offsets,
    policy::GroupPolicy,
};
use crate::{
    ErrorCode,
    ids::{GroupEpoch, MemberId, TopicId},
};

/// What topics there are, as the coordinator knows it.
pub trait Catalog {
    /// Those of a subscription that are there.
    fn matching(&self, subscription: &Subscription) -> BTreeSet<TopicId>;
    /// The partitions of one of them.
    fn topic(&self, id: TopicId) -> Option<Topic>;
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Of a clock that never goes back: deadlines.
    pub ms: u64,
    /// Since the epoch: what outlives the coordinator.
    pub wall_ms: u64,
}

/// A member that joins, or comes back.
#[derive(Debug, Clone)]
pub struct Join {
    /// Drawn by the member for itself.
    pub member: MemberId,
    /// What it says of itself.
    pub profile: Profile,
    /// The last assignment that it carries out. 0: it processes nothing.
    pub epoch: GroupEpoch,
}

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It never joined, or it was given up.
    #[error(
        "the group does not know this member (any more): stop processing, and join with a new member id"
    )]
    UnknownMember,
    /// There is a connected one of this name.
    #[error(
        "another member with this instance id is connected: give each member an instance id of its own, or stop that one"
    )]
    InstanceIdInUse,
    /// Neither the member nor the group's policy names topics.
    #[error(
        "a member reads at least one topic: name topics, or give patterns; the group's policy, which could name them instead, does not"
    )]
    NothingToRead,
    /// As many members as there may be.
    #[error("the group has as many members as it may have: let others leave first")]
    GroupFull,
    /// Not given to this member, or with a later assignment than the one that the commit is from.
    #[error(
        "the partition is not this member's, or its offset was reset since: wait for the next assignment, nothing was committed"
    )]
    NotAssigned,
    /// Whoever commits without being a member would overrule the members.
    #[error("the group has members: let them commit, or reset the offsets")]
    HasMembers,
    /// Nobody joined or committed.
    #[error("no group of this name has members or offsets; see taffrail groups list")]
    UnknownGroup,
}

impl Refusal {
    /// Its stable code.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::UnknownMember => ErrorCode::UnknownMember,
            Self::InstanceIdInUse => ErrorCode::InstanceIdInUse,
            Self::NothingToRead => ErrorCode::InvalidRequest,
            Self::GroupFull => ErrorCode::ResourceExhausted,
            Self::NotAssigned => ErrorCode::NotAssigned,
            Self::HasMembers => ErrorCode::GroupNotEmpty,
            Self::UnknownGroup => ErrorCode::UnknownGroup,
        }
    }
}

/// How a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members.
    Empty,
    /// Partitions are on their way from one member to another.
    Assigning,
    /// Every member has what it is to have.
    Stable,
}

/// Members that were not heard of in time.
pub type Expired = Vec<MemberId>;

/// A group, as its coordinator has it.
///
/// Events change it; the caller stores [`Group::stored`] when [`Group::take_changed`] says so, and tells members of their assignments once that is
/// durable: what a member is told outlives the coordinator.
///
/// Invariant: a partition is held by at most one member ([`Group::assert_invariants`]).
#[derive(Debug)]
pub struct Group {
    pub(super) policy: GroupPolicy,
    pub(super) members_max: usize,
    /// The newest assignment of any member.
    pub(super) epoch: GroupEpoch,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) offsets: Offsets,
    /// Without members since then, milliseconds since the epoch of the wall clock.
    pub(super) empty_since_ms: u64,
    pub(super) is_changed: bool,
}

impl Group {
    /// One without members.
    pub fn new(policy: GroupPolicy, members_max: usize, now: Now) -> Self {
        Self {
            policy,
            members_max,
            epoch: GroupEpoch(0),
            members: BTreeMap::new(),
            offsets: Offsets::default(),
            empty_since_ms: now.wall_ms,
            is_changed: false,
        }
    }

    /// What is declared of it from now on. Members hear of what concerns them with a new assignment; nobody gives up more than that takes.
    pub fn set_policy(&mut self, policy: GroupPolicy, catalog: &impl Catalog, now: Now) {
        if self.policy == policy {
            return;
        }
        let says_the_same = self.policy.says_as(&policy);
        self.policy = policy;
        let next = GroupEpoch(self.epoch.0 + 1);
        for member in self.members.values_mut() {
            let timeout_ms = self.policy.session_timeout_ms(&member.profile);
            if member.set_timeout(timeout_ms, next, now) || !says_the_same {
                member.epoch = next;
                self.epoch = next;
                self.is_changed = true;
            }
        }
        self.rebalance(catalog);
    }

    /// What is declared of it.
    pub const fn policy(&self) -> &GroupPolicy {
        &self.policy
    }

    /// The topics there are of those that its members read; without members, that its policy names.
    pub fn topics(&self, catalog: &impl Catalog) -> BTreeSet<TopicId> {
        if self.members.is_empty() {
            return catalog.matching(&self.policy.subscription);
        }
        let members = self.members.values();
        members.flat_map(|m| m.topics.iter().copied()).collect()
    }

    /// A member joins, or one that is known has a new connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownMember`]: it believes to be one. [`Refusal::InstanceIdInUse`], [`Refusal::GroupFull`], [`Refusal::NothingToRead`].
    pub fn join(&mut self, join: Join, catalog: &impl Catalog, now: Now) -> Result<(), Refusal> {
        let Join {
            member: id,
            profile,
            epoch,
        } = join;
        if profile.subscription.is_empty() && self.policy.subscription.is_empty() {
            return Err(Refusal::NothingToRead);
        }
        let timeout_ms = self.policy.session_timeout_ms(&profile);
        if let Some(member) = self.members.get_mut(&id) {
            if epoch > member.epoch || profile.instance_id != member.profile.instance_id {
                return Err(Refusal::UnknownMember);
            }
            let is_same = member.profile == profile;
            self.is_changed |= !is_same;
            member.profile = profile;
            member.connected(timeout_ms);
            member.heard(now);
            let freed = match epoch {
                GroupEpoch(0) => member.is_idle(),
                epoch => member.applied(epoch),
            };
            self.is_changed |= freed;
            if is_same {
                self.reconcile();
            } else {
                self.rebalance(catalog);
            }
            return Ok(());
        }
        if epoch > GroupEpoch(0) {
            return Err(Refusal::UnknownMember);
        }
        let mut member = Member::new(id, profile, timeout_ms, now);
        member.is_connected = true;
        match self.predecessor(&member.profile)? {
            Some(predecessor) => self.succeed(&predecessor, member),
            None if self.members.len() >= self.members_max => return Err(Refusal::GroupFull),
            None => {
                self.members.insert(id, member);
            }
        }
        self.is_changed = true;
        self.rebalance(catalog);
        Ok(())
    }

    /// The member whose place a static one takes.
    fn predecessor(&self, profile: &Profile) -> Result<Option<MemberId>, Refusal> {
        let instance = &profile.instance_id;
        let mut members = self.members.values();
        let found = members.find(|m| instance.is_some() && m.profile.instance_id == *instance);
        match found {
            Some(member) if member.is_connected => Err(Refusal::InstanceIdInUse),
            found => Ok(found.map(Member::id)),
        }
    }

    /// Its partitions go over as they are: the one before has no connection, and instance ids are given once.
    fn succeed(&mut self, predecessor: &MemberId, mut member: Member) {
        let Some(mut before) = self.members.remove(predecessor) else {
            return;
        };
        before.is_idle();
        self.epoch.0 += 1;
        member.epoch = self.epoch;
        member.held = before.held;
        for held in member.held.values_mut() {
            held.since = self.epoch;
        }
        self.members.insert(member.id, member);
    }

    /// A member is alive, and carries out that assignment.
    ///
    /// # Errors
    /// [`Refusal::UnknownMember`].
    pub fn heartbeat(
        &mut self,
        id: MemberId,
        applied: GroupEpoch,
        now: Now,
    ) -> Result<(), Refusal> {
        let member = self.members.get_mut(&id).ok_or(Refusal::UnknownMember)?;
        if applied > member.epoch {
            return Err(Refusal::UnknownMember);
        }
        // The next coordinator is to know it too.
        self.is_changed |= member.confirms(applied);
        member.heard(now);
        if member.applied(applied) {
            self.is_changed = true;
            self.reconcile();
        }
        Ok(())
    }

    /// A member's connection is gone. It has until its deadline to come back.
    pub fn disconnected(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_connected = false;
        }
    }

    /// A member goes. A static one that comes back keeps its place for its session timeout.
    pub fn leave(&mut self, id: MemberId, comes_back: bool, catalog: &impl Catalog, now: Now) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if comes_back && member.profile.instance_id.is_some() {
            member.is_connected = false;
            member.heard(now);
            if member.is_idle() {
                self.is_changed = true;
                self.reconcile();
            }
            return;
        }
        self.remove([id], catalog, now);
    }

    /// Gives up who was not heard of in time.
    pub fn expire(&mut self, catalog: &impl Catalog, now: Now) -> Expired {
        let late = self.members.values().filter(|m| m.deadline_ms <= now.ms);
        let expired: Expired = late.map(Member::id).collect();
        if !expired.is_empty() {
            self.remove(expired.iter().copied(), catalog, now);
        }
        expired
    }

    fn remove(
        &mut self,
        ids: impl IntoIterator<Item = MemberId>,
        catalog: &impl Catalog,
        now: Now,
    ) {
        for id in ids {
            self.members.remove(&id);
        }
        self.is_changed = true;
        if self.members.is_empty() {
            self.empty_since_ms = now.wall_ms;
        }
        self.rebalance(catalog);
    }

    /// Members could not be heard for the last `ms`: that time does not count. Never more, or who is gone would stay for as long as that happens now and
    /// then.
    pub fn give_time(&mut self, ms: u64, now: Now) {
        for member in self.members.values_mut() {
            member.give_time(ms, now);
        }
    }

    /// When the next member is given up unless it is heard of.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.members.values().map(|m| m.deadline_ms).min()
    }

    /// The shortest session timeout of its members.
    pub fn session_timeout_ms_min(&self) -> Option<u64> {
        let timeouts = self.members.values().map(Member::session_timeout_ms);
        timeouts.min()
    }

    /// Its members.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// One of them.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The newest assignment of any member.
    pub const fn epoch(&self) -> GroupEpoch {
        self.epoch
    }

    /// How it is.
    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.members.values().all(Member::is_settled) {
            GroupState::Stable
        } else {
            GroupState::Assigning
        }
    }

    /// Is there something to store?
    pub const fn has_changed(&self) -> bool {
        self.is_changed
    }

    /// The same, and it will be stored.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }
}
