//! One consumer of a group, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{assignor::Reader, membership::Now, policy::GroupPolicy};
use crate::ids::{GroupEpoch, MemberId, TopicId, TopicPartition};

/// Which topics a member reads: names, whether they are there already or not, and patterns of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Names.
    pub topics: BTreeSet<String>,
    /// Regular expressions, to match a whole name.
    pub patterns: BTreeSet<String>,
}

impl Subscription {
    /// Does it name nothing?
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.patterns.is_empty()
    }
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

/// How long a member may go unheard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timeout {
    /// As its newest assignment tells it.
    told_ms: u64,
    /// A longer one that it may still live by, until a heartbeat says that it carries out that assignment: by then it has heard of the shorter one.
    before: Option<(u64, GroupEpoch)>,
}

/// One member of a group.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) id: MemberId,
    pub(super) profile: Profile,
    /// Its newest assignment.
    pub(super) epoch: GroupEpoch,
    pub(super) held: BTreeMap<TopicPartition, Held>,
    timeout: Timeout,
    /// Not heard of until then, it is given up.
    pub(super) deadline_ms: u64,
    pub(super) is_connected: bool,
    /// The topics there are of those that it reads.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it is to hold in the end.
    pub(super) target: BTreeSet<TopicPartition>,
}

impl Member {
    pub(super) fn new(id: MemberId, profile: Profile, timeout_ms: u64, now: Now) -> Self {
        Self {
            id,
            timeout: Timeout {
                told_ms: timeout_ms,
                before: None,
            },
            deadline_ms: now.ms + timeout_ms,
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

    /// Not heard of for this long, it is given up: what it is to be told.
    pub const fn session_timeout_ms(&self) -> u64 {
        self.timeout.told_ms
    }

    /// Its newest assignment.
    pub const fn epoch(&self) -> GroupEpoch {
        self.epoch
    }

    /// Whether it has a connection just now.
    pub const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The topics there are of those that it reads.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.topics.iter().copied()
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
        self.deadline_ms = self.deadline_ms.max(now.ms + self.lives_by_ms());
    }

    pub(super) fn give_time(&mut self, ms: u64, now: Now) {
        let at_most_ms = now.ms + self.lives_by_ms();
        let given_ms = (self.deadline_ms + ms).min(at_most_ms);
        self.deadline_ms = self.deadline_ms.max(given_ms);
    }

    /// The longest session timeout that it may go by.
    pub(super) fn lives_by_ms(&self) -> u64 {
        let before = self.timeout.before.map_or(0, |(before_ms, _)| before_ms);
        self.timeout.told_ms.max(before)
    }

    /// It has a new connection. It is told everything before it sends a heartbeat on that.
    pub(super) fn connected(&mut self, timeout_ms: u64) {
        self.is_connected = true;
        self.set_told(timeout_ms, GroupEpoch(0));
    }

    fn set_told(&mut self, timeout_ms: u64, told: GroupEpoch) {
        let lives_by_ms = self.lives_by_ms();
        self.timeout.told_ms = timeout_ms;
        self.timeout.before = (lives_by_ms > timeout_ms).then_some((lives_by_ms, told));
    }

    /// A heartbeat says which assignment it carries out. True: it lives by a shorter timeout from now on.
    pub(super) fn confirms(&mut self, epoch: GroupEpoch) -> bool {
        let before = self.timeout.before;
        self.timeout.before = before.filter(|(_, told)| *told > epoch);
        self.timeout.before != before
    }

    /// Assignment `told` and later ones tell it. True: it is another one.
    pub(super) fn set_timeout(&mut self, timeout_ms: u64, told: GroupEpoch, now: Now) -> bool {
        let is_new = self.timeout.told_ms != timeout_ms;
        if is_new {
            self.set_told(timeout_ms, told);
            // It counts a longer one from when it joined, if it is only now told of that.
            self.heard(now);
        }
        is_new
    }

    /// Of a coordinator before: it may go by that one until it is here.
    pub(super) fn may_live_by(&mut self, timeout_ms: u64, now: Now) {
        let is_longer = timeout_ms > self.timeout.told_ms;
        self.timeout.before = is_longer.then_some((timeout_ms, self.epoch));
        self.heard(now);
    }

    /// As the assignor sees it.
    pub(super) fn reader(&self, policy: &GroupPolicy) -> Reader {
        Reader {
            name: match &self.profile.instance_id {
                Some(instance) => format!("i/{instance}"),
                None => format!("m/{}", self.id),
            },
            topics: self.topics.clone(),
            rack: policy.rack(&self.profile),
            owned: self.assigned().map(|(partition, _)| partition).collect(),
        }
    }
}
