//! When the store went back in time: brokers know newer assignments than it has, or have partitions whose records vanished.
//!
//! The best record over store and brokers counts. It gets a leader only when every member of its in-sync set has reported; its new
//! epochs are above all that anybody has seen (architecture.md, section 4).

use std::collections::BTreeSet;

use taffrail_core::{
    Assignment, BrokerNumber, Incarnation, TopicPartition,
    replica::{Elected, Election, Report, Wait},
};

use super::{
    cluster::{Cluster, Topic},
    draft::Draft,
    heard::{Heard, Newcomer},
    live::Live,
    registration::Stored,
};
use crate::writes::WriteReason;

/// What a registration made known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Partitions whose record was repaired.
    pub(crate) repaired: usize,
    /// Partitions that wait for other members of their in-sync set.
    pub(crate) waiting: BTreeSet<TopicPartition>,
    /// Names of topics that the root does not list, of which the broker has partitions: kept, not served.
    pub(crate) strays: BTreeSet<String>,
}

/// Compares what the broker has with what the store says, and repairs the store.
pub(crate) fn examine(draft: &mut Draft, heard: Heard<'_>, newcomer: &Newcomer<'_>) -> Found {
    let mut found = Found::default();
    for stored in &newcomer.registration.stored {
        let Some(topic) = draft.cluster.topic(stored.partition.topic).cloned() else {
            if !stored.deleted {
                found.strays.insert(stored.topic_name.clone());
            }
            continue;
        };
        if topic.is_tombstone() {
            raise_tombstone(draft, newcomer.number, stored);
            continue;
        }
        let record = draft.cluster.assignment(&topic, stored.partition).cloned();
        let known = record.as_ref().map(Assignment::version);
        let is_counted = stored.partition.partition.0 < topic.placed;
        if is_counted
            && known >= Some(stored.assignment.version())
            && !is_behind_log(record.as_ref(), stored)
        {
            continue;
        }
        match resolve(draft, heard, &topic, stored.partition, record.as_ref()) {
            Some(assignment) => {
                write(draft, stored.partition, assignment);
                found.repaired += 1;
            }
            None => {
                found.waiting.insert(stored.partition);
            }
        }
    }
    found
}

/// Repairs what waited for members of in-sync sets who know nothing that the store does not: their coming says so.
pub(crate) fn settle(draft: &mut Draft, live: &Live) {
    for partition in &live.doubted {
        let Some(topic) = draft.cluster.topic(partition.topic).cloned() else {
            continue;
        };
        let record = draft.cluster.assignment(&topic, *partition).cloned();
        if is_doubted(&draft.cluster, live, *partition)
            && let Some(repaired) =
                resolve(draft, Heard::of(live), &topic, *partition, record.as_ref())
        {
            write(draft, *partition, repaired);
        }
    }
}

/// Does a broker know more of the partition than the store?
pub(crate) fn is_doubted(cluster: &Cluster, live: &Live, partition: TopicPartition) -> bool {
    let topic = cluster.topic(partition.topic);
    topic.is_some_and(|topic| {
        let record = cluster.assignment(topic, partition);
        let reports = Heard::of(live).reports(cluster, partition, record);
        let election = Heard::of(live).election(topic, partition, record, &reports);
        !topic.is_tombstone() && election.is_doubted()
    })
}

/// Is there a batch of a later epoch than the record's?
fn is_behind_log(record: Option<&Assignment>, stored: &Stored) -> bool {
    record.is_none_or(|record| stored.tail.last_epoch > Some(record.leader_epoch))
}

/// The best record with a leader and epochs above everything known, or `None` while a member of its in-sync set has not reported.
fn resolve(
    draft: &Draft,
    heard: Heard<'_>,
    topic: &Topic,
    partition: TopicPartition,
    record: Option<&Assignment>,
) -> Option<Assignment> {
    let reports = heard.reports(&draft.cluster, partition, record);
    let election = heard.election(topic, partition, record, &reports);
    match elect(&election) {
        Ok(elected) => Some(elected.assignment),
        // Everybody has reported, and nobody can be used.
        Err(Wait::Candidate) => {
            let mut vacated = election.vacated()?;
            renew_marks(&mut vacated, &reports);
            Some(vacated)
        }
        Err(Wait::Doubt | Wait::Reports { .. }) => None,
    }
}

/// Elects a leader. A record that a broker knew and the store did not is without the runs that registered since.
///
/// # Errors
/// As [`Election::decide`].
pub(crate) fn elect(election: &Election<'_>) -> Result<Elected, Wait> {
    let mut elected = election.decide()?;
    if election.is_doubted() {
        renew_marks(&mut elected.assignment, election.reports);
    }
    Ok(elected)
}

/// Runs that registered while the record was unknown are not in it.
fn renew_marks(record: &mut Assignment, reports: &[Report<'_>]) {
    renew_stale(record, reports);
    for report in reports {
        let (broker, run) = (report.broker, report.incarnation);
        let is_missing = record.isr.contains(&broker) && record.awaits(broker).is_none();
        if is_missing && record.leader != Some(broker) {
            record.unconfirmed.push((broker, run));
        }
    }
}

/// Where the record waits for a run, it waits for the one that registered since; but not for that of an older volume.
pub(crate) fn renew_stale(record: &mut Assignment, reports: &[Report<'_>]) {
    for (broker, awaited) in &mut record.unconfirmed {
        let report = reports.iter().find(|report| report.broker == *broker);
        let is_newer = |run: &Incarnation| run.generation > awaited.generation;
        if let Some(run) = report.map(|r| r.incarnation).filter(is_newer) {
            *awaited = run;
        }
    }
}

fn write(draft: &mut Draft, partition: TopicPartition, assignment: Assignment) {
    if let Some(record) = draft.assignment(partition, WriteReason::Doubt) {
        *record = assignment;
    } else {
        draft.insert(partition, assignment, WriteReason::Doubt);
    }
    // A root that went back knows fewer partitions than there are.
    let count = partition.partition.0 + 1;
    let topic = draft.cluster.topic(partition.topic);
    if topic.is_some_and(|topic| topic.placed < count)
        && let Some(topic) = draft.topic(partition.topic, WriteReason::Doubt)
    {
        topic.placed = count;
        if topic.config.partitions < count {
            topic.config.partitions = count;
            topic.generation += 1;
        }
    }
}

/// The tombstone was made from an older record than the broker has: its order has to name an epoch that the broker obeys.
fn raise_tombstone(draft: &mut Draft, number: BrokerNumber, stored: &Stored) {
    let epoch = stored.assignment.partition_epoch;
    let lags = |cluster: &Cluster| {
        let topic = cluster.topic(stored.partition.topic)?;
        let mut pending = topic.pending.iter();
        pending.position(|p| {
            p.broker == number
                && p.partition == stored.partition.partition
                && p.partition_epoch < epoch
        })
    };
    let Some(index) = lags(&draft.cluster) else {
        return;
    };
    let topic = draft.topic(stored.partition.topic, WriteReason::Doubt);
    if let Some(topic) = topic {
        topic.pending[index].partition_epoch = epoch;
    }
}
