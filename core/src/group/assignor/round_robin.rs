//! In turn, over all topics.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reader, Topic, partitions};
use crate::ids::{TopicId, TopicPartition};

pub(super) fn assign(
    members: &[&Reader],
    topics: &BTreeMap<TopicId, Topic>,
) -> Vec<BTreeSet<TopicPartition>> {
    let mut assigned = vec![BTreeSet::new(); members.len()];
    let mut turn = 0;
    for (id, topic) in topics {
        let reads = |at: &usize| members[at % members.len()].topics.contains(id);
        for partition in partitions(*id, topic) {
            let Some(next) = (turn..turn + members.len()).find(reads) else {
                break;
            };
            assigned[next % members.len()].insert(partition);
            turn = (next + 1) % members.len();
        }
    }
    assigned
}
