//! Internal topics: made when there are brokers for them, and given more copies when the cluster has grown. No request asks for them.

use std::{collections::BTreeSet, sync::Arc};

use taffrail_core::{TopicDefaults, TopicId, internal};

use super::{
    cluster::{Cluster, Topic},
    draft::Draft,
    live::Live,
    topics,
};

/// Makes `__offsets`, or brings it up to date. Gives the id of a new one, which is `new_id`.
///
/// It has as many replicas as a cluster of the wanted size can give it, and waits for as many brokers. Those of an older one become more with the
/// cluster, and never fewer; how many partitions it has is never changed: a group's partition follows from it.
pub(crate) fn tend(
    draft: &mut Draft,
    live: &Live,
    defaults: &TopicDefaults,
    new_id: TopicId,
) -> Option<TopicId> {
    let replicas = internal::replicas(defaults.brokers_wanted);
    if defaults.offsets_partitions == 0 || brokers_there(&draft.cluster, live) < replicas as usize {
        return None;
    }
    match served(&draft.cluster) {
        None => {
            let spec = internal::offsets(defaults.offsets_partitions, replicas);
            let made = topics::create(draft, defaults, internal::OFFSETS, &spec, new_id);
            made.is_ok().then_some(new_id)
        }
        Some(topic) => {
            let (partitions, current) = (topic.config.partitions, topic.config.replicas);
            let replicas = if replicas < internal::REPLICAS {
                current
            } else {
                current.max(replicas)
            };
            let spec = internal::offsets(partitions, replicas);
            // What cannot be now, for it has more replicas than brokers are wanted, stays as it is.
            let _ = topics::change(draft, defaults, &topic, &spec);
            None
        }
    }
}

fn served(cluster: &Cluster) -> Option<Arc<Topic>> {
    let mut topics = cluster.served_topics();
    let found = topics.find(|topic| topic.name == internal::OFFSETS);
    found.cloned()
}

/// Brokers that are there, by name: a volume that was replaced is not another broker.
fn brokers_there(cluster: &Cluster, live: &Live) -> usize {
    let brokers = cluster.brokers.values().map(|broker| &broker.value);
    let there = brokers.filter(|broker| live.is_there(broker.number));
    there
        .map(|broker| &broker.name)
        .collect::<BTreeSet<_>>()
        .len()
}
