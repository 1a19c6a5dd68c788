//! Three brokers with disks that forget what was not synced, a network that delays, repeats and reorders, and the history of what was
//! promised. The code that decides is the real one.
#![expect(
    clippy::similar_names,
    reason = "brokers and broken rules are both what this is about"
)]

mod exchange;

use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset},
    replica::{
        AckQueue, Acks, BatchSpan, FetchAnswer, FetchOutcome, FetchRequest, FollowerStep,
        IsrRequest, LeaderEffect, LeaderRules, LogState, Replica, Role, SyncPoint, Turn,
        invariants::{self, History, Violated},
        mutant::Broken,
    },
};

pub(super) const MIN_IN_SYNC: usize = 2;
const RULES: LeaderRules = LeaderRules {
    min_in_sync: MIN_IN_SYNC,
    lag_ms_max: 10,
    retry_ms: 20,
};

/// A record, known by a number of its own, in a batch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u64,
    epoch: LeaderEpoch,
}

/// What survives a crash: `log[..durable]`. A snapshot of it may come back.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Record>,
    pub(super) durable: usize,
    high_watermark: Offset,
    pub(super) generation: u64,
    seen: Assignment,
}

/// A broker. `replica` is there while it is up.
#[derive(Debug)]
pub(super) struct Broker {
    number: BrokerNumber,
    pub(super) disk: Disk,
    pub(super) snapshot: Option<Disk>,
    pub(super) run: Incarnation,
    /// The run of each broker that it heard of last.
    heard: [Incarnation; 3],
    pub(super) replica: Option<Replica>,
    pub(super) is_registered: bool,
    sync: Option<SyncPoint>,
    waiting: AckQueue<(Offset, Record)>,
    high_watermark_in: (LeaderEpoch, Offset),
}

/// What is under way.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Map(usize, Assignment),
    Runs(usize, BrokerNumber, Incarnation),
    Fetch(usize, FetchRequest),
    Answer(usize, FetchAnswer, Vec<Record>),
    Ask(IsrRequest),
    Confirm(LeaderEpoch, BrokerNumber, Incarnation),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) broken: Broken,
    pub(super) brokers: [Broker; 3],
    pub(super) stored: Assignment,
    /// By the controller: the registered run of each broker, whether it is confirmed, and what it reported last.
    pub(super) runs: [Incarnation; 3],
    pub(super) confirmed: [bool; 3],
    pub(super) tails: [(crate::replica::LogTail, Offset); 3],
    pub(super) net: Vec<Message>,
    pub(super) history: History,
    pub(super) now_ms: u64,
    pub(super) next: u64,
    pub(super) has_restored: bool,
}

impl World {
    pub(super) fn new(broken: Broken) -> Self {
        let run = Incarnation {
            generation: 1,
            random: 0,
        };
        let numbers = [0, 1, 2].map(BrokerNumber);
        let stored = Assignment {
            replicas: numbers.to_vec(),
            isr: numbers.to_vec(),
            leader: Some(numbers[0]),
            leader_incarnation: run,
            leader_epoch: LeaderEpoch(1),
            ..Assignment::default()
        };
        let broker = |number| Broker {
            number,
            disk: Disk {
                generation: 1,
                ..Disk::default()
            },
            snapshot: None,
            run,
            heard: [run; 3],
            replica: None,
            is_registered: true,
            sync: None,
            waiting: AckQueue::default(),
            high_watermark_in: Default::default(),
        };
        let mut world = Self {
            broken,
            brokers: numbers.map(broker),
            stored: stored.clone(),
            runs: [run; 3],
            confirmed: [true; 3],
            tails: Default::default(),
            net: Vec::new(),
            history: History::default(),
            now_ms: 0,
            next: 0,
            has_restored: false,
        };
        for at in 0..3 {
            world.start(at).expect("nothing to break yet");
            world.map(at, &stored).expect("nothing to break yet");
        }
        world
    }

    /// The process starts with what its disk has.
    pub(super) fn start(&mut self, at: usize) -> Result<(), Violated> {
        let broken = self.broken;
        let broker = &mut self.brokers[at];
        let end = Offset(broker.disk.log.len() as u64);
        broker.disk.durable = broker.disk.log.len();
        let mut log = LogState {
            end,
            durable_end: end,
            high_watermark: broker.disk.high_watermark.min(end),
            ..LogState::default()
        };
        for (offset, record) in (0..).zip(&broker.disk.log) {
            log.epochs.note(record.epoch, Offset(offset));
        }
        let seen = broker.disk.seen.clone();
        let (number, run) = (broker.number, broker.run);
        broker.high_watermark_in = (LeaderEpoch(0), Offset::ZERO);
        broker.replica = Some(Replica::new_broken(
            number,
            run,
            RULES,
            seen.version(),
            log,
            broken,
        ));
        self.map(at, &seen)
    }

    /// The process is gone, and with it what was not synced, but for `kept` records that happened to reach the disk.
    pub(super) fn crash(&mut self, at: usize, kept: usize) {
        let broker = &mut self.brokers[at];
        broker.replica = None;
        broker.sync = None;
        broker.is_registered = false;
        broker.waiting = AckQueue::default();
        let end = broker.disk.durable + kept;
        broker.disk.log.truncate(end);
    }

    /// Broker `at` hears of an assignment.
    pub(super) fn map(&mut self, at: usize, assignment: &Assignment) -> Result<(), Violated> {
        let (now_ms, mut effects) = (self.now_ms, Vec::new());
        let broker = &mut self.brokers[at];
        let Some(replica) = &mut broker.replica else {
            return Ok(());
        };
        match replica.assign(assignment, now_ms, &mut effects) {
            Err(ErrorCode::StaleLeaderEpoch) => return Ok(()),
            Ok(Turn::Stays) => {}
            // Whoever waits is refused.
            _ => broker.waiting = AckQueue::default(),
        }
        broker.disk.seen = assignment.clone();
        broker.tell_runs(&mut effects);
        self.act(at, &effects)
    }

    /// The leader that `at` believes to be gets a record.
    pub(super) fn produce(&mut self, at: usize) -> Result<(), Violated> {
        let (now_ms, id) = (self.now_ms, self.next);
        let broker = &mut self.brokers[at];
        let Some(leader) = broker.leader() else {
            return Ok(());
        };
        if leader.check_append(Acks::All).is_err() {
            return Ok(());
        }
        let epoch = leader.leader_epoch();
        let end = leader.log().end.plus(1);
        leader.appended(end, now_ms);
        let record = Record { id, epoch };
        broker.disk.log.push(record);
        broker
            .waiting
            .wait(Acks::All, end, (Offset(end.0 - 1), record));
        self.next += 1;
        let (number, run) = (self.brokers[at].number, self.brokers[at].run);
        self.history.leads(epoch, number, run)
    }

    pub(super) fn sync_begins(&mut self, at: usize) {
        let broker = &mut self.brokers[at];
        let point = broker.replica.as_ref().map(|r| r.log().sync_point());
        broker.sync = broker.sync.or(point);
    }

    pub(super) fn sync_ends(&mut self, at: usize) -> Result<(), Violated> {
        let mut effects = Vec::new();
        let broker = &mut self.brokers[at];
        let (Some(point), Some(replica)) = (broker.sync.take(), &mut broker.replica) else {
            return Ok(());
        };
        if point.generation == replica.log().generation {
            broker.disk.durable = broker.disk.durable.max(point.end.0 as usize);
        }
        match replica.role_mut() {
            Role::Leader(leader) => leader.synced(point, &mut effects),
            Role::Follower(follower) => {
                follower.synced(point);
            }
        }
        self.act(at, &effects)
    }

    /// Broker `at` hears that `run` of `broker` registered.
    pub(super) fn hear_run(
        &mut self,
        at: usize,
        broker: BrokerNumber,
        run: Incarnation,
    ) -> Result<(), Violated> {
        let mut effects = Vec::new();
        self.brokers[at].heard[broker.0 as usize] = run;
        self.brokers[at].tell_runs(&mut effects);
        self.act(at, &effects)
    }

    pub(super) fn tick(&mut self, at: usize) -> Result<(), Violated> {
        let (now_ms, mut effects) = (self.now_ms, Vec::new());
        if let Some(leader) = self.brokers[at].leader() {
            leader.tick(now_ms, &mut effects);
        }
        self.act(at, &effects)
    }
}

impl Broker {
    fn leader(&mut self) -> Option<&mut crate::replica::Leader> {
        match self.replica.as_mut()?.role_mut() {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) => None,
        }
    }

    /// A leader counts nobody whose run it has not heard of.
    fn tell_runs(&mut self, effects: &mut Vec<LeaderEffect>) {
        let heard = self.heard;
        if let Some(leader) = self.leader() {
            for (broker, run) in (0..).map(BrokerNumber).zip(heard) {
                leader.registered(broker, run, effects);
            }
        }
    }
}

fn spans(from: Offset, records: &[Record]) -> Vec<BatchSpan> {
    let span = |(at, record): (u64, &Record)| BatchSpan {
        base: from.plus(at),
        next: from.plus(at + 1),
        epoch: record.epoch,
    };
    (0..).zip(records).map(span).collect()
}
