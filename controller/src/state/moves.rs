//! Replicas that move: copy, catch up, swap, and the deletion of what is left behind.
//!
//! ```text
//!   begin ──▶ map: adding, removing      root: removing is pending ──▶ everybody who comes is in sync ──▶ map: without removing
//!     ▲                                                                                                     │ order to delete
//!     └── asked for, or replicas of the topic changed                       root: nothing pending ◀── confirmed
//! ```
//! All there is to know of a move is in the map, so that any controller goes on with it. Maps are put before the root: a move ends only when
//! what it takes away was noted before, and what a controller that stopped in between did not note, the next one does.

mod asked;

use std::{collections::BTreeSet, sync::Arc};

use taffrail_core::{Assignment, BrokerNumber, Incarnation, TopicPartition, replica::MoveProgress};

use super::{
    cluster::{Cluster, PendingDelete, Topic},
    draft::Draft,
    heard::Heard,
    live::Live,
    place, raise,
};
use crate::{
    placement::{Worth, fewer, more},
    writes::WriteReason,
};
pub(crate) use asked::ask;

/// Begins a move of a partition to `target`, bends the one under way, or takes it back. `false`: nothing changes, or not yet.
pub(crate) fn begin(
    draft: &mut Draft,
    live: &Live,
    partition: TopicPartition,
    target: &[BrokerNumber],
) -> bool {
    let begun = begun(&draft.cluster, live, partition, target);
    let Some(Ok(next)) = begun else {
        return false;
    };
    if let Some(record) = draft.assignment(partition, WriteReason::Move) {
        record.clone_from(&next);
    }
    note(draft, partition, &next);
    true
}

/// Why a move cannot begin yet.
#[derive(Debug, Clone, Copy)]
enum NotYet {
    /// A broker may know a newer record than the store, and has not come yet.
    TooEarly,
    /// It would go to a broker's new number beside the one that is gone, whose place that is to take.
    NotReplaced,
}

/// The record with which a move begins; `None`: nothing changes.
fn begun(
    cluster: &Cluster,
    live: &Live,
    partition: TopicPartition,
    target: &[BrokerNumber],
) -> Option<Result<Assignment, NotYet>> {
    let topic = cluster.topic(partition.topic)?;
    let record = cluster.assignment(topic, partition)?;
    let next = record.begin_move(target)?;
    if is_twice_on_one(cluster, target) {
        return Some(Err(NotYet::NotReplaced));
    }
    let version = raise::version(cluster, Heard::of(live), topic, partition, record);
    let next = version.map(|version| raise::lift(next, record, version));
    Some(next.ok_or(NotYet::TooEarly))
}

/// Are two of these numbers volumes of one broker, by its name?
fn is_twice_on_one(cluster: &Cluster, target: &[BrokerNumber]) -> bool {
    let mut brokers = target.iter().filter_map(|b| cluster.brokers.get(b));
    let mut names = BTreeSet::new();
    brokers.any(|b| !names.insert(&b.value.name))
}

/// Takes moves further, and forgets what was confirmed.
pub(crate) fn advance(draft: &mut Draft, live: &Live) {
    forget(draft, live);
    let loose: Vec<_> = served(&draft.cluster)
        .filter(|(topic, id, record)| !is_noted(topic, *id, record))
        .map(|(_, id, record)| (id, record.clone()))
        .collect();
    for (partition, record) in loose {
        note(draft, partition, &record);
    }
    finish(draft, live);
}

fn served(cluster: &Cluster) -> impl Iterator<Item = (&Arc<Topic>, TopicPartition, &Assignment)> {
    let records = cluster.assignments();
    records.filter(|(topic, _, _)| !topic.is_tombstone())
}

/// Is everything pending that goes, and nothing that stays?
fn is_noted(topic: &Topic, id: TopicPartition, record: &Assignment) -> bool {
    if topic.pending.is_empty() && record.removing.is_empty() {
        return true;
    }
    let is_pending = |broker: &BrokerNumber| topic.pending(id.partition, *broker).is_some();
    record
        .replicas
        .iter()
        .all(|broker| is_pending(broker) == record.removing.contains(broker))
}

/// Notes what the move takes away. Whoever stays, or comes again, is not to be deleted any more.
fn note(draft: &mut Draft, partition: TopicPartition, record: &Assignment) {
    let topic = draft.cluster.topic(partition.topic);
    if topic.is_none_or(|topic| is_noted(topic, partition, record)) {
        return;
    }
    let Some(topic) = draft.topic(partition.topic, WriteReason::Move) else {
        return;
    };
    let index = partition.partition;
    let stays = |broker: &BrokerNumber| {
        record.replicas.contains(broker) && !record.removing.contains(broker)
    };
    topic
        .pending
        .retain(|p| p.partition != index || !stays(&p.broker));
    for broker in &record.removing {
        if topic.pending(index, *broker).is_none() {
            topic.pending.push(PendingDelete {
                partition: index,
                broker: *broker,
                partition_epoch: record.partition_epoch,
            });
        }
    }
}

/// Forgets deletions that were confirmed. Those of tombstones go with them.
fn forget(draft: &mut Draft, live: &Live) {
    let topics = draft.cluster.root.value.topics.values();
    let topics = topics.filter(|topic| !topic.is_tombstone());
    let done: Vec<_> = topics
        .flat_map(|topic| {
            let gone = topic.pending.iter().filter(|p| live.is_deleted(topic, p));
            gone.map(|p| (topic.partition(p.partition.0), p.broker))
        })
        .filter(|(id, broker)| !is_replica(&draft.cluster, *id, *broker))
        .collect();
    for (id, broker) in done {
        if let Some(topic) = draft.topic(id.topic, WriteReason::Move) {
            let is_done = |p: &PendingDelete| p.partition == id.partition && p.broker == broker;
            topic.pending.retain(|p| !is_done(p));
        }
    }
}

fn is_replica(cluster: &Cluster, id: TopicPartition, broker: BrokerNumber) -> bool {
    let record = cluster
        .topic(id.topic)
        .and_then(|t| cluster.assignment(t, id));
    record.is_some_and(|record| record.replicas.contains(&broker))
}

/// Ends the moves that are ready. What they take away was noted, durably, before.
fn finish(draft: &mut Draft, live: &Live) {
    let moving = served(&draft.cluster).filter(|(topic, id, record)| {
        let noted = draft.base().topic(id.topic);
        record.is_moving()
            && topic.is_active()
            && noted.is_some_and(|noted| is_noted(noted, *id, record))
    });
    let done: Vec<_> = moving
        .filter_map(|(topic, id, record)| {
            let run_of = |broker| run_of(&draft.cluster, live, id, broker);
            let min_in_sync = topic.config.min_in_sync as usize;
            if present(live, record).move_progress(min_in_sync) != MoveProgress::Ready {
                return None;
            }
            let next = record.finish_move(min_in_sync, run_of)?;
            let version = raise::version(&draft.cluster, Heard::of(live), topic, id, record)?;
            Some((id, raise::lift(next, record, version)))
        })
        .collect();
    for (id, next) in done {
        if let Some(record) = draft.assignment(id, WriteReason::Move) {
            *record = next;
        }
    }
}

/// The record without members that are lost: an in-sync set that cannot spare them keeps them, and nobody goes on their account.
fn present(live: &Live, record: &Assignment) -> Assignment {
    let mut present = record.clone();
    present.isr.retain(|member| !live.is_lost(*member));
    present
}

/// The run of a broker that may take over a partition from its leader.
fn run_of(
    cluster: &Cluster,
    live: &Live,
    id: TopicPartition,
    broker: BrokerNumber,
) -> Option<Incarnation> {
    let run = cluster.brokers.get(&broker)?.value.incarnation;
    let now = live.brokers.get(&broker)?;
    let has_fault = live
        .report(broker, id)
        .is_some_and(|r| r.fault().to_core().is_some());
    (live.is_there(broker) && now.incarnation == run && !has_fault).then_some(run)
}

/// Begins moves where a topic has more or fewer replicas than its spec says, as far as there are brokers. A spec that this very decision changes
/// comes next time: maps are put before the root.
pub(crate) fn follow_replicas(draft: &mut Draft, live: &Live) {
    let wanted = |topic: &Topic| {
        let known = draft
            .base()
            .topic(topic.id)
            .filter(|known| known.is_active())?;
        Some(known.config.replicas as usize)
    };
    let other = served(&draft.cluster).filter_map(|(topic, id, record)| {
        let wanted = wanted(topic).filter(|_| topic.is_active())?;
        (record.target().count() != wanted).then(|| (id, wanted, record.clone()))
    });
    let other: Vec<_> = other.collect();
    if other.is_empty() {
        return;
    }
    let mut candidates =
        place::candidates(&draft.cluster, live, None, &place::loads(&draft.cluster));
    for (partition, wanted, record) in other {
        let target: Vec<_> = record.target().collect();
        let target = if target.len() < wanted {
            more(wanted, &target, &mut candidates)
        } else {
            let worth = |broker: &BrokerNumber| Worth {
                broker: *broker,
                is_leader: record.leader == Some(*broker),
                is_in_sync: record.isr.contains(broker),
            };
            let row: Vec<_> = target.iter().map(worth).collect();
            Some(fewer(wanted, &row, &mut candidates))
        };
        if let Some(target) = target {
            begin(draft, live, partition, &target);
        }
    }
}

/// What a partition's move still waits for, in words. Empty: it does not move.
pub(crate) fn waits_for(live: &Live, topic: &Topic, record: &Assignment) -> &'static str {
    match present(live, record).move_progress(topic.config.min_in_sync as usize) {
        MoveProgress::None => "",
        MoveProgress::CatchingUp(_) => "its new replicas catch up",
        MoveProgress::TooFewInSync => {
            "fewer than minInSync of the replicas that stay are in sync; start their brokers"
        }
        MoveProgress::Ready => "the move ends as soon as a broker that stays may lead",
    }
}
