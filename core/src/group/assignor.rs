//! Who is to read which partition: one pure function for the coordinator and for whoever asks what would be.
//!
//! ```text
//! range         each topic is cut into pieces that follow on each other
//! round_robin   all partitions are dealt out in turn
//! sticky        evenly, and as little moves as possible
//! ```

mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{PartitionIndex, TopicId, TopicPartition};

/// How partitions are given to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AssignmentStrategy {
    /// As evenly as subscriptions allow, and nobody gives up more than that takes.
    #[default]
    Sticky,
    /// Of each topic by itself: pieces that follow on each other, the first members have one more. Equal numbers of topics that are keyed alike meet
    /// at one member.
    Range,
    /// In turn, over all topics.
    RoundRobin,
}

/// A member, as an assignment sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reader {
    /// Orders members: the instance id of a static one, so that a restart changes nothing.
    pub name: String,
    /// What it reads.
    pub topics: BTreeSet<TopicId>,
    /// Where it runs. Of partitions that are as good otherwise it gets those that are there.
    pub rack: Option<String>,
    /// What it has now. Of two members that have one partition the first one by name keeps it.
    pub owned: BTreeSet<TopicPartition>,
}

/// A topic that is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topic {
    /// By partition, as many as there are: the racks that it can be read in. Empty: it does not matter.
    pub racks: Vec<BTreeSet<String>>,
}

impl Topic {
    /// So many partitions, wherever they are.
    pub fn of(partitions: u32) -> Self {
        Self {
            racks: vec![BTreeSet::new(); partitions as usize],
        }
    }

    fn partitions(&self) -> u32 {
        self.racks.len() as u32
    }
}

/// What each member is to read, in the members' order. Each partition of a topic that anybody reads has one owner.
///
/// Equal input gives equal output, whatever the order of the members.
///
/// ```
/// use std::collections::BTreeMap;
/// use taffrail_core::{TopicId, group::{AssignmentStrategy, Reader, Topic, assign}};
/// let id = TopicId::from_bytes([1; 16]);
/// let member = |name: &str| Reader { name: name.to_owned(), topics: [id].into(), ..Reader::default() };
/// let members = [member("a"), member("b")];
/// let assigned = assign(AssignmentStrategy::Sticky, &members, &BTreeMap::from([(id, Topic::of(5))]));
/// assert_eq!(assigned.iter().map(|p| p.len()).collect::<Vec<_>>(), [3, 2]);
/// ```
pub fn assign(
    strategy: AssignmentStrategy,
    members: &[Reader],
    topics: &BTreeMap<TopicId, Topic>,
) -> Vec<BTreeSet<TopicPartition>> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|member| &members[*member].name);
    let sorted: Vec<&Reader> = order.iter().map(|member| &members[*member]).collect();
    let assigned = match strategy {
        AssignmentStrategy::Sticky => sticky::assign(&sorted, topics),
        AssignmentStrategy::Range => range::assign(&sorted, topics),
        AssignmentStrategy::RoundRobin => round_robin::assign(&sorted, topics),
    };
    let mut by_member = vec![BTreeSet::new(); members.len()];
    for (member, partitions) in order.into_iter().zip(assigned) {
        by_member[member] = partitions;
    }
    by_member
}

/// All partitions of a topic.
fn partitions(id: TopicId, topic: &Topic) -> impl Iterator<Item = TopicPartition> {
    (0..topic.partitions()).map(move |index| TopicPartition {
        topic: id,
        partition: PartitionIndex(index),
    })
}
