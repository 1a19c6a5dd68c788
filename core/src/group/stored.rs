//! What of a group outlives its coordinator. Offsets are stored one by one.

use std::collections::BTreeMap;

use super::{
    member::{Held, Member, Profile},
    membership::{Group, Now},
    offsets::Committed,
    policy::GroupPolicy,
};
use crate::ids::{GroupEpoch, MemberId, TopicPartition};

/// A group's members and what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredGroup {
    /// The newest assignment of any member.
    pub epoch: GroupEpoch,
    /// Without members since then, milliseconds since the epoch.
    pub empty_since_ms: u64,
    /// By id.
    pub members: Vec<StoredMember>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// Its name.
    pub id: MemberId,
    /// What it said when it joined.
    pub profile: Profile,
    /// The longest session timeout that it may live by: one before that of the group's policy, or of what it said.
    pub lives_by_ms: u64,
    /// Its newest assignment.
    pub epoch: GroupEpoch,
    /// Each with the assignment since which it counts, and the one that takes it away.
    pub held: Vec<(TopicPartition, GroupEpoch, Option<GroupEpoch>)>,
}

impl Group {
    /// What is to be stored.
    pub fn stored(&self) -> StoredGroup {
        let member = |member: &Member| StoredMember {
            id: member.id,
            profile: member.profile.clone(),
            lives_by_ms: member.lives_by_ms(),
            epoch: member.epoch,
            held: (member.held.iter())
                .map(|(partition, held)| (*partition, held.since, held.revoked))
                .collect(),
        };
        StoredGroup {
            epoch: self.epoch,
            empty_since_ms: self.empty_since_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    /// As it was stored. Every member has its whole session timeout to come back, and keeps what it has until the next [`Group::catalog_changed`].
    ///
    /// # Errors
    /// A partition would have two owners, or an assignment would be newer than the group's.
    pub fn restore(
        policy: GroupPolicy,
        members_max: usize,
        stored: StoredGroup,
        offsets: BTreeMap<TopicPartition, Committed>,
        now: Now,
    ) -> Result<Self, &'static str> {
        let member = |stored: StoredMember| {
            let timeout_ms = policy.session_timeout_ms(&stored.profile);
            let mut member = Member::new(stored.id, stored.profile, timeout_ms, now);
            member.epoch = stored.epoch;
            member.may_live_by(stored.lives_by_ms, now);
            member.held = (stored.held.into_iter())
                .map(|(partition, since, revoked)| (partition, Held { since, revoked }))
                .collect();
            member.target = member.assigned().map(|(partition, _)| partition).collect();
            (member.id, member)
        };
        let members = stored.members.into_iter().map(member).collect();
        let group = Self {
            policy,
            members_max,
            epoch: stored.epoch,
            members,
            offsets,
            empty_since_ms: stored.empty_since_ms,
            is_changed: false,
        };
        group.check_invariants().map(|()| group)
    }
}
