//! Volumes, and the processes on them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use taffrail_broker::{
    BrokerConfig,
    sim::{Durable, Input, Now, Output, ReplicaView, Settings, SimBroker},
};
use taffrail_core::{BrokerNumber, BrokerUuid, Incarnation, TopicPartition};
use taffrail_log::{
    Disk,
    sim::{Loss, SimDisk},
};

use super::{
    BROKERS, CONTROLLERS, MS, SECOND, Step, World,
    network::{ConnectionId, End, Peer, Wire},
    promises::{self, Kept},
    told,
};
use crate::chance::Chance;

const TICK: u64 = 100 * MS;
/// The simulated wall clock begins here.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What a broker keeps.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) disk: SimDisk,
    /// While no process has it.
    pub(super) files: Option<Durable>,
    /// Of what its disk did not do, so much was counted.
    pub(super) counted: (u64, u64),
}

/// A copy of a volume.
#[derive(Debug, Clone)]
pub(super) struct Older {
    pub(super) disk: SimDisk,
    pub(super) files: Durable,
    /// As its original was.
    pub(super) was_struck: bool,
}

/// A machine, its volume, and the process that may run on it.
#[derive(Debug)]
pub(super) struct BrokerNode {
    name: String,
    pub(super) volume: Volume,
    pub(super) process: Option<Process>,
    /// Of the process; raised when it starts and when it ends.
    pub(super) run: u64,
    pub(super) paused_until_us: u64,
    pub(super) wall_skew_ms: i64,
    pub(super) is_disk_slow: bool,
    /// What blocks is not done before.
    pub(super) disk_hangs_until_us: u64,
    /// What its volume has for certain.
    pub(super) kept: BTreeMap<TopicPartition, Kept>,
    /// A log on its volume may be damaged: by a bit that changed, a sync that failed, or a crash that tore what lies before whole batches.
    pub(super) was_struck: bool,
    /// Its volume is a copy from before.
    pub(super) went_back: bool,
    /// What it had before, if a copy was made.
    pub(super) older: Option<Older>,
    volumes: u64,
}

/// A running broker.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) sim: SimBroker,
    pub(super) started_us: u64,
    pub(super) controller: Option<ConnectionId>,
    dials_at_us: u64,
    dialled: usize,
    pub(super) leaders: BTreeMap<BrokerNumber, ConnectionId>,
    pub(super) seen: BTreeMap<TopicPartition, ReplicaView>,
    /// Of other brokers, as controllers told it that it obeyed.
    pub(super) runs: BTreeMap<BrokerNumber, Incarnation>,
    pub(super) is_stopping: bool,
}

impl BrokerNode {
    pub(super) fn new(index: usize, chance: &mut Chance) -> Self {
        let mut node = Self {
            name: format!("b{index}"),
            volume: Volume {
                disk: SimDisk::new(chance.bits()),
                files: None,
                counted: (0, 0),
            },
            process: None,
            run: 0,
            paused_until_us: 0,
            wall_skew_ms: 0,
            is_disk_slow: false,
            disk_hangs_until_us: 0,
            kept: BTreeMap::new(),
            was_struck: false,
            went_back: false,
            older: None,
            volumes: 0,
        };
        node.format(chance);
        node
    }

    /// A new, empty volume.
    pub(super) fn format(&mut self, chance: &mut Chance) {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&chance.bits().to_be_bytes());
        uuid[8..].copy_from_slice(&chance.bits().to_be_bytes());
        self.volumes += 1;
        self.volume = Volume {
            disk: SimDisk::new(chance.bits()),
            files: Some(Durable::new(BrokerUuid::from_bytes(uuid))),
            counted: (0, 0),
        };
        self.was_struck = false;
        self.went_back = false;
        self.older = None;
        self.kept.clear();
    }
}

impl World {
    pub(super) fn start_broker(&mut self, broker: usize) -> Step {
        let now = self.broker_now(broker, self.now_us);
        let (random, syncs_itself) = (AtomicU64::new(self.chance.bits()), self.chance.happens(500));
        let node = &mut self.brokers[broker];
        if node.process.is_some() {
            return Ok(());
        }
        let Some(files) = node.volume.files.take() else {
            return Ok(());
        };
        node.run += 1;
        let run = node.run;
        let mut config = BrokerConfig {
            name: node.name.clone(),
            replica_lag_ms_max: 2_000,
            ..BrokerConfig::default()
        };
        config.disk.free_bytes_min = 32 << 10;
        config.disk.ballast_bytes = 0;
        config.disk.expire_interval_ms = 2_000;
        config.disk.checkpoint_interval_ms = 3_000;
        let settings = Settings {
            config,
            // Odd steps: never the same number twice.
            random: Arc::new(move || random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)),
            syncs_itself,
        };
        let disk: Arc<dyn Disk> = Arc::new(node.volume.disk.clone());
        let sim = SimBroker::start(disk, files, settings, now);
        node.process = Some(Process {
            sim,
            started_us: self.now_us,
            controller: None,
            dials_at_us: 0,
            dialled: broker,
            leaders: BTreeMap::new(),
            seen: BTreeMap::new(),
            runs: BTreeMap::new(),
            is_stopping: false,
        });
        self.note(format!("b{broker} starts, run {run}"));
        self.observe(broker)?;
        self.tick_broker(broker, run)
    }

    fn broker_now(&self, broker: usize, started_us: u64) -> Now {
        let node = &self.brokers[broker];
        Now {
            wall_ms: EPOCH_MS + (self.now_us / MS) as i64 + node.wall_skew_ms,
            uptime_ms: (self.now_us - started_us) / MS,
        }
    }

    fn tick_broker(&mut self, broker: usize, run: u64) -> Step {
        if self.brokers[broker].run != run {
            return Ok(());
        }
        self.plan(TICK, move |w| w.tick_broker(broker, run));
        self.dial_controller(broker, run);
        self.broker_input(broker, run, Input::Tick)
    }

    /// Brings something to a process, once it is not paused any more.
    pub(super) fn broker_input(&mut self, broker: usize, run: u64, input: Input) -> Step {
        let node = &self.brokers[broker];
        if node.run != run {
            return Ok(());
        }
        if node.paused_until_us > self.now_us {
            if !matches!(input, Input::Tick) {
                let wait = node.paused_until_us - self.now_us;
                self.plan(wait, move |w| w.broker_input(broker, run, input));
            }
            return Ok(());
        }
        let Some(started_us) = node.process.as_ref().map(|p| p.started_us) else {
            return Ok(());
        };
        let now = self.broker_now(broker, started_us);
        if !matches!(input, Input::Tick) {
            let what = told::input(&input);
            self.note(format!("b{broker} <- {what}"));
        }
        self.brokers[broker].volume.disk.set_now_ms(now.wall_ms);
        let said = match &input {
            Input::FollowerSays(connection, message) => self.said_by(*connection, message),
            _ => None,
        };
        if let Input::Produce { id, partition, .. } = &input {
            self.is_taken(broker, *id, *partition);
        }
        let runs = promises::runs_told(&input);
        let Some(process) = &mut self.brokers[broker].process else {
            return Ok(());
        };
        let before = said.as_ref().map(|_| process.seen.clone());
        let outputs = process.sim.handle(now, input);
        // Of a controller that is behind it takes in nothing.
        if outputs.iter().any(|o| matches!(o, Output::Obeyed)) {
            process.runs.extend(runs);
        }
        self.count_failures(broker);
        self.observe(broker)?;
        if let Some((said, before)) = said.zip(before) {
            self.check_heard(broker, &before, &said)?;
        }
        for output in outputs {
            self.broker_output(broker, run, output)?;
        }
        Ok(())
    }

    fn broker_output(&mut self, broker: usize, run: u64, output: Output) -> Step {
        let Some(process) = &mut self.brokers[broker].process else {
            return Ok(());
        };
        match output {
            Output::ToController(message) => {
                if let Some(connection) = process.controller {
                    self.asks(broker, &message)?;
                    self.send(connection, End::Dialled, Wire::Broker(message));
                }
            }
            Output::HangUpController => {
                if let Some(connection) = process.controller.take() {
                    self.close(connection, End::Dialled);
                }
            }
            Output::Dial(leader) => self.dial_leader(broker, run, leader),
            Output::ToLeader(leader, message) => {
                if let Some(connection) = process.leaders.get(&leader).copied() {
                    self.send(connection, End::Dialled, Wire::Follower(message));
                }
            }
            Output::HangUpLeader(leader) => {
                if let Some(connection) = process.leaders.remove(&leader) {
                    self.close(connection, End::Dialled);
                }
            }
            Output::ToFollower(connection, message) => {
                if self.count_answers(&message) {
                    self.follower_is_told_to_cut(connection, &message);
                }
                self.send(connection, End::Listened, Wire::Leader(message));
            }
            Output::HangUpFollower(connection) => self.close(connection, End::Listened),
            Output::ToMember(connection, response) => {
                self.member_is_told(broker, connection, &response)?;
                self.send(connection, End::Listened, Wire::Coordinator(response));
            }
            Output::HangUpMember(connection, why) => {
                self.send(connection, End::Listened, Wire::Refused(why));
                self.close(connection, End::Listened);
            }
            Output::WasReset(id, outcome) => self.was_reset(id, &outcome),
            Output::Produced(id, outcome) => return self.produced(broker, id, outcome),
            Output::Job(id) => {
                let node = &self.brokers[broker];
                let most = if node.is_disk_slow { 400 * MS } else { 2 * MS };
                let hangs = node.disk_hangs_until_us.saturating_sub(self.now_us);
                let takes = hangs + self.chance.between(50, most);
                self.plan(takes, move |w| w.broker_input(broker, run, Input::Job(id)));
            }
            Output::HandedOver => {
                if process.is_stopping {
                    self.count("leadership handed over");
                    self.close_broker(broker);
                }
            }
            Output::Fatal(error) => {
                self.note(format!("b{broker} must not go on: {error}"));
                self.count("broker refused for good");
                self.crash_broker(broker, Loss::Nothing);
                let wait = self.chance.between(SECOND, 4 * SECOND);
                self.plan(wait, move |w| w.start_broker(broker));
            }
            Output::Note(what) => self.count(what),
            Output::Obeyed => {}
        }
        Ok(())
    }

    /// The process ends without a word.
    pub(super) fn crash_broker(&mut self, broker: usize, loss: Loss) {
        let node = &mut self.brokers[broker];
        let peer = Peer {
            node: broker,
            run: node.run,
        };
        let Some(process) = node.process.take() else {
            return;
        };
        node.volume.files = Some(process.sim.crash());
        let torn = node.volume.disk.torn();
        node.volume.disk.crash(loss);
        let is_torn = node.volume.disk.torn() > torn;
        // Whoever ran without a damaged log has none of before.
        node.was_struck &= process.seen.values().any(|view| view.fault.is_some());
        node.was_struck |= loss == Loss::Anything;
        node.run += 1;
        node.paused_until_us = 0;
        self.note(format!("b{broker} crashes, {loss:?} is lost"));
        if is_torn {
            self.count("write torn");
        }
        self.close_all(peer);
    }

    /// The process ends in order.
    pub(super) fn close_broker(&mut self, broker: usize) {
        let node = &mut self.brokers[broker];
        let peer = Peer {
            node: broker,
            run: node.run,
        };
        let Some(process) = node.process.take() else {
            return;
        };
        node.volume.files = Some(process.sim.close());
        // Its files are not open any more.
        node.volume.disk.crash(Loss::Nothing);
        node.run += 1;
        self.note(format!("b{broker} stops"));
        self.close_all(peer);
    }

    fn dial_controller(&mut self, broker: usize, run: u64) {
        let wait = self.chance.between(100 * MS, 1_500 * MS);
        let now_us = self.now_us;
        let Some(process) = &mut self.brokers[broker].process else {
            return;
        };
        if process.controller.is_some() || process.dials_at_us > now_us {
            return;
        }
        process.dials_at_us = now_us + wait;
        process.dialled = (process.dialled + 1) % CONTROLLERS;
        let controller = process.dialled;
        let delay = self.delay();
        self.plan(delay, move |w| {
            let to = BROKERS + controller;
            let is_cut = w.network.cut[broker][to] || w.network.cut[to][broker];
            if is_cut || !w.controllers[controller].is_up || w.brokers[broker].run != run {
                return Ok(());
            }
            let from = Peer { node: broker, run };
            let to = Peer {
                node: to,
                run: w.controllers[controller].run,
            };
            if w.brokers[broker]
                .process
                .as_ref()
                .is_some_and(|p| p.controller.is_some())
            {
                return Ok(());
            }
            let connection = w.connect(from, to, None);
            if let Some(process) = &mut w.brokers[broker].process {
                process.controller = Some(connection);
            }
            w.broker_input(broker, run, Input::ControllerOpened)
        });
    }

    fn dial_leader(&mut self, broker: usize, run: u64, leader: BrokerNumber) {
        let delay = self.delay();
        self.plan(delay, move |w| {
            let failed = move |refused| Input::LeaderClosed { leader, refused };
            let Some(to) = w.numbers.get(&leader).copied() else {
                return w.broker_input(broker, run, failed(false));
            };
            if w.network.cut[broker][to] || w.network.cut[to][broker] {
                w.plan(2 * SECOND, move |w| {
                    w.broker_input(broker, run, failed(false))
                });
                return Ok(());
            }
            if w.brokers[to].process.is_none() || w.brokers[broker].run != run {
                return w.broker_input(broker, run, failed(true));
            }
            let (from, to) = (
                Peer { node: broker, run },
                Peer {
                    node: to,
                    run: w.brokers[to].run,
                },
            );
            let connection = w.connect(from, to, Some(leader));
            let process = &mut w.brokers[broker].process;
            let before = process
                .as_mut()
                .and_then(|p| p.leaders.insert(leader, connection));
            if let Some(before) = before {
                w.close(before, End::Dialled);
            }
            w.broker_input(broker, run, Input::LeaderOpened(leader))
        });
    }

    pub(super) fn forget_controller(&mut self, broker: usize, id: ConnectionId) -> bool {
        let process = self.brokers[broker].process.as_mut();
        process.is_some_and(|p| p.controller.take_if(|c| *c == id).is_some())
    }

    pub(super) fn is_current(&self, broker: usize, leader: BrokerNumber, id: ConnectionId) -> bool {
        let process = self.brokers[broker].process.as_ref();
        process.is_some_and(|p| p.leaders.get(&leader) == Some(&id))
    }

    pub(super) fn forget_leader(
        &mut self,
        broker: usize,
        leader: BrokerNumber,
        id: ConnectionId,
    ) -> bool {
        let is_current = self.is_current(broker, leader, id);
        if let Some(process) = self.brokers[broker].process.as_mut().filter(|_| is_current) {
            process.leaders.remove(&leader);
        }
        is_current
    }
}
