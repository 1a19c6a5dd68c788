//! Random histories of controllers, brokers and a store that fails. Every put is checked against the invariants, every message against
//! what was persisted; at the end everything has to come good.

mod closing;
mod internal;
mod moves;
mod replicated;
mod world;

use std::collections::BTreeSet;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use taffrail_core::{Adoption, BrokerNumber, DeletionPolicy, TopicSpec};

use crate::{
    request::{MoveRequest, Request},
    store::Fault,
};
use world::{BROKERS, CONTROLLERS, World};

/// What happens next. Indexes name controllers and brokers.
#[derive(Debug, Clone)]
enum Op {
    /// The store does the next thing it was asked for.
    Store(usize, Fault),
    /// The controller's process is replaced by another.
    Crash(usize),
    /// A new process of the broker dials the controller.
    Start(usize, usize),
    /// The same process dials.
    Dial(usize, usize),
    Disconnect(usize),
    /// The broker's process ends.
    Stop(usize),
    /// The broker says that it is about to stop.
    AnnounceStop(usize),
    /// The disk of the broker is full, or has room again.
    Fill(usize, bool),
    /// The broker fetches so many records of what it follows.
    Replicate(usize, usize),
    /// The broker asks for changes of in-sync sets; perhaps also for the removal of members that are down.
    Ask(usize, bool),
    /// Producers write to everything that the broker leads.
    Produce(usize),
    /// The broker reports.
    Beat(usize),
    /// The controller and all brokers go on without faults for so many steps.
    Run(usize, usize),
    /// The broker takes in what it was told next.
    Obey(usize),
    Apply(usize, u8, u32, u32, Adoption),
    Delete(usize, u8, DeletionPolicy),
    Move(usize, Moved),
    /// Milliseconds pass.
    Wait(u16),
}

/// What moves.
#[derive(Debug, Clone, Copy)]
enum Moved {
    /// The first partition of a topic to so many brokers from this one on.
    To(u8, u32, usize),
    Off(u32),
    Balance,
    Cancel,
}

impl Moved {
    fn request(self) -> MoveRequest {
        match self {
            Self::To(topic, first, count) => {
                let brokers = (first..).map(|b| BrokerNumber(b % BROKERS as u32));
                MoveRequest::To {
                    topic: format!("topic-{topic}"),
                    partition: Some(0),
                    brokers: brokers.take(count).collect(),
                }
            }
            Self::Off(broker) => MoveRequest::Off(BrokerNumber(broker)),
            Self::Balance => MoveRequest::Balance,
            Self::Cancel => MoveRequest::Cancel { topics: Vec::new() },
        }
    }
}

fn moved() -> impl Strategy<Value = Moved> {
    let number = || 0..BROKERS as u32;
    prop_oneof![
        8 => (0..3_u8, number(), 1..=BROKERS).prop_map(|(t, b, n)| Moved::To(t, b, n)),
        3 => number().prop_map(Moved::Off),
        2 => Just(Moved::Balance),
        2 => Just(Moved::Cancel),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let controller = || 0..CONTROLLERS;
    let broker = || 0..BROKERS;
    let topic = || 0..3_u8;
    let fault = prop_oneof![
        20 => Just(Fault::Nothing),
        1 => Just(Fault::Conflict),
        1 => Just(Fault::UnknownWritten),
        1 => Just(Fault::UnknownLost),
        1 => Just(Fault::Unavailable),
    ];
    let adoption = prop_oneof![
        Just(Adoption::Never),
        Just(Adoption::ByName),
        Just(Adoption::Fresh),
    ];
    let policy = prop_oneof![
        Just(DeletionPolicy::Retain),
        Just(DeletionPolicy::Delete),
        Just(DeletionPolicy::DeleteIfEmpty),
    ];
    let replicas = 1..=3_u32;
    let partitions = prop_oneof![20 => 1..6_u32, 1 => 100..200_u32];
    prop_oneof![
        30 => (controller(), fault).prop_map(|(c, f)| Op::Store(c, f)),
        2 => controller().prop_map(Op::Crash),
        3 => (broker(), controller()).prop_map(|(b, c)| Op::Start(b, c)),
        3 => (broker(), controller()).prop_map(|(b, c)| Op::Dial(b, c)),
        1 => broker().prop_map(Op::Disconnect),
        1 => broker().prop_map(Op::Stop),
        1 => broker().prop_map(Op::AnnounceStop),
        1 => (broker(), any::<bool>()).prop_map(|(b, f)| Op::Fill(b, f)),
        8 => (broker(), 1..4_usize).prop_map(|(b, n)| Op::Replicate(b, n)),
        6 => (broker(), any::<bool>()).prop_map(|(b, s)| Op::Ask(b, s)),
        4 => broker().prop_map(Op::Produce),
        4 => broker().prop_map(Op::Beat),
        12 => broker().prop_map(Op::Obey),
        2 => (controller(), 1..40_usize).prop_map(|(c, n)| Op::Run(c, n)),
        4 => (controller(), topic(), partitions, replicas, adoption).prop_map(|(c, t, n, r, a)| Op::Apply(c, t, n, r, a)),
        2 => (controller(), topic(), policy).prop_map(|(c, t, p)| Op::Delete(c, t, p)),
        4 => (controller(), moved()).prop_map(|(c, m)| Op::Move(c, m)),
        4 => (0..5_000_u16).prop_map(Op::Wait),
    ]
}

fn spec(partitions: u32, replicas: u32, adoption: Adoption) -> TopicSpec {
    TopicSpec {
        partitions: Some(partitions),
        replicas: Some(replicas),
        adoption,
        ..TopicSpec::default()
    }
}

fn run(world: &mut World, op: &Op) {
    match *op {
        Op::Store(controller, fault) => world.step_store(controller, fault),
        Op::Crash(controller) => world.crash(controller),
        Op::Start(broker, controller) => world.start_broker(broker, controller),
        Op::Dial(broker, controller) => world.dial(broker, controller),
        Op::Disconnect(broker) => world.disconnect(broker),
        Op::Produce(broker) => world.produce(broker),
        Op::Beat(broker) => world.beat(broker),
        Op::Obey(broker) => world.obey(broker),
        Op::Run(controller, steps) => world.run(controller, steps),
        Op::Stop(broker) => world.stop_broker(broker),
        Op::AnnounceStop(broker) => world.announce_stop(broker),
        Op::Fill(broker, is_full) => world.fill(broker, is_full),
        Op::Replicate(broker, records) => world.replicate(broker, records),
        Op::Ask(broker, shrinks) => world.ask(broker, shrinks),
        Op::Apply(controller, topic, partitions, replicas, adoption) => {
            // Several maps take long enough without copies.
            let replicas = if partitions < 100 { replicas } else { 1 };
            world.apply(
                controller,
                &format!("topic-{topic}"),
                spec(partitions, replicas, adoption),
            );
        }
        Op::Delete(controller, topic, policy) => {
            let name = format!("topic-{topic}");
            let policy = match policy {
                DeletionPolicy::Delete if world.keeps_records => DeletionPolicy::DeleteIfEmpty,
                policy => policy,
            };
            let policy = Some(policy);
            world.request(controller, Request::Delete { name, policy });
        }
        Op::Move(controller, moved) => {
            let (what, dry_run) = (moved.request(), false);
            world.request(controller, Request::Move { what, dry_run });
        }
        Op::Wait(ms) => world.wait(u64::from(ms)),
    }
}

/// A new store, or a cluster that runs, with or without internal topics.
fn begin(is_running: bool, has_internal: bool) -> World {
    let mut world = World::wanting(BROKERS, if has_internal { 4 } else { 0 });
    if is_running {
        world.recover();
        world.apply(0, "topic-0", spec(7, 3, Adoption::Never));
        world.settle();
    }
    world
}

/// A thousand in CI; `PROPTEST_CASES=60000` makes it a night's worth.
fn histories() -> u32 {
    ProptestConfig::default().cases.max(1000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(histories()))]

    #[test]
    fn whatever_fails_the_invariants_hold_and_everything_comes_good(is_running in any::<bool>(), has_internal in any::<bool>(), keeps_records in any::<bool>(), ops in prop::collection::vec(op(), 0..250)) {
        let mut world = begin(is_running, has_internal);
        world.keeps_records = keeps_records;
        for op in &ops {
            run(&mut world, op);
        }
        world.recover();
        world.apply(0, "final", spec(10, 3, Adoption::Never));
        world.settle();
        world.calm_down();
        world.assert_good("final");
        world.assert_preferred();
        world.assert_moved();
        world.assert_internal(has_internal);
    }
}

/// Random tests that never get anywhere prove nothing.
#[test]
fn the_histories_reach_every_rare_path() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let histories = prop::collection::vec(op(), 100..250);
    let mut reached = BTreeSet::new();
    for n in 0..200 {
        let mut world = begin(n % 2 == 0, n % 3 == 0);
        let ops = histories
            .new_tree(&mut runner)
            .expect("no filters")
            .current();
        for op in &ops {
            run(&mut world, op);
        }
        if n % 4 == 0 {
            // As every history of the test above ends.
            world.recover();
            world.settle();
            world.calm_down();
        }
        reached.append(&mut world.reached);
    }
    for path in [
        "InOffice",
        "Deposed",
        "Registered",
        "StoreIsOld",
        "Created",
        "Configured",
        "Unchanged",
        "RetainedDataExists",
        "StoreUnavailable",
        "NotActive",
        "Retained",
        "NotEmpty",
        "Deleting",
        "Gone",
        "election",
        "isr",
        "hand_over",
        "acknowledged",
        "delete order",
        "moves",
        "moved away",
        "write again",
        "several maps",
    ] {
        assert!(reached.contains(path), "{path} is not among {reached:?}");
    }
}

#[test]
fn a_history_without_faults_ends_with_every_partition_led() {
    let mut world = World::new();
    world.apply(0, "topic-0", spec(200, 3, Adoption::Never));
    world.recover();
    world.apply(0, "final", spec(10, 3, Adoption::Never));
    world.settle();
    world.assert_good("final");
}
