//! What must hold of the metadata whatever happens, each under its name. Decisions are checked before they are written, and the tests
//! check histories. A broken one is a bug: the controller stops rather than write it. Those of single records are core's.

use std::{collections::BTreeSet, sync::Arc};

use taffrail_core::{
    TopicPartition,
    replica::invariants::{self as replica, Violated},
};

use crate::state::cluster::{Cluster, Root};

/// Brokers are told only records, topics and orders that the store has, or had.
#[cfg(test)]
pub(crate) const NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED: &str =
    "nothing is said before it is persisted";
/// Every order to delete is backed by a tombstone that was persisted before.
#[cfg(test)]
pub(crate) const A_DELETE_ORDER_HAS_A_TOMBSTONE: &str =
    "a delete order only with a persisted tombstone";
/// Leaders of a new topic differ by one at most between brokers.
#[cfg(test)]
pub(crate) const PLACEMENT_IS_EVEN: &str = "placement is even within one";

/// A rule that was broken, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// Every broker has a number below the next one, which only grows: a number names one volume for ever.
pub(crate) const BROKER_NUMBERS_ARE_NEVER_REUSED: &str = "broker numbers are never reused";
/// Of the topics with one name, one at most is active or closing.
pub(crate) const A_NAME_HAS_ONE_ACTIVE_TOPIC: &str = "a topic name has one active id";
/// A topic leaves the root only as a tombstone, a record only with its topic.
pub(crate) const NOTHING_VANISHES_BY_ITSELF: &str = "nothing is deleted because an object vanished";
/// What has a record stays counted, and a topic never counts more than it wants.
pub(crate) const PARTITIONS_ONLY_GROW: &str = "partitions only grow";

/// Checks a decision before it is written.
///
/// # Panics
/// The decision breaks a rule.
pub(crate) fn check_decision(before: &Cluster, after: &Cluster) {
    if let Err(broken) = check(before, after) {
        panic!("{}: {}; nothing was written", broken.rule, broken.what);
    }
}

/// Whether `after` may follow `before`.
pub(crate) fn check(before: &Cluster, after: &Cluster) -> Result<(), Broken> {
    numbers(before, after)?;
    topics(before, after)?;
    records(before, after)
}

fn numbers(before: &Cluster, after: &Cluster) -> Result<(), Broken> {
    let rule = BROKER_NUMBERS_ARE_NEVER_REUSED;
    let (old, new) = (&before.root.value, &after.root.value);
    ensure(
        rule,
        new.next_broker_number >= old.next_broker_number,
        || {
            format!(
                "next {} became {}",
                old.next_broker_number, new.next_broker_number
            )
        },
    )?;
    for (number, broker) in &after.brokers {
        ensure(rule, number.0 < new.next_broker_number, || {
            format!("broker {number} is not below the next number")
        })?;
        let known = before.brokers.get(number);
        ensure(
            rule,
            known.is_none_or(|known| known.value.uuid == broker.value.uuid),
            || format!("broker {number} is another volume"),
        )?;
    }
    for number in before.brokers.keys() {
        ensure(rule, after.brokers.contains_key(number), || {
            format!("broker {number} is gone")
        })?;
    }
    Ok(())
}

fn topics(before: &Cluster, after: &Cluster) -> Result<(), Broken> {
    if Arc::ptr_eq(&before.root.value, &after.root.value) {
        return Ok(());
    }
    one_active(&after.root.value)?;
    for topic in after.root.value.topics.values() {
        let known = before.topic(topic.id);
        let grew = topic.placed <= topic.config.partitions
            && known.is_none_or(|known| {
                known.placed <= topic.placed && known.config.partitions <= topic.config.partitions
            });
        ensure(PARTITIONS_ONLY_GROW, grew, || topic.name.clone())?;
    }
    for topic in before.root.value.topics.values() {
        let was_tombstone = topic.is_tombstone();
        let next = after.topic(topic.id);
        ensure(
            NOTHING_VANISHES_BY_ITSELF,
            next.is_some() || was_tombstone,
            || format!("topic {} ({})", topic.name, topic.id),
        )?;
        ensure(
            NOTHING_VANISHES_BY_ITSELF,
            !was_tombstone || next.is_none_or(|next| next.is_tombstone()),
            || format!("the tombstone of {} ({})", topic.name, topic.id),
        )?;
    }
    Ok(())
}

fn one_active(root: &Root) -> Result<(), Broken> {
    let mut names = BTreeSet::new();
    for topic in root.topics.values().filter(|topic| topic.is_served()) {
        ensure(
            A_NAME_HAS_ONE_ACTIVE_TOPIC,
            names.insert(&topic.name),
            || topic.name.clone(),
        )?;
    }
    Ok(())
}

fn records(before: &Cluster, after: &Cluster) -> Result<(), Broken> {
    for (name, map) in &after.maps {
        let known = before.maps.get(name);
        if known.is_some_and(|known| Arc::ptr_eq(&known.value, &map.value)) {
            continue;
        }
        for (partition, next) in &map.value.partitions {
            replica::assignment(next).map_err(broken(*partition))?;
            if let Some(known) = known.and_then(|known| known.value.partitions.get(partition)) {
                replica::follows(known, next).map_err(broken(*partition))?;
            }
        }
    }
    for (name, map) in &before.maps {
        let next = after.maps.get(name);
        if next.is_some_and(|next| Arc::ptr_eq(&next.value, &map.value)) {
            continue;
        }
        for partition in map.value.partitions.keys() {
            let is_there = next.is_some_and(|next| next.value.partitions.contains_key(partition));
            let topic = after.topic(partition.topic);
            let is_kept = topic.is_some_and(|t| !t.is_tombstone());
            ensure(NOTHING_VANISHES_BY_ITSELF, is_there || !is_kept, || {
                format!("the record of {partition} in {name}")
            })?;
        }
    }
    Ok(())
}

fn broken(partition: TopicPartition) -> impl Fn(Violated) -> Broken {
    move |violated| Broken {
        rule: violated.rule,
        what: format!("{partition}: {}", violated.what),
    }
}

fn ensure(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        return Ok(());
    }
    Err(Broken { rule, what: what() })
}
