//! Which brokers can be stopped while everything stays served.

use std::collections::BTreeMap;

use taffrail_core::{Assignment, BrokerNumber};

use crate::state::{
    cluster::{Cluster, Topic},
    live::Live,
};

/// Brokers that cannot, each with what would not stay served.
pub(super) fn blocked(cluster: &Cluster, live: &Live) -> BTreeMap<BrokerNumber, String> {
    let mut found: BTreeMap<BrokerNumber, (String, usize)> = BTreeMap::new();
    for (topic, partition, record) in cluster.assignments() {
        if !topic.is_active() {
            continue;
        }
        for broker in &record.replicas {
            if let Some(why) = blocks(live, topic, record, *broker) {
                let first = || format!("{}/{}: {why}", topic.name, partition.partition);
                found.entry(*broker).or_insert_with(|| (first(), 0)).1 += 1;
            }
        }
    }
    let texts = found.into_iter().map(|(broker, (first, count))| {
        let text = match count {
            1 => first,
            2 => format!("{first}; and 1 more partition"),
            _ => format!("{first}; and {} more partitions", count - 1),
        };
        (broker, text)
    });
    texts.collect()
}

/// Does a partition not do without some broker, and will once its replicas are in sync again? One with a single copy, or that needs all of its
/// replicas, never does without: nobody need wait for it while they are all there.
pub(super) fn passes(cluster: &Cluster, live: &Live) -> bool {
    let mut active = cluster
        .assignments()
        .filter(|(topic, ..)| topic.is_active());
    active.any(|(topic, _, record)| {
        let is_whole = |replica: &BrokerNumber| {
            let is_in_sync = record.isr.contains(replica) && record.awaits(*replica).is_none();
            is_in_sync && live.is_there(*replica)
        };
        let mut replicas = record.replicas.iter();
        !replicas.clone().all(is_whole)
            && replicas.any(|broker| blocks(live, topic, record, *broker).is_some())
    })
}

/// Why the partition does not do without `broker`.
fn blocks(live: &Live, topic: &Topic, record: &Assignment, broker: BrokerNumber) -> Option<String> {
    if record.replicas.len() == 1 {
        return Some("it has the only copy".to_owned());
    }
    let others = record.isr.iter().filter(|member| **member != broker);
    let there: Vec<_> = others.filter(|member| live.is_there(**member)).collect();
    let needed = topic.config.min_in_sync as usize;
    if there.len() < needed {
        let (left, replicas) = (there.len(), record.replicas.len());
        return Some(format!(
            "{left} of {replicas} replicas would be in sync, {needed} needed"
        ));
    }
    let is_sure = |member: &&BrokerNumber| record.awaits(**member).is_none();
    if record.leader == Some(broker) && !there.iter().any(is_sure) {
        return Some("no other replica has caught up since it restarted".to_owned());
    }
    None
}
