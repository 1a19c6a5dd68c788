//! Random histories of the world. Whatever happens, the invariants hold; and whatever rule is broken, a history shows it.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

use super::world::{Message, World};
use crate::{
    ids::Incarnation,
    replica::{
        invariants::Violated,
        mutant::{Broken, Mutant},
    },
};

/// Something happens. Brokers are 0 to 2; messages are counted from the newest, modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Event {
    Produce(usize),
    SyncBegins(usize),
    SyncEnds(usize),
    /// A whole sync, a whole fetch: as when nothing goes wrong.
    Sync(usize),
    Round(usize),
    /// The request is on its way; it may arrive late, twice, or elsewhere.
    Fetch(usize, usize),
    Deliver(usize),
    Repeat(usize),
    Drop(usize),
    Tick(u64),
    Crash(usize, usize),
    Restart(usize),
    Register(usize),
    Heartbeat(usize),
    Elect(bool),
    Snapshot(usize),
    /// The volume is set back to the snapshot, once in a history.
    Restore(usize),
}

/// An event of a broker and a number.
type Make = fn(usize, usize) -> Event;

/// How often each kind happens, of a hundred, and what it is made of. A number and not a strategy for each event: it is many times faster.
const WEIGHTS: [(u32, Make); 17] = [
    (8, |at, _| Event::Produce(at)),
    (3, |at, _| Event::SyncBegins(at)),
    (3, |at, _| Event::SyncEnds(at)),
    (8, |at, _| Event::Sync(at)),
    (14, |at, _| Event::Round(at)),
    (6, |at, n| Event::Fetch(at, n % 3)),
    (22, |_, n| Event::Deliver(n % 8)),
    (4, |_, n| Event::Repeat(n % 30)),
    (2, |_, n| Event::Drop(n % 30)),
    (5, |_, n| Event::Tick(n as u64 % 30)),
    (4, |at, n| Event::Crash(at, n % 2)),
    (5, |at, _| Event::Restart(at)),
    (5, |at, _| Event::Register(at)),
    (3, |at, _| Event::Heartbeat(at)),
    (4, |_, n| Event::Elect(n % 2 == 1)),
    (2, |at, _| Event::Snapshot(at)),
    (2, |at, _| Event::Restore(at)),
];

impl Event {
    fn decode(number: u32) -> Self {
        let (mut kind, at, n) = (number % 100, number / 100 % 3, number / 300 % 240);
        for (weight, make) in WEIGHTS {
            if kind < weight {
                return make(at as usize, n as usize);
            }
            kind -= weight;
        }
        unreachable!("the weights are a hundred in all")
    }
}

fn run(broken: Broken, events: &[Event]) -> Result<World, Violated> {
    let mut world = World::new(broken);
    for event in events {
        world.step(*event)?;
        world.check()?;
    }
    Ok(world)
}

impl World {
    fn step(&mut self, event: Event) -> Result<(), Violated> {
        match event {
            Event::Produce(at) => self.produce(at)?,
            Event::SyncBegins(at) => self.sync_begins(at),
            Event::SyncEnds(at) => self.sync_ends(at)?,
            Event::Sync(at) => self.sync(at)?,
            Event::Round(at) => self.round(at)?,
            Event::Fetch(at, to) => {
                if let Some((_, request)) = self.next_fetch(at) {
                    self.net.push(Message::Fetch(to, request));
                }
            }
            Event::Deliver(nth) => {
                if let Some(index) = self.nth(nth) {
                    let message = self.net.remove(index);
                    self.deliver(message)?;
                }
            }
            Event::Repeat(nth) => {
                if let Some(index) = self.nth(nth) {
                    let message = self.net[index].clone();
                    self.deliver(message)?;
                }
            }
            Event::Drop(nth) => {
                if let Some(index) = self.nth(nth) {
                    self.net.remove(index);
                }
            }
            Event::Tick(ms) => {
                self.now_ms += ms;
                for at in 0..3 {
                    self.tick(at)?;
                }
            }
            Event::Crash(at, kept) => self.crash(at, kept),
            Event::Restart(at) => self.restart(at)?,
            Event::Register(at) => self.register(at)?,
            Event::Heartbeat(at) => self.hear(at),
            Event::Elect(suspects) => {
                let except = self.stored.leader.filter(|_| suspects);
                self.elect(except)?;
            }
            Event::Snapshot(at) => self.snapshot(at),
            Event::Restore(at) => self.restore(at),
        }
        Ok(())
    }

    /// A whole sync.
    pub(super) fn sync(&mut self, at: usize) -> Result<(), Violated> {
        self.sync_ends(at)?;
        self.sync_begins(at);
        self.sync_ends(at)
    }

    /// A fetch that is answered at once.
    pub(super) fn round(&mut self, at: usize) -> Result<(), Violated> {
        let Some((to, request)) = self.next_fetch(at) else {
            return Ok(());
        };
        let before = self.net.len();
        self.serve(to, &request)?;
        let is_answer = |message: &Message| matches!(message, Message::Answer(..));
        if let Some(index) = self.net[before..].iter().position(is_answer) {
            let answer = self.net.remove(before + index);
            self.deliver(answer)?;
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self, at: usize) {
        let mut copy = self.brokers[at].disk.clone();
        copy.log.truncate(copy.durable);
        self.brokers[at].snapshot = Some(copy);
    }

    /// The volume becomes what it was at the snapshot, once in a history.
    pub(super) fn restore(&mut self, at: usize) {
        let has_restored = self.has_restored;
        if let Some(snapshot) = self.brokers[at].snapshot.take_if(|_| !has_restored) {
            self.has_restored = true;
            self.crash(at, 0);
            self.brokers[at].disk = snapshot;
        }
    }

    /// Everybody is started and heard. Is somebody elected?
    fn is_led_again(&mut self) -> bool {
        for at in 0..3 {
            let again = self.restart(at).and_then(|()| self.register(at));
            again.expect("no invariant is broken");
        }
        self.elect(None).expect("no invariant is broken");
        let leader = self.stored.leader.map_or(0, |leader| leader.0 as usize);
        let broker = &self.brokers[leader];
        broker.is_registered && self.stored.leader_incarnation == broker.run
    }

    fn nth(&self, from_newest: usize) -> Option<usize> {
        let last = self.net.len().checked_sub(1)?;
        Some(last - from_newest % (last + 1))
    }

    pub(super) fn restart(&mut self, at: usize) -> Result<(), Violated> {
        self.next += 1;
        let random = self.next;
        let broker = &mut self.brokers[at];
        if broker.replica.is_some() {
            return Ok(());
        }
        broker.disk.generation += 1;
        let generation = broker.disk.generation;
        broker.run = Incarnation { generation, random };
        self.start(at)
    }

    pub(super) fn deliver(&mut self, message: Message) -> Result<(), Violated> {
        match message {
            Message::Map(to, assignment) => {
                if self.brokers[to].is_registered {
                    self.map(to, &assignment)?;
                }
            }
            Message::Runs(to, broker, run) => self.hear_run(to, broker, run)?,
            Message::Fetch(to, request) => self.serve(to, &request)?,
            Message::Answer(to, answer, records) => self.obey(to, &answer, &records)?,
            Message::Ask(request) => self.change(&request)?,
            Message::Confirm(epoch, broker, run) => self.confirm(epoch, broker, run),
        }
        Ok(())
    }
}

fn runner(cases: u32, max_shrink_iters: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn search(mutant: Option<Mutant>, cases: u32) -> Result<(), TestError<Vec<u32>>> {
    let numbers = prop::collection::vec(0_u32..72_000, 1..250);
    // What a broken rule leads to need not be short.
    let shrinks = if mutant.is_none() { 20_000 } else { 0 };
    runner(cases, shrinks).run(&numbers, |numbers| {
        let events: Vec<_> = numbers.into_iter().map(Event::decode).collect();
        match run(Broken(mutant), &events) {
            Ok(_) => Ok(()),
            Err(violated) => Err(TestCaseError::fail(format!("{violated}, by {events:?}"))),
        }
    })
}

#[test]
fn whatever_happens_the_invariants_hold() {
    search(None, 2_000).expect("no history breaks one");
}

/// The in-sync set never shrinks below `minInSync` while no volume is lost, so that its members are enough to tell who has everything.
#[test]
fn whatever_happened_somebody_leads_once_all_are_back() {
    let numbers = prop::collection::vec(0_u32..72_000, 1..250);
    let ran = runner(2_000, 20_000).run(&numbers, |numbers| {
        let events: Vec<_> = numbers.into_iter().map(Event::decode).collect();
        let restores = |event: &Event| matches!(event, Event::Restore(_));
        let kept: Vec<_> = events.into_iter().filter(|e| !restores(e)).collect();
        let mut world = run(Broken(None), &kept).expect("no invariant is broken");
        prop_assert!(world.is_led_again(), "{:?}, by {kept:?}", world.stored);
        Ok(())
    });
    ran.expect("somebody leads after every history");
}

/// The rules whose breach chance shows within a test's time. The others take two faults in one order, and have a history of their own.
pub(super) const SHOWN: [Mutant; 6] = [
    Mutant::DivergingCounted,
    Mutant::CountedBeforeDurable,
    Mutant::OwnCountedBeforeDurable,
    Mutant::ShrinkBeforePersisted,
    Mutant::ElectOutsideIsr,
    Mutant::LeaderIncarnationNotCompared,
];

#[test]
fn a_history_shows_that_a_rule_is_broken() {
    let hidden = SHOWN
        .into_iter()
        .filter(|mutant| search(Some(*mutant), 20_000).is_ok());
    let hidden: Vec<_> = hidden.collect();
    assert!(hidden.is_empty(), "no history shows {hidden:?}");
}
