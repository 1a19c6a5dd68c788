//! What a member that reads to the end has not read yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use taffrail_client::{GroupPartition, Offset};

/// Partitions that it has and where each one is over. A topic is over where it ended when it was first seen.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    ends: HashMap<Arc<str>, BTreeMap<u32, u64>>,
    open: BTreeSet<(Arc<str>, u32)>,
}

impl Unread {
    /// Is it known where the topic ended?
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.ends.contains_key(topic)
    }

    /// Where each partition of a topic ends.
    pub(crate) fn ends_at(&mut self, topic: Arc<str>, ends: BTreeMap<u32, u64>) {
        self.ends.insert(topic, ends);
    }

    pub(crate) fn assigned(&mut self, partitions: &[GroupPartition]) {
        self.open.extend(partitions.iter().map(place));
    }

    pub(crate) fn gone(&mut self, partitions: &[GroupPartition]) {
        for partition in partitions {
            self.open.remove(&place(partition));
        }
    }

    /// Reading goes on at `next`.
    pub(crate) fn reached(&mut self, partition: &GroupPartition, next: Offset) {
        let ends = self.ends.get(&*partition.topic);
        let end = ends.and_then(|ends| ends.get(&partition.partition.0));
        if end.is_none_or(|end| next.0 >= *end) {
            self.open.remove(&place(partition));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

fn place(partition: &GroupPartition) -> (Arc<str>, u32) {
    (Arc::clone(&partition.topic), partition.partition.0)
}

#[cfg(test)]
mod tests {
    use taffrail_client::PartitionIndex;

    use super::*;

    fn at(topic: &str, partition: u32) -> GroupPartition {
        GroupPartition {
            topic: topic.into(),
            partition: PartitionIndex(partition),
        }
    }

    #[test]
    fn each_topic_is_over_at_its_own_end() {
        let mut unread = Unread::default();
        unread.ends_at("orders".into(), [(0, 10), (1, 0)].into());
        unread.ends_at("payments".into(), [(0, 3)].into());
        let all = [at("orders", 0), at("orders", 1), at("payments", 0)];
        unread.assigned(&all);
        unread.reached(&at("orders", 1), Offset(0));
        unread.reached(&at("payments", 0), Offset(3));
        assert!(!unread.is_empty(), "orders/0 is to come");
        unread.reached(&at("orders", 0), Offset(9));
        assert!(!unread.is_empty(), "one record is missing");
        unread.reached(&at("orders", 0), Offset(10));
        assert!(unread.is_empty());
    }

    #[test]
    fn what_goes_to_another_member_is_not_waited_for() {
        let mut unread = Unread::default();
        unread.ends_at("orders".into(), [(0, 10)].into());
        unread.assigned(&[at("orders", 0)]);
        assert!(unread.knows("orders") && !unread.is_empty());
        unread.gone(&[at("orders", 0)]);
        assert!(unread.is_empty());
    }
}
