//! How everything has to be in the end.

use std::collections::BTreeMap;

use taffrail_core::internal::OFFSETS;

use super::{BROKERS, World};
use crate::{
    invariants::PLACEMENT_IS_EVEN,
    state::cluster::{Cluster, PendingDelete, Topic},
};

impl World {
    /// Everything is placed and led by the brokers' running processes, `topic` evenly, and no tombstone is left.
    pub(in crate::state::tests) fn assert_good(&self, topic: &str) {
        let cluster = self.cluster().expect("there is a root");
        for topic in cluster.active_topics() {
            assert_eq!(topic.placed, topic.config.partitions, "{}", topic.name);
            for partition in topic.placed_partitions() {
                let assignment = cluster.assignment(topic, partition).expect("placed");
                let leader = assignment.leader.expect("led");
                let mut brokers = self.brokers.iter();
                let broker = brokers.find(|b| b.number == Some(leader.0));
                let broker = broker.expect("a broker");
                let running = broker.candidates.last();
                assert_eq!(Some(&assignment.leader_incarnation), running, "{partition}");
                assert_eq!(assignment.isr.len(), assignment.replicas.len());
                assert_eq!(assignment.unconfirmed, [], "{partition}");
                self.check_served(partition, assignment.leader_epoch, broker);
            }
        }
        let topics = cluster.root.value.topics.values();
        let pending = topics.flat_map(|topic| topic.pending.iter().map(move |p| (topic, p)));
        let unconfirmed: Vec<_> = pending
            .filter(|(topic, p)| !is_of_a_retained_move(&cluster, topic, p))
            .collect();
        assert_eq!(unconfirmed, [], "every replica confirmed");
        let topic = cluster.active(topic).expect("applied");
        let mut leads: BTreeMap<_, usize> = BTreeMap::new();
        for partition in topic.placed_partitions() {
            let assignment = cluster.assignment(topic, partition).expect("placed");
            *leads.entry(assignment.replicas[0]).or_default() += 1;
        }
        let (min, max) = (leads.values().min(), leads.values().max());
        assert!(
            leads.len() == BROKERS && max.zip(min).is_some_and(|(a, b)| a - b <= 1),
            "{PLACEMENT_IS_EVEN}: {leads:?}"
        );
    }

    /// `__offsets` is there once, and was never made twice, unless the cluster has no internal topics.
    pub(in crate::state::tests) fn assert_internal(&self, has_internal: bool) {
        let cluster = self.cluster().expect("there is a root");
        let topics = cluster.root.value.topics.values();
        let states = topics.filter(|topic| topic.name == OFFSETS);
        let states: Vec<_> = states.map(|topic| topic.is_active()).collect();
        assert_eq!(states, vec![true; usize::from(has_internal)]);
    }
}

/// A topic that is retained in the middle of a move is not led, so the move waits until it is adopted, and takes nothing away before.
fn is_of_a_retained_move(cluster: &Cluster, topic: &Topic, pending: &PendingDelete) -> bool {
    let partition = topic.partition(pending.partition.0);
    let record = cluster.assignment(topic, partition);
    !topic.is_active()
        && !topic.is_tombstone()
        && record.is_some_and(|record| record.removing.contains(&pending.broker))
}
