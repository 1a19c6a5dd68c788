//! Producers, consumers, and whoever makes topics.

mod consume;
mod moves;
mod produce;
mod topics;

use std::collections::BTreeMap;

use taffrail_broker::sim::Placed;
use taffrail_core::{TopicPartition, internal::is_internal};

use super::{World, groups::Groups};
use moves::Moves;
use produce::{Request, Sequence};
pub(super) use topics::{CLICKS, ORDERS, PASSING, Topics};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 2;
/// Members of groups come after these.
pub(super) const OTHERS: usize = PRODUCERS + CONSUMERS;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// What each client knows of the cluster: producers first.
    pub(super) known: BTreeMap<usize, BTreeMap<TopicPartition, Placed>>,
    requests: BTreeMap<u64, Request>,
    requests_made: u64,
    records_made: u64,
    /// Of idempotent producers, by partition.
    sequences: BTreeMap<(usize, TopicPartition), Sequence>,
    producer_ids: i64,
    positions: BTreeMap<(usize, TopicPartition), u64>,
    pub(super) topics: Topics,
    pub(super) moves: Moves,
    pub(super) groups: Groups,
    /// Produce requests and fetches.
    pub(super) operations: u64,
    /// The end: nothing new is produced.
    pub(super) is_over: bool,
}

impl Clients {
    /// A controller is gone.
    pub(super) fn are_unanswered(&mut self) {
        self.topics.unanswered();
        self.moves.unanswered();
    }

    /// Where consumers are.
    pub(super) fn positions(&self) -> impl Iterator<Item = (TopicPartition, u64)> + '_ {
        self.positions.iter().map(|((_, id), at)| (*id, *at))
    }
}

impl World {
    pub(super) fn begin_clients(&mut self) {
        self.begin_topics();
        self.begin_producers();
        self.begin_consumers();
    }

    /// Asks any broker that is there who leads what. Nobody believes an epoch that is lower than one known.
    pub(super) fn refresh(&mut self, client: usize) {
        let there: Vec<_> = self.all().filter(|b| self.is_reachable(*b)).collect();
        if there.is_empty() {
            return;
        }
        let broker = self.chance.pick(&there);
        self.learn(client, broker);
    }

    /// As the client library when a leader says that a position behind its log is out of range: is it the newest leader that any broker knows? One that
    /// was replaced and has not heard of it says that of what only its successor has.
    pub(super) fn is_believed(&mut self, client: usize, leader: &Placed) -> bool {
        for broker in self.all() {
            if self.is_reachable(broker) {
                self.learn(client, broker);
            }
        }
        let newest = self.leader_of(client, leader.partition);
        newest.is_none_or(|(_, newest)| newest.leader_epoch <= leader.leader_epoch)
    }

    /// What a broker knows of leaders that are newer than those that the client knows.
    fn learn(&mut self, client: usize, broker: usize) {
        let Some(process) = &self.brokers[broker].process else {
            return;
        };
        let known = self.clients.known.entry(client).or_default();
        for placed in process.sim.metadata() {
            let newest = known.get(&placed.partition).map(|p| p.leader_epoch);
            if newest <= Some(placed.leader_epoch) {
                known.insert(placed.partition, placed);
            }
        }
    }

    /// Does a broker answer clients at this moment?
    pub(super) fn is_reachable(&self, broker: usize) -> bool {
        let node = &self.brokers[broker];
        node.process.is_some() && node.paused_until_us <= self.now_us
    }

    /// The partitions that a client knows, but for internal ones.
    fn known_to(&self, client: usize) -> Vec<TopicPartition> {
        let known = self.clients.known.get(&client);
        let placed = known.into_iter().flat_map(BTreeMap::values);
        let users = placed.filter(|p| !is_internal(&p.topic));
        users.map(|p| p.partition).collect()
    }

    /// The node of the leader that a client believes in.
    pub(super) fn leader_of(
        &self,
        client: usize,
        partition: TopicPartition,
    ) -> Option<(usize, Placed)> {
        let placed = self.clients.known.get(&client)?.get(&partition)?;
        let node = self.numbers.get(&placed.leader?)?;
        Some((*node, placed.clone()))
    }
}
