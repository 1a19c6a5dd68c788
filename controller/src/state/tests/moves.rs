//! Replicas that move, step by step, and wherever the controller stops.

use taffrail_core::{Adoption, Assignment, BrokerNumber, DeletionPolicy, TopicPartition};

use super::{
    spec,
    world::{BROKERS, World},
};
use crate::{
    request::{MoveRequest, Request},
    store::Fault,
};

const NAME: &str = "topic-0";
const FIRST: BrokerNumber = BrokerNumber(0);
const LAST: BrokerNumber = BrokerNumber(2);

/// One topic, of which every leader has a record.
fn running(replicas: u32) -> World {
    let mut world = World::new();
    world.recover();
    world.apply(0, NAME, spec(3, replicas, Adoption::Never));
    world.settle();
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    world
}

fn ask(world: &mut World, what: MoveRequest) {
    let dry_run = false;
    world.request(0, Request::Move { what, dry_run });
}

fn to(numbers: &[u32]) -> MoveRequest {
    MoveRequest::To {
        topic: NAME.to_owned(),
        partition: None,
        brokers: numbers.iter().copied().map(BrokerNumber).collect(),
    }
}

fn records(world: &World) -> Vec<(TopicPartition, Assignment)> {
    let cluster = world.cluster().expect("there is a root");
    let records = cluster.assignments();
    records
        .map(|(_, id, record)| (id, record.clone()))
        .collect()
}

fn pending(world: &World) -> usize {
    let cluster = world.cluster().expect("there is a root");
    cluster.active(NAME).expect("applied").pending.len()
}

#[test]
fn replicas_copy_catch_up_and_swap_and_nothing_is_left_behind() {
    let mut world = running(2);
    for target in [[2, 1], [0, 2], [1, 0]] {
        ask(&mut world, to(&target));
        world.calm_down();
        for (_, record) in records(&world) {
            assert_eq!(record.replicas, target.map(BrokerNumber));
            assert_eq!(record.leader, Some(BrokerNumber(target[0])));
        }
        world.assert_moved();
        assert_eq!(pending(&world), 0);
    }
    assert!(world.reached.contains("moved away"), "{:?}", world.reached);
}

#[test]
fn replicas_go_up_and_down_with_the_spec_and_no_record_goes() {
    let mut world = running(1);
    for replicas in [3, 2, 3, 1, 2] {
        world.apply(0, NAME, spec(3, replicas, Adoption::Never));
        world.calm_down();
        world.assert_moved();
        for (partition, record) in records(&world) {
            assert_eq!(record.replicas.len(), replicas as usize);
            for replica in &record.replicas {
                let has = world.end(world.broker_of(*replica), partition);
                assert_eq!(has, 1, "{partition} on {replica}");
            }
        }
    }
}

/// How many partitions have a replica on this broker.
fn on(world: &World, broker: BrokerNumber) -> usize {
    let records = records(world).into_iter();
    records
        .filter(|(_, record)| record.replicas.contains(&broker))
        .count()
}

#[test]
fn nobody_leaves_while_the_new_replicas_are_away_and_a_move_can_be_taken_back() {
    let mut world = running(2);
    let (before, count) = (records(&world), on(&world, FIRST));
    ask(&mut world, MoveRequest::Off(FIRST));
    // Whoever should take over stops before it has anything.
    for broker in 0..BROKERS {
        world.stop_broker(broker);
    }
    world.calm_down();
    let moving = records(&world)
        .into_iter()
        .filter(|(_, record)| record.is_moving());
    let moving: Vec<_> = moving.collect();
    assert_eq!((moving.len(), on(&world, FIRST)), (count, count));
    assert_eq!(pending(&world), count);
    ask(&mut world, MoveRequest::Cancel { topics: Vec::new() });
    (0..BROKERS).for_each(|broker| world.start_broker(broker, 0));
    world.settle();
    world.calm_down();
    world.assert_moved();
    assert_eq!(pending(&world), 0);
    let replicas = |records: &[(TopicPartition, Assignment)]| -> Vec<_> {
        records.iter().map(|(_, r)| r.replicas.clone()).collect()
    };
    assert_eq!(replicas(&records(&world)), replicas(&before));
}

#[test]
fn what_moved_from_a_broker_that_is_away_is_pending_until_it_comes_also_when_the_topic_goes() {
    let mut world = running(2);
    let count = on(&world, FIRST);
    world.stop_broker(0);
    ask(&mut world, MoveRequest::Off(FIRST));
    for _ in 0..3 {
        world.calm_down();
        for broker in [1, 2] {
            world.ask(broker, true);
        }
    }
    assert_eq!((on(&world, FIRST), pending(&world)), (0, count));
    assert!(records(&world).iter().any(|(id, _)| world.has(0, *id)));
    let policy = Some(DeletionPolicy::Delete);
    let name = NAME.to_owned();
    world.request(0, Request::Delete { name, policy });
    world.calm_down();
    let topics = |world: &World| {
        let cluster = world.cluster().expect("there is a root");
        cluster.root.value.topics.len()
    };
    assert_eq!(topics(&world), 1, "the tombstone waits for it, too");
    world.start_broker(0, 0);
    world.settle();
    world.calm_down();
    assert_eq!(topics(&world), 0);
}

#[test]
fn a_replica_that_is_wanted_again_while_its_deletion_is_ordered_comes_back() {
    let mut world = running(2);
    let (moved, record) = records(&world)[0].clone();
    let (stays, leaves) = (record.replicas[0], record.replicas[1]);
    let numbers = (0..BROKERS as u32).map(BrokerNumber);
    let mut free = numbers.filter(|b| !record.replicas.contains(b));
    let other = free.next().expect("one is free");
    let one = |brokers: [BrokerNumber; 2]| MoveRequest::To {
        topic: NAME.to_owned(),
        partition: Some(moved.partition.0),
        brokers: brokers.to_vec(),
    };
    let gone = world.broker_of(leaves);
    world.stop_broker(gone);
    ask(&mut world, one([stays, other]));
    world.calm_down();
    assert!(world.has(gone, moved));
    // The order is on its way when the replica is wanted again.
    world.start_broker(gone, 0);
    (0..20).for_each(|_| world.step_store(0, Fault::Nothing));
    assert_eq!(pending(&world), 1);
    ask(&mut world, one([stays, leaves]));
    (0..20).for_each(|_| world.step_store(0, Fault::Nothing));
    assert_eq!(pending(&world), 1, "now it is the other one");
    world.settle();
    world.calm_down();
    world.assert_moved();
    assert_eq!(records(&world)[0].1.replicas, [stays, leaves]);
    assert_eq!(pending(&world), 0);
}

#[test]
fn a_volume_that_is_lost_on_the_way_is_replaced_and_the_move_goes_on() {
    let mut world = running(2);
    let (moved, record) = records(&world)[0].clone();
    let numbers = (0..BROKERS as u32).map(BrokerNumber);
    let mut free = numbers.filter(|b| !record.replicas.contains(b));
    let coming = free.next().expect("one is free");
    let target = [record.replicas[0], coming];
    ask(
        &mut world,
        MoveRequest::To {
            topic: NAME.to_owned(),
            partition: Some(moved.partition.0),
            brokers: target.to_vec(),
        },
    );
    let index = world.broker_of(coming);
    world.wipe(index);
    world.go_on();
    assert_eq!(records(&world)[0].1.adding, [coming]);
    for broker in 0..BROKERS {
        world.ask(broker, true);
    }
    world.go_on();
    for _ in 0..5 {
        world.wait(1_000);
        world.go_on();
    }
    world.start_broker(index, 0);
    world.settle();
    world.calm_down();
    world.assert_moved();
    let now = records(&world)[0].1.replicas.clone();
    assert_eq!(now, [target[0], world.number(index)]);
}

#[test]
fn nothing_moves_to_a_new_volume_beside_the_lost_one_whose_place_it_takes() {
    let mut world = running(2);
    let (moved, record) = records(&world)[0].clone();
    let (stays, lost) = (record.replicas[0], record.replicas[1]);
    let index = world.broker_of(lost);
    world.wipe(index);
    world.start_broker(index, 0);
    world.go_on();
    let new = world.number(index);
    assert_ne!(new, lost);
    world.reached.clear();
    let what = MoveRequest::To {
        topic: NAME.to_owned(),
        partition: Some(moved.partition.0),
        brokers: vec![lost, new],
    };
    ask(&mut world, what);
    world.go_on();
    assert!(world.reached.contains("NotReplaced"), "{:?}", world.reached);
    for _ in 0..5 {
        world.wait(1_000);
        world.go_on();
    }
    world.settle();
    world.calm_down();
    assert_eq!(records(&world)[0].1.replicas, [stays, new]);
}

#[test]
fn what_cannot_be_is_refused_and_a_dry_run_changes_nothing() {
    let mut world = running(2);
    let before = records(&world);
    for (what, error) in [
        (to(&[0]), "OtherCount"),
        (to(&[0, 0]), "NamedTwice"),
        (to(&[0, 9]), "UnknownBroker"),
        (MoveRequest::Off(BrokerNumber(9)), "UnknownBroker"),
    ] {
        world.reached.clear();
        ask(&mut world, what);
        world.settle();
        assert!(world.reached.contains(error), "{:?}", world.reached);
    }
    let what = MoveRequest::Off(FIRST);
    world.request(
        0,
        Request::Move {
            what,
            dry_run: true,
        },
    );
    world.settle();
    assert!(world.reached.contains("moves"));
    assert_eq!(records(&world), before);
}

#[test]
fn a_move_that_a_controller_did_not_note_in_the_root_is_noted_before_it_ends() {
    let mut world = running(2);
    world.apply(0, NAME, spec(3, 1, Adoption::Never));
    let is_moving = |world: &World| records(world).iter().any(|(_, r)| r.is_moving());
    for _ in 0..50 {
        world.wait(500);
        world.step_store(0, Fault::Nothing);
        if is_moving(&world) {
            break;
        }
    }
    assert!(is_moving(&world));
    assert_eq!(pending(&world), 0, "the map was put, and the root was not");
    world.recover();
    world.calm_down();
    world.assert_moved();
    assert_eq!(pending(&world), 0);
}

/// A decision of several puts is cut off after each of them, by a crash; another controller goes on.
#[test]
fn wherever_the_controller_stops_moves_go_on_and_nothing_is_left_behind() {
    for replicas in [1, 2] {
        for steps in 0..24 {
            let mut world = running(replicas);
            let target: Vec<u32> = (0..replicas)
                .map(|i| (LAST.0 + i) % BROKERS as u32)
                .collect();
            ask(&mut world, to(&target));
            for step in 0..steps {
                world.step_store(0, Fault::Nothing);
                for broker in 0..BROKERS {
                    world.obey(broker);
                    world.beat(broker);
                    world.replicate(broker, 1);
                    world.ask(broker, false);
                }
                world.wait(if step % 3 == 2 { 500 } else { 0 });
            }
            world.recover();
            world.settle();
            world.calm_down();
            world.assert_moved();
            assert_eq!(pending(&world), 0, "{replicas} replicas, {steps} steps");
            for (partition, record) in records(&world) {
                for replica in &record.replicas {
                    let has = world.end(world.broker_of(*replica), partition);
                    assert_eq!(has, 1, "{partition} on {replica} after {steps} steps");
                }
            }
        }
    }
}

#[test]
fn a_move_that_the_store_took_half_of_is_refused_and_may_be_in_force_and_is_asked_for_again() {
    let mut world = running(2);
    let target = [2, 1];
    ask(&mut world, to(&target));
    world.step_store(0, Fault::Nothing);
    world.step_store(0, Fault::Unavailable);
    assert!(world.reached.contains("StoreUnavailable"));
    let is_moving = |(_, record): &(_, Assignment)| record.is_moving();
    assert!(records(&world).iter().any(is_moving), "half of it is there");
    ask(&mut world, to(&target));
    world.calm_down();
    for (_, record) in records(&world) {
        assert_eq!(record.replicas, target.map(BrokerNumber));
    }
    world.assert_moved();
}
