//! When the store went back in time: brokers know newer assignments than it has, or have partitions whose records vanished.
//!
//! The best record over store and brokers counts. It gets a leader only when every member of its in-sync set has reported; its new
//! epochs are above all that anybody has seen (architecture.md, section 4).

use std::collections::BTreeSet;

use taffrail_core::{Assignment, BrokerNumber, LeaderEpoch, PartitionEpoch, TopicPartition};

use super::{
    cluster::{Cluster, TopicState},
    draft::Draft,
    live::Live,
    registration::{Registration, Stored},
};
use crate::writes::WriteReason;

/// What a registration made known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Partitions whose record was repaired.
    pub(crate) repaired: usize,
    /// Partitions that wait for other members of their in-sync set.
    pub(crate) waiting: usize,
    /// Names of topics that the root does not list, of which the broker has partitions: kept, not served.
    pub(crate) strays: BTreeSet<String>,
}

/// Compares what the broker has with what the store says, and repairs the store.
pub(crate) fn examine(
    draft: &mut Draft,
    live: &Live,
    number: BrokerNumber,
    registration: &Registration,
) -> Found {
    let mut found = Found::default();
    for stored in registration.stored.iter().filter(|stored| !stored.deleted) {
        let Some(topic) = draft.cluster.topic(stored.partition.topic).cloned() else {
            found.strays.insert(stored.topic_name.clone());
            continue;
        };
        if let TopicState::Deleting { .. } = topic.state {
            raise_tombstone(draft, number, stored);
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
        let best = match record {
            Some(record) if record.version() >= stored.assignment.version() => record,
            _ => stored.assignment.clone(),
        };
        match resolve(draft, live, number, stored, best) {
            Some(assignment) => {
                write(draft, stored.partition, assignment);
                found.repaired += 1;
            }
            None => found.waiting += 1,
        }
    }
    found
}

/// Is there a batch of a later epoch than the record's?
fn is_behind_log(record: Option<&Assignment>, stored: &Stored) -> bool {
    record.is_none_or(|record| record.leader_epoch.0 < stored.last_epoch)
}

/// `best` with a leader and epochs above everything known, or `None` while a member of its in-sync set has not reported.
fn resolve(
    draft: &Draft,
    live: &Live,
    number: BrokerNumber,
    stored: &Stored,
    best: Assignment,
) -> Option<Assignment> {
    let partition = stored.partition;
    let of = |member: BrokerNumber| {
        if member == number {
            return Some(stored);
        }
        let broker = live.brokers.get(&member)?;
        broker.session?;
        broker.stored.get(&partition)
    };
    let reports: Option<Vec<_>> = best.isr.iter().map(|&m| of(m).map(|s| (m, s))).collect();
    let reports = reports.filter(|reports| !reports.is_empty())?;
    let usable = reports.iter().filter(|(_, stored)| stored.fault.is_none());
    let leader = usable
        .max_by_key(|(_, s)| (s.last_epoch, s.durable_end))
        .map(|(m, _)| *m);
    let topic = draft.cluster.topic(partition.topic)?;
    let record = draft.cluster.assignment(topic, partition);
    let epochs = reports.iter().map(|(_, s)| {
        (
            s.assignment.leader_epoch.0.max(s.last_epoch),
            s.assignment.partition_epoch.0,
        )
    });
    let epochs = epochs.chain(record.map(|r| (r.leader_epoch.0, r.partition_epoch.0)));
    let (leader_epoch, partition_epoch) =
        epochs.fold((0, 0), |max, next| (max.0.max(next.0), max.1.max(next.1)));
    let incarnation = leader.and_then(|leader| draft.cluster.brokers.get(&leader));
    Some(Assignment {
        leader,
        leader_incarnation: incarnation.map(|b| b.value.incarnation).unwrap_or_default(),
        leader_epoch: LeaderEpoch(leader_epoch + 1),
        partition_epoch: PartitionEpoch(partition_epoch + 1),
        ..best
    })
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
        let mut pending = topic.pending_deletes().iter();
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
    if let Some(TopicState::Deleting { pending }) = topic.map(|topic| &mut topic.state) {
        pending[index].partition_epoch = epoch;
    }
}
