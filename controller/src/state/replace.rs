//! A volume that was wiped or lost comes back under a new number: that one takes the place of the old one, outside the in-sync sets until it
//! has caught up. Brokers of one name follow one another, they never run side by side.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_core::{Assignment, BrokerNumber};

use super::{
    cluster::Cluster,
    doubt,
    draft::Draft,
    heard::Heard,
    live::{Live, Liveness},
    raise,
};
use crate::writes::WriteReason;

/// Numbers that are gone, and who came in their place.
pub(crate) fn successors(cluster: &Cluster, live: &Live) -> BTreeMap<BrokerNumber, BrokerNumber> {
    let brokers = || cluster.brokers.values().map(|broker| &broker.value);
    let gone = brokers().filter(|broker| live.liveness(broker.number) == Liveness::Offline);
    let pairs = gone.filter_map(|gone| {
        let next = brokers().find(|next| {
            next.name == gone.name && next.uuid != gone.uuid && live.is_there(next.number)
        });
        next.map(|next| (gone.number, next.number))
    });
    pairs.collect()
}

/// Does somebody else have everything that was acknowledged?
fn has_others(record: &Assignment, old: BrokerNumber) -> bool {
    let is_sure = |member: &BrokerNumber| *member != old && record.awaits(*member).is_none();
    record.leader.is_some() || record.isr.iter().any(is_sure)
}

/// Replaces numbers that are gone wherever another member of the in-sync set is left.
pub(crate) fn wiped(draft: &mut Draft, live: &Live) {
    let successors = successors(&draft.cluster, live);
    if successors.is_empty() {
        return;
    }
    for (old, new) in successors {
        let holds = draft.cluster.assignments().filter(|(topic, _, record)| {
            !topic.is_tombstone()
                && record.replicas.contains(&old)
                && !record.replicas.contains(&new)
                // What goes need not be replaced.
                && !record.removing.contains(&old)
                && record.isr != [old]
        });
        let held: Vec<_> = holds
            .map(|(topic, id, record)| (Arc::clone(topic), id, record.clone()))
            .collect();
        for (topic, partition, mut next) in held {
            let led = next.leader == Some(old);
            let reports = Heard::of(live).reports(&draft.cluster, partition, Some(&next));
            let election = Heard::of(live).election(&topic, partition, Some(&next), &reports);
            let version = election
                .next_change()
                .filter(|_| raise::is_sure(live, &election));
            match doubt::elect(&election) {
                Ok(elected) if led => next = elected.assignment,
                // Unconfirmed members would be compared with one fewer: the volume may come back after all.
                _ if led || !has_others(&next, old) => continue,
                _ => match version {
                    Some(version) => (next.leader_epoch, next.partition_epoch) = version,
                    None => continue,
                },
            }
            let listed = next.replicas.iter_mut().chain(&mut next.adding);
            for replica in listed.filter(|replica| **replica == old) {
                *replica = new;
            }
            next.isr.retain(|member| *member != old);
            next.unconfirmed.retain(|(of, _)| *of != old);
            if let Some(record) = draft.assignment(partition, WriteReason::Replacement) {
                *record = next;
            }
        }
    }
}
