//! The picture of the groups, from what coordinators and partitions' leaders said.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::{convert::offset_to_wire, v1};
use taffrail_core::{
    BrokerNumber, Offset, PartitionIndex, TopicConfig, TopicId, TopicPartition,
    group::{History, LogState, Retention, Sight, lag},
    internal::OFFSETS,
};
use taffrail_record::partitioner::partition_for_key;

use super::{
    GroupsView, WantedGroup,
    reports::{Coordinator, Group, Heard, Reports, Word},
};
use crate::view::View;

/// What is known of the groups, and how the partitions grew that they read.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// True: it is to be forgotten. `None`: nothing was declared yet.
    declared: Option<BTreeMap<String, bool>>,
    reports: Reports,
    logs: BTreeMap<TopicPartition, Log>,
}

/// What a partition's leader said last, and how its end moved.
#[derive(Debug)]
struct Log {
    state: LogState,
    ends: History,
}

/// A topic that groups read.
struct Read<'a> {
    name: &'a str,
    partitions: &'a [v1::PartitionStatus],
    retention: Retention,
}

/// The topics that groups read, by id.
type Topics<'a> = BTreeMap<TopicId, Read<'a>>;

impl Groups {
    /// These are declared; they are shown though no coordinator has spoken of them. One that is to be forgotten is shown until its coordinator says that it is gone.
    pub(crate) fn declare(&mut self, groups: &BTreeMap<String, WantedGroup>) {
        let named = groups.iter().map(|(name, g)| (name.clone(), g.forget));
        self.declared = Some(named.collect());
    }

    /// A broker that is registered says something.
    pub(crate) fn hear(&mut self, from: BrokerNumber, reports: &[v1::GroupReport], now_ms: u64) {
        for report in reports {
            self.reports.hear(from, report, now_ms);
        }
    }

    /// A broker has told everything of these partitions of `__offsets`.
    pub(crate) fn told_all(&mut self, from: BrokerNumber, told: &[v1::ToldAll]) {
        for told in told {
            self.reports.told_all(from, *told);
        }
    }

    /// How they fare. Times are milliseconds since the epoch.
    pub(crate) fn look(&mut self, view: &View, now_ms: u64) -> GroupsView {
        let coordinators = Coordinators::of(view);
        self.forget_gone(&coordinators);
        let names: Vec<String> = self.reports.names().cloned().collect();
        for name in &names {
            self.reports.see(name, coordinators.find(name), now_ms);
        }
        let topics = self.topics(view, &names, &coordinators);
        self.see_logs(&topics, now_ms);
        let shown = |name: &String| {
            let word = self.reports.word(name, coordinators.find(name));
            let declared = self.declared.as_ref();
            match (declared.and_then(|all| all.get(name)), word) {
                (Some(true) | None, Word::Gone) | (None, Word::Nothing) => None,
                (_, word) => Some(word),
            }
        };
        let declared = self.declared.iter().flatten();
        let all: BTreeSet<&String> = declared.map(|(name, _)| name).chain(&names).collect();
        let statuses = all.into_iter().filter_map(|name| {
            let word = shown(name)?;
            let mut status = v1::GroupStatus {
                group: name.clone(),
                ..v1::GroupStatus::default()
            };
            set_coordinator(&mut status, coordinators.find(name).broker, view);
            if let (Word::Now(heard) | Word::Before(heard), Some(group)) =
                (word, self.reports.get(name))
            {
                self.fill(&mut status, heard, group, &topics, now_ms);
            }
            Some((name.clone(), status))
        });
        statuses.collect()
    }

    /// Of what is not declared, nobody asks whether it is gone.
    fn forget_gone(&mut self, coordinators: &Coordinators) {
        let Some(declared) = &self.declared else {
            return;
        };
        let is_gone = |name: &String| {
            let word = self.reports.word(name, coordinators.find(name));
            matches!(word, Word::Gone) && !declared.contains_key(name)
        };
        let gone: BTreeSet<String> = self
            .reports
            .names()
            .filter(|n| is_gone(n))
            .cloned()
            .collect();
        self.reports.keep(|name| !gone.contains(name));
    }

    /// Those that are there of the topics that any group reads.
    fn topics<'a>(
        &self,
        view: &'a View,
        names: &[String],
        coordinators: &Coordinators,
    ) -> Topics<'a> {
        let words = names
            .iter()
            .map(|name| self.reports.word(name, coordinators.find(name)));
        let heard = words.filter_map(|word| match word {
            Word::Now(heard) | Word::Before(heard) => Some(heard),
            Word::Gone | Word::Nothing => None,
        });
        let ids: BTreeSet<TopicId> = heard.flat_map(Heard::all_topics).collect();
        let topics = view.topics.iter().filter_map(|(name, status)| {
            let id = TopicId::try_from(&*status.topic_id).ok()?;
            let read = Read {
                name,
                partitions: view.partitions.get(name)?,
                retention: retention(status.effective),
            };
            ids.contains(&id).then_some((id, read))
        });
        topics.collect()
    }

    /// Of a partition whose leader has not said anything yet, what was known of it stands.
    fn see_logs(&mut self, topics: &Topics<'_>, now_ms: u64) {
        self.logs
            .retain(|partition, _| topics.contains_key(&partition.topic));
        for (id, topic) in topics {
            for known in topic.partitions.iter().filter(|known| known.is_reported) {
                let of = TopicPartition {
                    topic: *id,
                    partition: PartitionIndex(known.partition),
                };
                let state = log_state(known);
                let log = self.logs.entry(of).or_insert_with(|| Log {
                    state,
                    ends: History::of_log(),
                });
                log.state = state;
                log.ends.see(state.end, now_ms);
            }
        }
    }

    fn fill(
        &self,
        status: &mut v1::GroupStatus,
        heard: &Heard,
        group: &Group,
        topics: &Topics<'_>,
        now_ms: u64,
    ) {
        let read = heard.topics.iter().filter_map(|id| topics.get(id));
        let useful: usize = read.map(|topic| topic.partitions.len()).sum();
        let each = &heard.member_partitions;
        status.is_reported = true;
        status.is_unreadable = heard.is_unreadable;
        status.is_cut = heard.is_cut;
        status.set_state(heard.state);
        status.members = each.len() as u32;
        status.useful_members = useful as u32;
        status.member_partitions_min = each.iter().min().copied().unwrap_or_default();
        status.member_partitions_max = each.iter().max().copied().unwrap_or_default();
        status.assignments_recent = group.assignments_recent();
        let moved_ms = group.moved_ms();
        status.progress_ms = moved_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        let partitions = heard.offsets.iter().filter_map(|(id, offset)| {
            let topic = topics.get(&id.topic)?;
            let log = self.logs.get(id)?;
            Some(partition(*id, *offset, topic, log, group, now_ms))
        });
        status.partitions = partitions.collect();
        (status.partitions).sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    }
}

fn partition(
    id: TopicPartition,
    committed: Option<Offset>,
    topic: &Read<'_>,
    log: &Log,
    group: &Group,
    now_ms: u64,
) -> v1::GroupPartitionStatus {
    let mut status = v1::GroupPartitionStatus {
        topic: topic.name.to_owned(),
        partition: id.partition.0,
        committed_offset: committed.map_or(-1, offset_to_wire),
        ..v1::GroupPartitionStatus::default()
    };
    let Some((committed, commits)) = committed.zip(group.commits.get(&id)) else {
        return status;
    };
    let sight = Sight {
        committed,
        commits,
        log: log.state,
        ends: &log.ends,
        retention: topic.retention,
    };
    let lag = lag(&sight, now_ms);
    status.lag_records = lag.records;
    status.lag_ms = lag.ms;
    status.loses_data_at_ms = lag.loses_data_at_ms.map(u64::cast_signed);
    let lost = match lag.lost_to {
        Some(to) => Some(committed..to),
        None => group.lost(id, now_ms).cloned(),
    };
    status.lost_from_offset = lost.as_ref().map(|lost| offset_to_wire(lost.start));
    status.lost_to_offset = lost.map(|lost| offset_to_wire(lost.end));
    status
}

fn retention(effective: Option<v1::TopicConfig>) -> Retention {
    let config = effective.and_then(|config| TopicConfig::try_from(config).ok());
    let deletes = config.filter(|config| config.cleanup.deletes());
    deletes.map_or_else(Retention::default, |config| Retention {
        time_ms: config.retention.map(|time| time.as_millis() as u64),
        bytes: config.retention_bytes_per_partition,
    })
}

fn log_state(known: &v1::PartitionStatus) -> LogState {
    let offset = |wire: i64| Offset(u64::try_from(wire).unwrap_or(0));
    LogState {
        start: offset(known.log_start_offset),
        end: offset(known.high_watermark),
        bytes: known.bytes,
        oldest_ms: known
            .oldest_append_time_ms
            .and_then(|ms| u64::try_from(ms).ok()),
    }
}

/// The leaders of the partitions of `__offsets`.
struct Coordinators(Vec<Coordinator>);

impl Coordinators {
    fn of(view: &View) -> Self {
        let offsets = view.partitions.get(OFFSETS).into_iter().flatten();
        let coordinators = offsets.map(|partition| Coordinator {
            partition: partition.partition,
            broker: partition.leader.map(BrokerNumber),
            epoch: partition.leader_epoch,
        });
        Self(coordinators.collect())
    }

    /// The coordinator of a group.
    fn find(&self, group: &str) -> Coordinator {
        let nobody = Coordinator {
            partition: 0,
            broker: None,
            epoch: -1,
        };
        if self.0.is_empty() {
            return nobody;
        }
        let partition = partition_for_key(group.as_bytes(), self.0.len() as u32);
        let found = self.0.get(partition.0 as usize);
        found.copied().unwrap_or(nobody)
    }
}

fn set_coordinator(status: &mut v1::GroupStatus, broker: Option<BrokerNumber>, view: &View) {
    status.coordinator = broker.map(|broker| broker.0);
    let mut brokers = view.brokers.iter();
    let broker = brokers.find(|broker| Some(broker.number) == status.coordinator);
    status.coordinator_name = broker.map(|broker| broker.name.clone()).unwrap_or_default();
}
