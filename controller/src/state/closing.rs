//! Topics that end with their data only if there is none. Whether there is any is learned when nothing can come any more: the partitions are
//! taken out of service under raised epochs first, and only what brokers report under those counts.
//!
//! ```text
//!   Active ──▶ Closing, led ──▶ Closing, nobody leads ──▶ Deleting    every replica reported no record under the raised epoch
//!                  └───────────────────┴───────────────▶ Retained    a record is left, or somebody cannot say that there is none
//! ```
//! What is retained stays without leaders until it is adopted: then they are elected.
//! Every arrow is persisted before the next begins, so a controller that takes over goes on where the one before it stopped.

use taffrail_api::v1;
use taffrail_core::{Assignment, BrokerNumber, TopicId, TopicPartition};

use super::{
    cluster::{Cluster, Topic, TopicState},
    draft::Draft,
    heard::Heard,
    live::{Live, Liveness},
    raise, topics,
};
use crate::writes::WriteReason;

/// What is to be done with a closing topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    TakeOut,
    Wait,
    Keep,
    Delete,
}

/// A broker that is there reports of its partitions within a second. One that has not by then could not make them, for want of room: it never will.
const PATIENCE_MS: u64 = 15_000;

/// Notes which closing topics are waited for too long. A controller that takes office begins to count anew.
pub(crate) fn keep_time(cluster: &Cluster, live: &mut Live, now_ms: u64) {
    live.closing_since_ms
        .retain(|id, _| is_closing(cluster, *id));
    for topic in closing(cluster) {
        live.closing_since_ms.entry(topic.id).or_insert(now_ms);
    }
    let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) >= PATIENCE_MS;
    let overdue = live
        .closing_since_ms
        .iter()
        .filter(|(_, since)| is_over(**since));
    live.overdue = overdue.map(|(id, _)| *id).collect();
}

/// Is there something to be done?
pub(crate) fn is_due(cluster: &Cluster, live: &Live) -> bool {
    closing(cluster).any(|topic| next(cluster, live, topic) != Next::Wait)
}

/// Takes every closing topic one step further. One that this very decision closes comes next time: maps are put before the root, and partitions
/// that nobody leads of a topic that is not known to close would stay so.
pub(crate) fn advance(draft: &mut Draft, live: &Live) {
    let topics: Vec<_> = closing(draft.base()).cloned().collect();
    for topic in topics {
        if !is_closing(&draft.cluster, topic.id) {
            continue;
        }
        match next(&draft.cluster, live, &topic) {
            Next::TakeOut => take_out(draft, live, &topic),
            Next::Wait => {}
            Next::Keep => topics::retain(draft, topic.id),
            Next::Delete => topics::bury(draft, &topic),
        }
    }
}

/// The broker came back with an older volume: what its logs hold now says nothing of what was acknowledged.
pub(crate) fn distrust(draft: &mut Draft, broker: BrokerNumber) {
    let topics: Vec<_> = closing(&draft.cluster).cloned().collect();
    for topic in topics {
        let is_there = records(&draft.cluster, &topic)
            .flatten()
            .any(|record| record.replicas.contains(&broker));
        if is_there {
            topics::retain(draft, topic.id);
        }
    }
}

fn closing(cluster: &Cluster) -> impl Iterator<Item = &std::sync::Arc<Topic>> {
    let topics = cluster.root.value.topics.values();
    topics.filter(|topic| topic.state == TopicState::Closing)
}

fn records<'a>(
    cluster: &'a Cluster,
    topic: &'a Topic,
) -> impl Iterator<Item = Option<&'a Assignment>> {
    topic
        .placed_partitions()
        .map(|partition| cluster.assignment(topic, partition))
}

fn next(cluster: &Cluster, live: &Live, topic: &Topic) -> Next {
    let gone = |broker: &BrokerNumber| live.liveness(*broker) == Liveness::Offline;
    let is_unknown =
        |record: Option<&Assignment>| record.is_none_or(|record| record.replicas.iter().any(gone));
    if records(cluster, topic).any(is_unknown) {
        return Next::Keep;
    }
    if records(cluster, topic)
        .flatten()
        .any(|r| r.leader.is_some())
    {
        return match takes_out(cluster, live, topic) {
            Some(_) => Next::TakeOut,
            None if live.overdue.contains(&topic.id) => Next::Keep,
            None => Next::Wait,
        };
    }
    let mut all = Next::Delete;
    for partition in topic.placed_partitions() {
        let record = cluster.assignment(topic, partition);
        for (record, broker) in record
            .iter()
            .flat_map(|r| r.replicas.iter().map(move |b| (r, b)))
        {
            match live.report(*broker, partition) {
                Some(report) if has_fault(report) => return Next::Keep,
                Some(report) if is_of(report, record) => {
                    if report.log_start_offset != report.log_end_offset {
                        return Next::Keep;
                    }
                }
                // Nobody can say that there is none.
                _ if live.overdue.contains(&topic.id) => return Next::Keep,
                _ => all = Next::Wait,
            }
        }
    }
    all
}

fn has_fault(report: &v1::PartitionReport) -> bool {
    report.fault() != v1::PartitionFault::None
}

/// Was the report made under the epoch of a record that nobody leads? Then the log does not grow any more.
fn is_of(report: &v1::PartitionReport, record: &Assignment) -> bool {
    !report.leading && u32::try_from(report.leader_epoch) == Ok(record.leader_epoch.0)
}

/// The records of what is led as they are when nobody leads it; `None`: a broker may know newer ones that has not come yet.
fn takes_out(
    cluster: &Cluster,
    live: &Live,
    topic: &Topic,
) -> Option<Vec<(TopicPartition, Assignment)>> {
    let led = topic.placed_partitions().filter_map(|partition| {
        let record = cluster.assignment(topic, partition)?;
        record.leader.is_some().then_some((partition, record))
    });
    led.map(|(partition, record)| {
        let heard = Heard::of(live);
        let reports = heard.reports(cluster, partition, Some(record));
        let election = heard.election(topic, partition, Some(record), &reports);
        let vacated = election
            .vacated()
            .filter(|_| raise::is_sure(live, &election));
        Some((partition, vacated?))
    })
    .collect()
}

fn take_out(draft: &mut Draft, live: &Live, topic: &Topic) {
    let taken = takes_out(&draft.cluster, live, topic).unwrap_or_default();
    for (partition, vacated) in taken {
        if let Some(record) = draft.assignment(partition, WriteReason::Delete) {
            *record = vacated;
        }
    }
}

/// The closing topic of this name.
pub(crate) fn named(cluster: &Cluster, name: &str) -> Option<TopicId> {
    closing(cluster)
        .find(|topic| topic.name == name)
        .map(|topic| topic.id)
}

/// Is this topic still on its way?
pub(crate) fn is_closing(cluster: &Cluster, id: TopicId) -> bool {
    cluster
        .topic(id)
        .is_some_and(|topic| topic.state == TopicState::Closing)
}
