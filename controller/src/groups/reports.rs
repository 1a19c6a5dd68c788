//! What coordinators said of their groups.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taffrail_api::{convert, v1};
use taffrail_core::{Offset, TopicId, TopicPartition, group::History};

/// Assignments are counted over this time.
const ASSIGNMENTS_WINDOW_MS: u64 = 10 * 60_000;

/// The last word on a group.
#[derive(Debug)]
pub(super) struct Heard {
    coordinator_epoch: i32,
    /// Of its newest assignment.
    epoch: u64,
    pub(super) state: v1::GroupState,
    /// For each member, how many partitions it reads.
    pub(super) member_partitions: Vec<u32>,
    pub(super) topics: BTreeSet<TopicId>,
    /// `None`: a member reads it, and nothing is committed.
    pub(super) offsets: BTreeMap<TopicPartition, Option<Offset>>,
    /// How these moved on.
    pub(super) commits: BTreeMap<TopicPartition, History>,
    /// When there was a new one.
    assignments_ms: VecDeque<u64>,
}

/// All that was said, by group.
#[derive(Debug, Default)]
pub(super) struct Reports {
    groups: BTreeMap<String, Heard>,
    /// Their coordinators know them no more.
    gone: BTreeSet<String>,
}

impl Reports {
    /// A coordinator says something, unless a later one has.
    pub(super) fn hear(&mut self, report: v1::GroupReport, now_ms: u64) {
        let known = self.groups.get(&report.group);
        if known.is_some_and(|known| known.coordinator_epoch > report.coordinator_epoch) {
            return;
        }
        if report.is_gone {
            self.groups.remove(&report.group);
            self.gone.insert(report.group);
            return;
        }
        self.gone.remove(&report.group);
        let name = report.group.clone();
        let before = self.groups.remove(&name);
        self.groups.insert(name, Heard::new(report, before, now_ms));
    }

    /// Did the group's coordinator say last that it knows no such group?
    pub(super) fn is_gone(&self, group: &str) -> bool {
        self.gone.contains(group)
    }

    /// Of others nobody asks whether they are gone.
    pub(super) fn keep_gone(&mut self, asked: impl Fn(&str) -> bool) {
        self.gone.retain(|group| asked(group));
    }

    pub(super) fn get(&self, group: &str) -> Option<&Heard> {
        self.groups.get(group)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Whatever any of them reads, or has read.
    pub(super) fn topics(&self) -> BTreeSet<TopicId> {
        let groups = self.groups.values();
        let read = groups.flat_map(|heard| {
            let committed = heard.offsets.keys().map(|partition| partition.topic);
            heard.topics.iter().copied().chain(committed)
        });
        read.collect()
    }

    /// Time passed: this is how far they have come by now.
    pub(super) fn see(&mut self, now_ms: u64) {
        for heard in self.groups.values_mut() {
            for (partition, offset) in &heard.offsets {
                if let Some(offset) = offset {
                    let commits = heard.commits.entry(*partition);
                    commits
                        .or_insert(History::of_commits())
                        .see(*offset, now_ms);
                }
            }
            let since = now_ms.saturating_sub(ASSIGNMENTS_WINDOW_MS);
            heard.assignments_ms.retain(|at| *at >= since);
        }
    }
}

impl Heard {
    /// What makes no sense in it says nothing.
    fn new(report: v1::GroupReport, before: Option<Self>, now_ms: u64) -> Self {
        let topics = report.topic_ids.iter();
        let offsets = report.offsets.iter().filter_map(|said| {
            let partition = convert::topic_partition(&said.topic_id, said.partition).ok()?;
            Some((partition, u64::try_from(said.offset).ok().map(Offset)))
        });
        let mut heard = Self {
            coordinator_epoch: report.coordinator_epoch,
            epoch: report.epoch,
            state: report.state(),
            topics: topics
                .filter_map(|id| TopicId::try_from(&**id).ok())
                .collect(),
            offsets: offsets.collect(),
            member_partitions: report.member_partitions,
            commits: BTreeMap::new(),
            assignments_ms: VecDeque::new(),
        };
        if let Some(before) = before {
            heard.assignments_ms = before.assignments_ms;
            if heard.epoch > before.epoch && !heard.member_partitions.is_empty() {
                heard.assignments_ms.push_back(now_ms);
            }
            heard.commits = before.commits;
            let offsets = &heard.offsets;
            heard
                .commits
                .retain(|partition, _| offsets.contains_key(partition));
        }
        heard
    }

    pub(super) fn assignments_recent(&self) -> u32 {
        self.assignments_ms.len() as u32
    }

    /// When any of the offsets was last seen to move on.
    pub(super) fn moved_ms(&self) -> Option<u64> {
        let moves = self.commits.values().filter_map(History::grew_at_ms);
        moves.max()
    }
}
