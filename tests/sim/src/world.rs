//! Nodes, time, and what happens next.

mod brokers;
mod clients;
mod controllers;
mod decisions;
mod faults;
mod groups;
mod network;
mod observe;
mod promises;
mod rest;
mod told;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use taffrail_controller::{MemoryStore, sim::StoredPartition};
use taffrail_core::{BrokerNumber, LeaderEpoch, PartitionEpoch, TopicPartition};

use crate::{Options, chance::Chance, counters::Counters, ledger::Ledger, trace::Trace};
use brokers::BrokerNode;
use clients::Clients;
use controllers::ControllerNode;
use faults::Faults;
use network::Network;

/// The most that a run has; without the last one nothing moves.
pub(crate) const BROKERS: usize = 4;
/// Of every partition.
pub(crate) const REPLICAS: usize = 3;
/// Of every topic.
pub(crate) const MIN_IN_SYNC: usize = 2;
pub(crate) const CONTROLLERS: usize = 2;
/// Where clients are in the network.
const CLIENTS: usize = BROKERS + CONTROLLERS;
pub(crate) const NODES: usize = CLIENTS + 1;

/// A run comes to an end within so many actions: about ten times as many as the longest of some thousand had.
const ACTIONS_MAX: u64 = 500_000;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// Why a run ends early: the rule that is broken, and by what.
pub(crate) type Step = Result<(), String>;
type Action = Box<dyn FnOnce(&mut World) -> Step>;

struct Planned {
    at_us: u64,
    sequence: u64,
    action: Action,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

/// Everything there is.
pub(crate) struct World {
    options: Options,
    chance: Chance,
    now_us: u64,
    planned: BinaryHeap<Reverse<Planned>>,
    sequence: u64,
    /// So far.
    actions: u64,
    trace: Trace,
    counters: Counters,
    ledger: Ledger,
    brokers: Vec<BrokerNode>,
    /// Which node had which number last.
    numbers: BTreeMap<BrokerNumber, usize>,
    controllers: Vec<ControllerNode>,
    store: MemoryStore,
    /// What the store has, as of the last put.
    stored: BTreeMap<TopicPartition, StoredPartition>,
    /// Every version of an assignment that it ever had, and how many members that had.
    persisted: BTreeMap<(TopicPartition, (LeaderEpoch, PartitionEpoch)), usize>,
    network: Network,
    clients: Clients,
    faults: Faults,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// How often what happened.
    pub counters: Counters,
    /// Of all events.
    pub digest: u64,
    /// So many.
    pub events: u64,
    /// Things that were planned and happened, whether anybody would note them or not.
    pub actions: u64,
    /// Produce requests and fetches.
    pub operations: u64,
    /// Things that went wrong on purpose.
    pub faults: u64,
    /// Records that were acknowledged with acks=all.
    pub acknowledged: usize,
    /// Simulated, until everything had come to rest.
    pub seconds: u64,
}

/// A broken rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// The rule, and what broke it.
    pub broken: String,
    /// What happened last.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.broken)?;
        write!(f, "again: cargo xtask sim --seed {}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// Runs a seed to its end.
///
/// # Errors
/// A rule is broken, or an assertion of the code under test failed.
pub fn run(options: Options) -> Result<Report, Box<Failure>> {
    taffrail_core::replica::Mutant::choose(options.mutant);
    let mut world = World::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match outcome {
        Ok(Ok(())) => return Ok(world.report()),
        Ok(Err(broken)) => broken,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("without a text"))
        }
    };
    Err(Box::new(Failure {
        seed: options.seed,
        broken,
        last: world.trace.last(),
    }))
}

impl World {
    fn new(options: Options) -> Self {
        let mut chance = Chance::new(options.seed);
        let count = if chance.happens(500) {
            BROKERS
        } else {
            REPLICAS
        };
        let brokers = (0..count).map(|b| BrokerNode::new(b, &mut chance));
        Self {
            brokers: brokers.collect(),
            numbers: BTreeMap::new(),
            controllers: (0..CONTROLLERS)
                .map(|_| ControllerNode::default())
                .collect(),
            store: MemoryStore::default(),
            stored: BTreeMap::new(),
            persisted: BTreeMap::new(),
            network: Network::default(),
            clients: Clients::default(),
            faults: Faults::default(),
            now_us: 0,
            planned: BinaryHeap::new(),
            sequence: 0,
            actions: 0,
            trace: Trace::new(options.shown),
            counters: Counters::default(),
            ledger: Ledger::default(),
            chance,
            options,
        }
    }

    fn run(&mut self) -> Step {
        for broker in self.all() {
            // The last one comes when others hold everything.
            let latest = if broker < REPLICAS { 2 } else { 20 };
            let delay = self.chance.between(0, latest * SECOND);
            self.plan(delay, move |w| w.start_broker(broker));
        }
        self.plan(0, Self::look_at_lease);
        self.begin_clients();
        self.begin_moves();
        self.begin_groups();
        self.begin_faults();
        let end = self.options.seconds * SECOND;
        self.run_until(end)?;
        self.come_to_rest()
    }

    fn run_until(&mut self, end_us: u64) -> Step {
        while let Some(Reverse(next)) = self.planned.peek() {
            if next.at_us > end_us {
                break;
            }
            let Some(Reverse(next)) = self.planned.pop() else {
                break;
            };
            self.now_us = next.at_us;
            self.actions += 1;
            if self.actions > ACTIONS_MAX {
                return Err(format!("a run comes to an end: {ACTIONS_MAX} actions"));
            }
            (next.action)(self)?;
        }
        self.now_us = end_us;
        Ok(())
    }

    /// Every broker of this run.
    pub(crate) fn all(&self) -> Range<usize> {
        0..self.brokers.len()
    }

    /// Lets something happen after `delay_us`.
    fn plan(&mut self, delay_us: u64, action: impl FnOnce(&mut Self) -> Step + 'static) {
        self.sequence += 1;
        self.planned.push(Reverse(Planned {
            at_us: self.now_us + delay_us,
            sequence: self.sequence,
            action: Box::new(action),
        }));
    }

    fn note(&mut self, what: String) {
        self.trace.note(self.now_us, what);
    }

    fn count(&mut self, what: &'static str) {
        self.counters.count(what);
    }

    fn report(&self) -> Report {
        Report {
            counters: self.counters.clone(),
            digest: self.trace.digest(),
            events: self.trace.events(),
            actions: self.actions,
            operations: self.clients.operations,
            faults: self.faults.made,
            acknowledged: self.ledger.acknowledged(),
            seconds: self.now_us / SECOND,
        }
    }
}
