//! Topics, and members as they are on their own side of the network.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::ids::{GroupEpoch, MemberId, Offset, PartitionIndex, TopicId, TopicPartition};

/// Each member's.
pub(super) const SESSION_TIMEOUT_MS: u64 = 9_000;
pub(super) const MEMBERS_MAX: usize = 8;

/// Topics by name, each with so many partitions.
#[derive(Debug, Default)]
pub(super) struct Topics(pub(super) BTreeMap<String, u32>);

impl Topics {
    pub(super) fn of(topics: &[(&str, u32)]) -> Self {
        Self(
            topics
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
        )
    }

    pub(super) fn id(name: &str) -> TopicId {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        TopicId::from_bytes(bytes)
    }
}

impl Catalog for Topics {
    fn matching(&self, subscription: &Subscription) -> BTreeSet<TopicId> {
        let names = self.0.keys();
        let is_read = |name: &&String| {
            let prefixes = subscription
                .patterns
                .iter()
                .map(|p| p.trim_end_matches(".*"));
            subscription.topics.contains(*name) || prefixes.into_iter().any(|p| name.starts_with(p))
        };
        names.filter(is_read).map(|name| Self::id(name)).collect()
    }

    fn topic(&self, id: TopicId) -> Option<Topic> {
        let mut topics = self.0.iter();
        let found = topics.find(|(name, _)| Self::id(name) == id);
        found.map(|(_, partitions)| Topic::of(*partitions))
    }
}

pub(super) fn partition(topic: &str, index: u32) -> TopicPartition {
    TopicPartition {
        topic: Topics::id(topic),
        partition: PartitionIndex(index),
    }
}

pub(super) fn id(number: u8) -> MemberId {
    MemberId::from_bytes([number; 16])
}

pub(super) fn profile(topics: &[&str]) -> Profile {
    Profile {
        subscription: Subscription {
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            patterns: BTreeSet::new(),
        },
        session_timeout_ms: SESSION_TIMEOUT_MS,
        ..Profile::default()
    }
}

pub(super) fn at(ms: u64) -> Now {
    Now {
        ms,
        wall_ms: 1_000_000 + ms,
    }
}

/// What a member was told.
pub(super) type Told = (
    GroupEpoch,
    BTreeMap<TopicPartition, (GroupEpoch, Option<Offset>)>,
);

/// Without an answer for this long the member stops.
pub(super) fn answer_timeout_ms(group: &Group, member: MemberId) -> Option<u64> {
    Some(group.member(member)?.session_timeout_ms() * 2 / 3)
}

pub(super) fn assignment(group: &Group, member: MemberId) -> Option<Told> {
    let member = group.member(member)?;
    let offset = |partition| group.committed(partition).map(|c| c.offset);
    let partitions = member.assigned().map(|(p, since)| (p, (since, offset(p))));
    Some((member.epoch(), partitions.collect()))
}

/// A member's own side.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: MemberId,
    pub(super) profile: Profile,
    /// The assignment that it carries out.
    pub(super) epoch: GroupEpoch,
    /// The next one to process.
    pub(super) positions: BTreeMap<TopicPartition, Offset>,
    /// Told, not carried out yet.
    pub(super) inbox: Option<Told>,
    /// What it was told on its connection: without an answer for this long it stops.
    pub(super) answer_timeout_ms: Option<u64>,
    /// When it joined, if that is not answered yet.
    pub(super) joined_ms: Option<u64>,
    /// It processes nothing from then on.
    pub(super) valid_until_ms: u64,
}

impl Client {
    pub(super) fn new(id: MemberId, profile: Profile) -> Self {
        Self {
            id,
            profile,
            epoch: GroupEpoch(0),
            positions: BTreeMap::new(),
            inbox: None,
            answer_timeout_ms: None,
            joined_ms: None,
            valid_until_ms: 0,
        }
    }

    /// Would it still process? Not if it was not answered for too long.
    pub(super) fn is_active(&self, now_ms: u64) -> bool {
        self.epoch > GroupEpoch(0) && now_ms < self.valid_until_ms
    }

    pub(super) fn join(&self) -> Join {
        Join {
            member: self.id,
            profile: self.profile.clone(),
            epoch: self.epoch,
        }
    }

    /// It is told of an assignment, and by it of the timeout.
    pub(super) fn hear(&mut self, told: Option<Told>, answer_timeout_ms: Option<u64>) {
        self.inbox = told;
        self.answer_timeout_ms = answer_timeout_ms;
        if let Some(joined_ms) = self.joined_ms.take() {
            self.answered(joined_ms);
        }
    }

    /// What it sent then was answered.
    pub(super) fn answered(&mut self, sent_ms: u64) {
        let timeout_ms = self.answer_timeout_ms.unwrap_or(0);
        self.valid_until_ms = self.valid_until_ms.max(sent_ms + timeout_ms);
    }

    /// Carries out what it was told.
    pub(super) fn apply(&mut self) {
        let Some((epoch, partitions)) = self.inbox.take() else {
            return;
        };
        let before = std::mem::take(&mut self.positions);
        for (partition, (since, committed)) in partitions {
            let kept = before.get(&partition).filter(|_| since <= self.epoch);
            let position = kept.copied().or(committed).unwrap_or(Offset::ZERO);
            self.positions.insert(partition, position);
        }
        self.epoch = epoch;
    }

    /// Forgets everything, and is another member from now on.
    pub(super) fn start_anew(&mut self, id: MemberId) {
        *self = Self::new(id, self.profile.clone());
    }
}
