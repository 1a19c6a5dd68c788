//! As evenly as subscriptions allow; then as few moves as possible; then in the member's own rack.
//!
//! Everybody keeps what it has. What nobody has goes to whoever reads it and has least. Then, as long as somebody has two more than another one could
//! have, one partition goes from the one towards the other: straight, or along a chain of members each of whom passes on one of its own, where their
//! subscriptions allow no straight way. The shortest chain is taken, so a chain moves no more than it must.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Reader, Topic, partitions};
use crate::ids::{TopicId, TopicPartition};

pub(super) fn assign(
    members: &[&Reader],
    topics: &BTreeMap<TopicId, Topic>,
) -> Vec<BTreeSet<TopicPartition>> {
    let mut plan = Plan::keeping(members, topics);
    let unowned = plan.unowned();
    // Those that are near somebody first: later there may be no room there.
    let (near, far): (Vec<_>, Vec<_>) = unowned.into_iter().partition(|p| plan.is_near_any(*p));
    for partition in near.into_iter().chain(far) {
        plan.give(partition);
    }
    while let Some(chain) = plan.improvement() {
        plan.pass_on(&chain);
    }
    plan.owned
}

struct Plan<'a> {
    members: &'a [&'a Reader],
    topics: &'a BTreeMap<TopicId, Topic>,
    /// By topic, who reads it.
    readers: BTreeMap<TopicId, Vec<usize>>,
    owned: Vec<BTreeSet<TopicPartition>>,
    /// By how many partitions they have.
    by_load: BTreeSet<(usize, usize)>,
}

impl<'a> Plan<'a> {
    /// Everybody keeps what it has, if that is there and it still reads it.
    fn keeping(members: &'a [&'a Reader], topics: &'a BTreeMap<TopicId, Topic>) -> Self {
        let mut taken = BTreeSet::new();
        let mut owned = Vec::with_capacity(members.len());
        for member in members {
            let keeps = member.owned.iter().copied().filter(|partition| {
                let topic = topics.get(&partition.topic);
                topic.is_some_and(|t| partition.partition.0 < t.partitions())
                    && member.topics.contains(&partition.topic)
                    && taken.insert(*partition)
            });
            owned.push(keeps.collect::<BTreeSet<_>>());
        }
        let reads = |id: &TopicId| {
            (0..members.len())
                .filter(|member| members[*member].topics.contains(id))
                .collect()
        };
        Self {
            members,
            topics,
            readers: topics.keys().map(|id| (*id, reads(id))).collect(),
            by_load: (0..).zip(&owned).map(|(m, o)| (o.len(), m)).collect(),
            owned,
        }
    }

    /// What nobody has and somebody reads; what fewest may have comes first.
    fn unowned(&self) -> Vec<TopicPartition> {
        let owned: BTreeSet<_> = self.owned.iter().flatten().copied().collect();
        let mut unowned: Vec<_> = self
            .topics
            .iter()
            .filter(|(id, _)| !self.readers[*id].is_empty())
            .flat_map(|(id, topic)| partitions(*id, topic))
            .filter(|partition| !owned.contains(partition))
            .collect();
        unowned.sort_by_key(|partition| (self.readers[&partition.topic].len(), *partition));
        unowned
    }

    fn is_near(&self, partition: TopicPartition, member: usize) -> bool {
        let racks = &self.topics[&partition.topic].racks[partition.partition.0 as usize];
        let rack = self.members[member].rack.as_ref();
        rack.is_some_and(|rack| racks.contains(rack))
    }

    fn is_near_any(&self, partition: TopicPartition) -> bool {
        let readers = &self.readers[&partition.topic];
        readers
            .iter()
            .any(|member| self.is_near(partition, *member))
    }

    /// To whoever reads it and has least; of several, to one that is near.
    fn give(&mut self, partition: TopicPartition) {
        let reads = |m: usize| self.members[m].topics.contains(&partition.topic);
        let mut readers = self.by_load.iter().filter(|(_, member)| reads(*member));
        let Some((least, first)) = readers.next().copied() else {
            return;
        };
        let mut alike = [(least, first)]
            .into_iter()
            .chain(readers.copied())
            .take_while(|(load, _)| *load == least);
        let near = alike.find(|(_, member)| self.is_near(partition, *member));
        let member = near.map_or(first, |(_, member)| member);
        self.set_owner(partition, None, member);
    }

    fn set_owner(&mut self, partition: TopicPartition, from: Option<usize>, to: usize) {
        for (member, adds) in from
            .map(|from| (from, false))
            .into_iter()
            .chain([(to, true)])
        {
            let before = self.owned[member].len();
            self.by_load.remove(&(before, member));
            if adds {
                self.owned[member].insert(partition);
            } else {
                self.owned[member].remove(&partition);
            }
            self.by_load.insert((self.owned[member].len(), member));
        }
    }

    /// A chain of members whose first one has two more than its last one, and each of whom has something that the next one reads.
    fn improvement(&self) -> Option<Vec<usize>> {
        let least = self.by_load.first()?.0;
        let mut loaded = self.by_load.iter().rev();
        loaded
            .by_ref()
            .take_while(|(load, _)| *load >= least + 2)
            .find_map(|(load, member)| self.chain_from(*member, load - 2))
    }

    /// The shortest chain from `start` to one that has at most `load_max`; of the shortest ones, one to whoever has least.
    fn chain_from(&self, start: usize, load_max: usize) -> Option<Vec<usize>> {
        let mut came_from = BTreeMap::from([(start, start)]);
        let mut reached = BTreeSet::new();
        let mut round = VecDeque::from([start]);
        while !round.is_empty() {
            let mut next = Vec::new();
            for giver in round.drain(..) {
                let topics: BTreeSet<_> = self.owned[giver].iter().map(|p| p.topic).collect();
                for topic in topics.into_iter().filter(|topic| reached.insert(*topic)) {
                    for taker in &self.readers[&topic] {
                        if !came_from.contains_key(taker) {
                            came_from.insert(*taker, giver);
                            next.push(*taker);
                        }
                    }
                }
            }
            let light = next.iter().filter(|m| self.owned[**m].len() <= load_max);
            if let Some(last) = light.min_by_key(|m| (self.owned[**m].len(), **m)) {
                let mut chain = vec![*last];
                while chain.last() != Some(&start) {
                    chain.push(came_from[chain.last().expect("it has a last one")]);
                }
                chain.reverse();
                return Some(chain);
            }
            round.extend(next);
        }
        None
    }

    /// Each of the chain gives the next one a partition: one that it took over rather than one that it had, one that is nearer there than here.
    fn pass_on(&mut self, chain: &[usize]) {
        for pair in chain.windows(2) {
            let (giver, taker) = (pair[0], pair[1]);
            let reads = &self.members[taker].topics;
            let candidates = self.owned[giver].iter().copied();
            let best = candidates
                .filter(|p| reads.contains(&p.topic))
                .min_by_key(|p| {
                    let had = self.members[giver].owned.contains(p);
                    let gets_back = self.members[taker].owned.contains(p);
                    let nears = self.is_near(*p, taker);
                    let was_near = self.is_near(*p, giver);
                    (
                        !gets_back,
                        had,
                        was_near && !nears,
                        !nears,
                        std::cmp::Reverse(*p),
                    )
                });
            if let Some(partition) = best {
                self.set_owner(partition, Some(giver), taker);
            }
        }
    }
}
