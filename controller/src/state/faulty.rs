//! Replicas that their brokers cannot use leave the in-sync sets at once: nobody waits for them with an acknowledgement, and they are rebuilt.
//!
//! The leader stays, in a new epoch. What it knows of its followers is of its epoch: so what the replica once had counts no more, and a replica that begins
//! anew, with nothing, is not taken for the one that had it.

use taffrail_core::{Assignment, BrokerNumber, TopicPartition};

use super::{cluster::Cluster, draft::Draft, heard::Heard, live::Live, raise};
use crate::writes::WriteReason;

/// Takes members that report a fault out of the in-sync sets wherever somebody leads, who has everything.
pub(crate) fn retire(draft: &mut Draft, live: &Live) {
    let is_faulty = |member: BrokerNumber, id: TopicPartition| {
        let report = live.report(member, id);
        report.is_some_and(|report| report.fault().to_core().is_some())
    };
    let has_others = |cluster: &Cluster, id: TopicPartition, record: &Assignment| {
        let leader = record.leader.filter(|leader| live.is_there(*leader));
        let known = leader.and_then(|leader| cluster.brokers.get(&leader));
        known.is_some_and(|known| known.value.incarnation == record.leader_incarnation)
            && !leader.is_some_and(|leader| is_faulty(leader, id))
    };
    let held = draft.cluster.assignments().filter(|(topic, id, record)| {
        topic.is_active()
            && record.isr.iter().any(|member| is_faulty(*member, *id))
            && has_others(&draft.cluster, *id, record)
    });
    let retired = held.filter_map(|(topic, id, record)| {
        let heard = Heard::of(live);
        let version = raise::version(&draft.cluster, heard, topic, id, record)?;
        let mut next = record.clone();
        next.isr.retain(|member| !is_faulty(*member, id));
        next.leader_epoch.0 += 1;
        Some((id, raise::lift(next, record, version)))
    });
    let retired: Vec<_> = retired.collect();
    for (partition, next) in retired {
        if let Some(record) = draft.assignment(partition, WriteReason::Isr) {
            *record = next;
        }
    }
}
