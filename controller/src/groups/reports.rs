//! What coordinators said of their groups.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
};

use taffrail_api::{convert, v1};
use taffrail_core::{BrokerNumber, Offset, TopicId, TopicPartition, group::History, rules};

/// Assignments are counted over this time.
const ASSIGNMENTS_WINDOW_MS: u64 = 10 * 60_000;
/// What a group went on behind is shown for so long: whoever tells people of it looks more often.
const LOST_SHOWN_MS: u64 = 10 * 60_000;

/// A broker that leads a partition of `__offsets`, or led it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coordinator {
    pub(super) partition: u32,
    /// `None`: nobody just now.
    pub(super) broker: Option<BrokerNumber>,
    /// The leader epoch. Whoever speaks of a later one is not known to lead.
    pub(super) epoch: i32,
}

/// A group, as a coordinator has it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) state: v1::GroupState,
    /// For each member, how many partitions it reads.
    pub(super) member_partitions: Vec<u32>,
    pub(super) topics: BTreeSet<TopicId>,
    /// `None`: a member reads it, and nothing is committed.
    pub(super) offsets: BTreeMap<TopicPartition, Option<Offset>>,
    pub(super) is_unreadable: bool,
    /// There are more offsets.
    pub(super) is_cut: bool,
}

/// The last word of one broker on a group.
#[derive(Debug)]
struct Said {
    epoch: i32,
    /// `None`: it knows no such group.
    word: Option<Heard>,
}

/// What is known of a group, whoever coordinates it.
#[derive(Debug, Default)]
pub(super) struct Group {
    said: BTreeMap<BrokerNumber, Said>,
    /// How committed offsets moved on.
    pub(super) commits: BTreeMap<TopicPartition, History>,
    /// What members went on behind, as half-open ranges, and when it was first heard of.
    lost: BTreeMap<TopicPartition, (Range<Offset>, u64)>,
    /// The newest assignment, and when there were new ones.
    assignment: u64,
    assignments_ms: VecDeque<u64>,
}

/// What stands of what was said of a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word<'a> {
    /// By its coordinator.
    Now(&'a Heard),
    /// By a former one: the one that is has not said anything yet.
    Before(&'a Heard),
    /// Its coordinator knows no such group.
    Gone,
    Nothing,
}

/// All that was said.
#[derive(Debug, Default)]
pub(super) struct Reports {
    groups: BTreeMap<String, Group>,
    /// By partition of `__offsets`: in which epoch a broker said that it had told everything.
    told_all: BTreeMap<(u32, BrokerNumber), i32>,
}

impl Reports {
    /// A broker says something, whether it coordinates the group or not.
    pub(super) fn hear(&mut self, from: BrokerNumber, report: &v1::GroupReport, now_ms: u64) {
        if !rules::check_group_name(&report.group).is_empty() {
            return;
        }
        let group = self.groups.entry(report.group.clone()).or_default();
        let epoch = report.coordinator_epoch;
        if group.said.get(&from).is_some_and(|said| said.epoch > epoch) {
            return;
        }
        if report.epoch > group.assignment && !report.member_partitions.is_empty() {
            // The first one that is heard of may be old.
            if group.assignment > 0 {
                group.assignments_ms.push_back(now_ms);
            }
            group.assignment = report.epoch;
        }
        group.hear_lost(&report.lost, now_ms);
        let word = (!report.is_gone).then(|| Heard::new(report));
        group.said.insert(from, Said { epoch, word });
    }

    /// A broker has reported all groups of a partition that it found when it began to coordinate them.
    pub(super) fn told_all(&mut self, from: BrokerNumber, told: v1::ToldAll) {
        let key = (told.partition, from);
        self.told_all.insert(key, told.coordinator_epoch);
    }

    /// What stands of what was said of a group.
    pub(super) fn word(&self, group: &str, coordinator: Coordinator) -> Word<'_> {
        let said = self.groups.get(group).map(|group| &group.said);
        let current = coordinator.broker.and_then(|broker| {
            let said = said?.get(&broker)?;
            (said.epoch == coordinator.epoch).then_some(said)
        });
        if let Some(said) = current {
            return said.word.as_ref().map_or(Word::Gone, Word::Now);
        }
        let told_all = coordinator.broker.is_some_and(|broker| {
            self.told_all.get(&(coordinator.partition, broker)) == Some(&coordinator.epoch)
        });
        if told_all {
            return Word::Gone;
        }
        let former = said.into_iter().flat_map(BTreeMap::values);
        let former = former.filter(|said| said.epoch <= coordinator.epoch);
        match former.max_by_key(|said| said.epoch) {
            None => Word::Nothing,
            Some(Said { word: None, .. }) => Word::Gone,
            Some(Said {
                word: Some(heard), ..
            }) => Word::Before(heard),
        }
    }

    pub(super) fn get(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Of others nobody asks.
    pub(super) fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        self.groups.retain(|name, _| stays(name));
    }

    /// Time passed: this is how far a group has come by now, by its coordinator's word.
    pub(super) fn see(&mut self, name: &str, coordinator: Coordinator, now_ms: u64) {
        let offsets: Vec<_> = match self.word(name, coordinator) {
            Word::Now(heard) => heard.offsets.iter().map(|(p, o)| (*p, *o)).collect(),
            Word::Before(_) | Word::Gone | Word::Nothing => return,
        };
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let is_read = |p: &TopicPartition| offsets.binary_search_by_key(p, |(p, _)| *p).is_ok();
        group.commits.retain(|partition, _| is_read(partition));
        group.lost.retain(|partition, _| is_read(partition));
        for (partition, offset) in &offsets {
            if let Some(offset) = offset {
                let commits = group.commits.entry(*partition);
                let commits = commits.or_insert(History::of_commits());
                commits.see(*offset, now_ms);
            }
        }
        let since = now_ms.saturating_sub(ASSIGNMENTS_WINDOW_MS);
        group
            .assignments_ms
            .retain(|at| (since..=now_ms).contains(at));
        group.said.retain(|_, said| said.epoch >= coordinator.epoch);
    }
}

impl Heard {
    /// What makes no sense in it says nothing.
    fn new(report: &v1::GroupReport) -> Self {
        let topics = report.topic_ids.iter();
        let offsets = report.offsets.iter().filter_map(|said| {
            let partition = convert::topic_partition(&said.topic_id, said.partition).ok()?;
            Some((partition, u64::try_from(said.offset).ok().map(Offset)))
        });
        Self {
            state: report.state(),
            topics: topics
                .filter_map(|id| TopicId::try_from(&**id).ok())
                .collect(),
            offsets: offsets.collect(),
            member_partitions: report.member_partitions.clone(),
            is_unreadable: report.is_unreadable,
            is_cut: report.is_cut,
        }
    }

    /// Whatever it reads, or has read.
    pub(super) fn all_topics(&self) -> impl Iterator<Item = TopicId> {
        let committed = self.offsets.keys().map(|partition| partition.topic);
        self.topics.iter().copied().chain(committed)
    }
}

impl Group {
    pub(super) fn assignments_recent(&self) -> u32 {
        self.assignments_ms.len() as u32
    }

    /// What makes no sense says nothing. A range that is known already is no news: it is repeated.
    fn hear_lost(&mut self, lost: &[v1::MemberLoss], now_ms: u64) {
        for lost in lost {
            let partition = convert::topic_partition(&lost.topic_id, lost.partition);
            let offset = |wire: i64| u64::try_from(wire).map(Offset);
            let (Ok(partition), Ok(from), Ok(to)) = (partition, offset(lost.from), offset(lost.to))
            else {
                continue;
            };
            let known = self.lost.get(&partition).map(|(range, _)| range);
            if from < to && known != Some(&(from..to)) {
                self.lost.insert(partition, (from..to, now_ms));
            }
        }
    }

    /// What the group went on behind lately.
    pub(super) fn lost(&self, partition: TopicPartition, now_ms: u64) -> Option<&Range<Offset>> {
        let (range, heard_ms) = self.lost.get(&partition)?;
        (now_ms.saturating_sub(*heard_ms) < LOST_SHOWN_MS).then_some(range)
    }

    /// When any of the offsets was last seen to move on.
    pub(super) fn moved_ms(&self) -> Option<u64> {
        let moves = self.commits.values().filter_map(History::grew_at_ms);
        moves.max()
    }
}
