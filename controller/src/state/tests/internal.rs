//! Internal topics: made by the controller itself, once, and grown with the cluster.

use taffrail_core::{
    Adoption, Assignment, DeletionPolicy, Durability, TopicConfig, TopicId, TopicPartition,
    internal::OFFSETS, topic::Cleanup,
};

use super::{
    spec,
    world::{BROKERS, CONTROLLERS, World},
};
use crate::{request::Request, store::Fault};

const PARTITIONS: u32 = 4;

/// A controller is in office, and no broker has come.
fn in_office(brokers_wanted: usize) -> World {
    let mut world = World::wanting(brokers_wanted, PARTITIONS);
    world.go_on();
    world
}

/// A cluster of one broker, which has a record of each partition that it leads.
fn small() -> World {
    let mut world = in_office(1);
    world.start_broker(0, 0);
    world.settle();
    world.produce(0);
    world.settle();
    world
}

/// Id, configuration and records of `__offsets`.
struct Offsets {
    id: TopicId,
    config: TopicConfig,
    records: Vec<(TopicPartition, Assignment)>,
}

fn offsets(world: &World) -> Option<Offsets> {
    let cluster = world.cluster().expect("there is a root");
    let topic = cluster.active(OFFSETS)?;
    let records = topic.placed_partitions().map(|partition| {
        let record = cluster.assignment(topic, partition).expect("placed");
        (partition, record.clone())
    });
    Some(Offsets {
        id: topic.id,
        config: topic.config.clone(),
        records: records.collect(),
    })
}

fn start(world: &mut World, broker: usize) {
    world.start_broker(broker, 0);
    world.settle();
}

#[test]
fn offsets_are_made_once_three_of_the_wanted_brokers_are_there() {
    let mut world = in_office(BROKERS);
    for broker in 0..BROKERS {
        assert!(offsets(&world).is_none(), "{broker} brokers are too few");
        start(&mut world, broker);
    }
    let made = offsets(&world).expect("three are there");
    assert_eq!(made.records.len(), PARTITIONS as usize);
    for (partition, record) in &made.records {
        assert_eq!(record.replicas.len(), 3, "{partition}");
    }
    let config = made.config;
    assert_eq!((config.replicas, config.min_in_sync), (3, 2));
    assert_eq!(config.durability, Durability::Fsync);
    assert_eq!((config.cleanup, config.retention), (Cleanup::Compact, None));
    world.assert_good(OFFSETS);
}

#[test]
fn a_cluster_of_fewer_than_three_brokers_has_as_many_copies_as_brokers() {
    for (wanted, min_in_sync) in [(1, 1), (2, 2)] {
        let mut world = in_office(wanted);
        (0..wanted).for_each(|broker| start(&mut world, broker));
        let config = offsets(&world).expect("all are there").config;
        assert_eq!(config.replicas as usize, wanted);
        assert_eq!(config.min_in_sync, min_in_sync);
    }
}

#[test]
fn offsets_wait_for_three_of_five_brokers_and_are_spread_over_those_that_come_in_time() {
    let mut world = in_office(5);
    (0..2).for_each(|broker| start(&mut world, broker));
    assert!(offsets(&world).is_none());
    start(&mut world, 2);
    let made = offsets(&world).expect("three are there");
    assert_eq!(made.records, [], "two more may come");
    world.wait(10_000);
    world.settle();
    let made = offsets(&world).expect("made");
    assert_eq!(made.records.len(), PARTITIONS as usize);
}

#[test]
fn a_users_topic_does_not_wait_for_offsets() {
    let mut world = in_office(1);
    world.apply(0, "flights", spec(1, 1, Adoption::Never));
    world.start_broker(0, 0);
    let is_placed = |world: &World| {
        let offsets = offsets(world).is_some_and(|offsets| !offsets.records.is_empty());
        let cluster = world.cluster().expect("there is a root");
        let flights = cluster.active("flights").is_some_and(|t| t.placed == 1);
        (flights, offsets)
    };
    for _ in 0..20 {
        world.run(0, 1);
        assert_ne!(is_placed(&world), (false, true));
    }
    assert_eq!(is_placed(&world), (true, true));
}

#[test]
fn nobody_deletes_or_changes_offsets() {
    let mut world = small();
    let before = offsets(&world).expect("made").config;
    for policy in [None, Some(DeletionPolicy::Delete)] {
        world.reached.clear();
        let name = OFFSETS.to_owned();
        world.request(0, Request::Delete { name, policy });
        world.settle();
        assert!(world.reached.contains("InternalTopic"));
    }
    world.apply(0, OFFSETS, spec(9, 1, Adoption::Never));
    world.settle();
    assert!(world.reached.contains("Invalid"), "{:?}", world.reached);
    assert_eq!(offsets(&world).expect("still there").config, before);
}

#[test]
fn offsets_get_three_copies_when_the_cluster_has_grown_and_no_record_goes() {
    let mut world = small();
    let before = offsets(&world).expect("made");
    world.want(3);
    start(&mut world, 1);
    let waits = offsets(&world).expect("made").config;
    assert_eq!(waits.replicas, 1, "for the third broker");
    start(&mut world, 2);
    world.calm_down();
    world.assert_moved();
    let after = offsets(&world).expect("made");
    assert_eq!(after.id, before.id);
    assert_eq!((after.config.replicas, after.config.min_in_sync), (3, 2));
    assert_has_records(&world, &after);
    assert!(world.reached.contains("move"), "{:?}", world.reached);
}

/// Each of three replicas has the record that was there before.
fn assert_has_records(world: &World, offsets: &Offsets) {
    assert_eq!(offsets.records.len(), PARTITIONS as usize);
    for (partition, record) in &offsets.records {
        assert_eq!(record.isr.len(), 3, "{partition}");
        for replica in &record.replicas {
            let has = world.end(world.broker_of(*replica), *partition);
            assert_eq!(has, 1, "{partition} on {replica}");
        }
    }
}

#[test]
fn a_cluster_of_two_keeps_what_it_has_and_a_wish_for_fewer_brokers_takes_nothing_away() {
    let mut world = small();
    world.want(2);
    start(&mut world, 1);
    assert_eq!(offsets(&world).expect("made").config.replicas, 1);
    world.want(3);
    start(&mut world, 2);
    world.calm_down();
    world.want(1);
    world.calm_down();
    assert_eq!(offsets(&world).expect("made").config.replicas, 3);
}

/// A decision of several puts is cut off after each of them, by a crash, or by a put whose outcome is not known.
#[test]
fn wherever_the_controller_stops_offsets_are_made_once_and_grow() {
    for steps in 0..30 {
        for fault in [Fault::Nothing, Fault::UnknownWritten, Fault::UnknownLost] {
            let mut world = in_office(1);
            world.start_broker(0, 0);
            let cut = |world: &mut World| {
                world.run(0, steps);
                world.step_store(0, fault);
                world.crash(0);
            };
            cut(&mut world);
            // Whoever was known by then is the same ever after.
            let known = offsets(&world).map(|offsets| offsets.id);
            world.go_on();
            start(&mut world, 0);
            world.produce(0);
            world.settle();
            let made = offsets(&world).expect("made");
            assert!(known.is_none_or(|id| id == made.id), "{steps} steps");
            world.want(3);
            (1..BROKERS).for_each(|broker| world.start_broker(broker, 0));
            cut(&mut world);
            world.recover();
            world.settle();
            world.calm_down();
            world.assert_moved();
            world.assert_internal(true);
            let grown = offsets(&world).expect("made");
            assert_eq!(grown.id, made.id);
            assert_has_records(&world, &grown);
        }
    }
}

#[test]
fn two_controllers_that_both_think_they_are_in_office_make_them_once() {
    for steps in 0..30 {
        let mut world = in_office(BROKERS);
        (0..BROKERS).for_each(|broker| world.start_broker(broker, 0));
        for step in 0..steps {
            world.step_store(0, Fault::Nothing);
            if step % 2 == 0 {
                world.step_store(1, Fault::Nothing);
            }
            (0..BROKERS).for_each(|broker| world.obey(broker));
        }
        (0..BROKERS).for_each(|broker| world.dial(broker, 1));
        for controller in 0..CONTROLLERS {
            world.run(controller, 30);
        }
        world.recover();
        world.calm_down();
        world.assert_internal(true);
        world.assert_good(OFFSETS);
    }
}

#[test]
fn a_store_from_before_they_were_made_gets_others_and_brokers_keep_what_they_have() {
    let mut world = World::wanting(BROKERS, PARTITIONS);
    world.go_on();
    let backup = world.backup();
    world.recover();
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    let before = offsets(&world).expect("made");
    world.restore_store(backup);
    world.recover();
    world.calm_down();
    let after = offsets(&world).expect("made again");
    assert_ne!(after.id, before.id, "brokers know that one");
    world.assert_internal(true);
    for (partition, record) in before.records {
        for replica in record.replicas {
            assert_eq!(world.end(world.broker_of(replica), partition), 1);
        }
    }
}

#[test]
fn a_store_from_after_they_were_made_finds_them_again() {
    let mut world = small();
    let before = offsets(&world).expect("made");
    let backup = world.backup();
    world.want(3);
    (1..BROKERS).for_each(|broker| start(&mut world, broker));
    world.calm_down();
    world.restore_store(backup);
    world.recover();
    world.calm_down();
    world.assert_internal(true);
    let after = offsets(&world).expect("made");
    assert_eq!(after.id, before.id);
    assert_has_records(&world, &after);
}
