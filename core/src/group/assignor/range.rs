//! Each topic by itself, in pieces that follow on each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reader, Topic, partitions};
use crate::ids::{TopicId, TopicPartition};

pub(super) fn assign(
    members: &[&Reader],
    topics: &BTreeMap<TopicId, Topic>,
) -> Vec<BTreeSet<TopicPartition>> {
    let mut assigned = vec![BTreeSet::new(); members.len()];
    for (id, topic) in topics {
        let readers: Vec<usize> = (0..members.len())
            .filter(|member| members[*member].topics.contains(id))
            .collect();
        let mut left = partitions(*id, topic);
        for (at, reader) in readers.iter().enumerate() {
            // The first ones have one more where it does not come out even.
            let share = (topic.racks.len() + readers.len() - 1 - at) / readers.len();
            assigned[*reader].extend(left.by_ref().take(share));
        }
    }
    assigned
}
