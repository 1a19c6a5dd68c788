//! One consumer of a group, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{assignor::Reader, membership::Now};
use crate::ids::{GroupEpoch, MemberId, TopicId, TopicPartition};

/// Which topics a member reads: names, whether they are there already or not, and patterns of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Names.
    pub topics: BTreeSet<String>,
    /// Regular expressions, to match a whole name.
    pub patterns: BTreeSet<String>,
}

/// What a member says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Set: a static member. It keeps its partitions over a restart.
    pub instance_id: Option<String>,
    /// For people.
    pub client_name: String,
    /// Where it runs.
    pub rack: Option<String>,
    /// What it reads.
    pub subscription: Subscription,
    /// Not heard of for this long, it is given up.
    pub session_timeout_ms: u64,
}

/// A partition that is a member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The assignment with which the member got it, or with which its offset was reset: an older commit is refused.
    pub(super) since: GroupEpoch,
    /// The assignment that takes it away. Until the member says that it carries that one out, nobody else gets the partition.
    pub(super) revoked: Option<GroupEpoch>,
}

/// One member of a group.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) id: MemberId,
    pub(super) profile: Profile,
    /// Its newest assignment.
    pub(super) epoch: GroupEpoch,
    pub(super) held: BTreeMap<TopicPartition, Held>,
    /// Not heard of until then, it is given up.
    pub(super) deadline_ms: u64,
    pub(super) is_connected: bool,
    /// The topics there are of those that it reads.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it is to hold in the end.
    pub(super) target: BTreeSet<TopicPartition>,
}

impl Member {
    pub(super) fn new(id: MemberId, profile: Profile, now: Now) -> Self {
        Self {
            id,
            deadline_ms: now.ms + profile.session_timeout_ms,
            profile,
            epoch: GroupEpoch(0),
            held: BTreeMap::new(),
            is_connected: false,
            topics: BTreeSet::new(),
            target: BTreeSet::new(),
        }
    }

    /// The name it gave itself.
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// What it said when it joined.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Its newest assignment.
    pub const fn epoch(&self) -> GroupEpoch {
        self.epoch
    }

    /// Whether it has a connection just now.
    pub const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// What it is to read by its newest assignment, each with the assignment since which it has it, or since which its offset counts.
    pub fn assigned(&self) -> impl Iterator<Item = (TopicPartition, GroupEpoch)> {
        let stays = self.held.iter().filter(|(_, held)| held.revoked.is_none());
        stays.map(|(partition, held)| (*partition, held.since))
    }

    /// What it has lost and has not said yet that it gave up.
    pub fn revoking(&self) -> impl Iterator<Item = TopicPartition> {
        let goes = self.held.iter().filter(|(_, held)| held.revoked.is_some());
        goes.map(|(partition, _)| *partition)
    }

    /// It carries out that assignment: what was taken away with it or before is given up. True: something was.
    pub(super) fn applied(&mut self, epoch: GroupEpoch) -> bool {
        let before = self.held.len();
        let keeps = |held: &Held| held.revoked.is_none_or(|revoked| revoked > epoch);
        self.held.retain(|_, held| keeps(held));
        self.held.len() < before
    }

    /// It does nothing at all just now. True: that frees a partition.
    pub(super) fn is_idle(&mut self) -> bool {
        self.applied(GroupEpoch(u64::MAX))
    }

    /// Does it have what it is to have?
    pub(super) fn is_settled(&self) -> bool {
        self.held.len() == self.target.len()
            && self.assigned().all(|(held, _)| self.target.contains(&held))
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.deadline_ms = self
            .deadline_ms
            .max(now.ms + self.profile.session_timeout_ms);
    }

    /// As the assignor sees it.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            name: match &self.profile.instance_id {
                Some(instance) => format!("i/{instance}"),
                None => format!("m/{}", self.id),
            },
            topics: self.topics.clone(),
            rack: self.profile.rack.clone(),
            owned: self.assigned().map(|(partition, _)| partition).collect(),
        }
    }
}
