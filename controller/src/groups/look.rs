//! The picture of the groups, from what coordinators and partitions' leaders said.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::{convert::offset_to_wire, v1};
use taffrail_core::{
    Offset, PartitionIndex, TopicConfig, TopicId, TopicPartition,
    group::{History, LogState, Retention, lag},
    internal::OFFSETS,
};
use taffrail_record::partitioner::partition_for_key;

use super::{
    GroupsView, WantedGroup,
    reports::{Heard, Reports},
};
use crate::view::View;

/// What is known of the groups, and how the partitions grew that they read.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// True: it is to be forgotten. `None`: nothing was declared yet.
    declared: Option<BTreeMap<String, bool>>,
    reports: Reports,
    ends: BTreeMap<TopicPartition, History>,
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

    /// Coordinators said something.
    pub(crate) fn hear(&mut self, reports: Vec<v1::GroupReport>, now_ms: u64) {
        for report in reports {
            self.reports.hear(report, now_ms);
        }
    }

    /// How they fare. Times are milliseconds since the epoch.
    pub(crate) fn look(&mut self, view: &View, now_ms: u64) -> GroupsView {
        self.reports.see(now_ms);
        let topics = read(view, &self.reports.topics());
        self.see_ends(&topics, now_ms);
        if let Some(declared) = &self.declared {
            self.reports.keep_gone(|name| declared.contains_key(name));
        }
        let is_over = |name: &str, forget: bool| forget && self.reports.is_gone(name);
        let declared = self.declared.iter().flatten();
        let shown = declared.filter(|(name, forget)| !is_over(name, **forget));
        let shown = shown.map(|(name, _)| name);
        let names: BTreeSet<&String> = shown.chain(self.reports.names()).collect();
        let statuses = names.into_iter().map(|name| {
            let mut status = v1::GroupStatus {
                group: name.clone(),
                ..v1::GroupStatus::default()
            };
            set_coordinator(&mut status, view);
            if let Some(heard) = self.reports.get(name) {
                self.fill(&mut status, heard, &topics, now_ms);
            }
            (name.clone(), status)
        });
        statuses.collect()
    }

    fn see_ends(&mut self, topics: &Topics<'_>, now_ms: u64) {
        self.ends
            .retain(|partition, _| topics.contains_key(&partition.topic));
        for (id, topic) in topics {
            for partition in topic.partitions {
                let of = TopicPartition {
                    topic: *id,
                    partition: PartitionIndex(partition.partition),
                };
                let ends = self.ends.entry(of).or_insert(History::of_log());
                if let Ok(end) = u64::try_from(partition.high_watermark) {
                    ends.see(Offset(end), now_ms);
                }
            }
        }
    }

    fn fill(&self, status: &mut v1::GroupStatus, heard: &Heard, topics: &Topics<'_>, now_ms: u64) {
        let read = heard.topics.iter().filter_map(|id| topics.get(id));
        let useful: usize = read.map(|topic| topic.partitions.len()).sum();
        let each = &heard.member_partitions;
        status.is_reported = true;
        status.set_state(heard.state);
        status.members = each.len() as u32;
        status.useful_members = useful as u32;
        status.member_partitions_min = each.iter().min().copied().unwrap_or_default();
        status.member_partitions_max = each.iter().max().copied().unwrap_or_default();
        status.assignments_recent = heard.assignments_recent();
        let moved_ms = heard.moved_ms();
        status.progress_ms = moved_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        let partitions = heard.offsets.iter().filter_map(|(id, offset)| {
            let topic = topics.get(&id.topic)?;
            let known = topic.partitions.get(id.partition.0 as usize)?;
            Some(self.partition(*id, *offset, topic, known, heard, now_ms))
        });
        status.partitions = partitions.collect();
        (status.partitions).sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    }

    fn partition(
        &self,
        id: TopicPartition,
        committed: Option<Offset>,
        topic: &Read<'_>,
        known: &v1::PartitionStatus,
        heard: &Heard,
        now_ms: u64,
    ) -> v1::GroupPartitionStatus {
        let mut status = v1::GroupPartitionStatus {
            topic: topic.name.to_owned(),
            partition: id.partition.0,
            committed_offset: committed.map_or(-1, offset_to_wire),
            ..v1::GroupPartitionStatus::default()
        };
        let histories = heard.commits.get(&id).zip(self.ends.get(&id));
        let Some((committed, (commits, ends))) = committed.zip(histories) else {
            return status;
        };
        let lag = lag(
            committed,
            commits,
            &log_state(known),
            ends,
            topic.retention,
            now_ms,
        );
        status.lag_records = lag.records;
        status.lag_ms = lag.ms;
        status.loses_data_at_ms = lag.loses_data_at_ms.map(u64::cast_signed);
        status.lost_to_offset = lag.lost_to.map(offset_to_wire);
        status
    }
}

/// Those of the topics that are there.
fn read<'a>(view: &'a View, ids: &BTreeSet<TopicId>) -> Topics<'a> {
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

/// The leader of the group's partition of `__offsets`.
fn set_coordinator(status: &mut v1::GroupStatus, view: &View) {
    let Some(offsets) = view.partitions.get(OFFSETS).filter(|p| !p.is_empty()) else {
        return;
    };
    let partition = partition_for_key(status.group.as_bytes(), offsets.len() as u32);
    status.coordinator = offsets
        .get(partition.0 as usize)
        .and_then(|partition| partition.leader);
    let mut brokers = view.brokers.iter();
    let broker = brokers.find(|broker| Some(broker.number) == status.coordinator);
    status.coordinator_name = broker.map(|broker| broker.name.clone()).unwrap_or_default();
}
