//! The store goes back in time. What was acknowledged since is not lost, whoever comes first.

use taffrail_api::v1::ShrinkReason;
use taffrail_core::{Adoption, LeaderEpoch};

use super::*;
use crate::{
    request::{MoveRequest, Request},
    store::Snapshot,
};

/// Only `first`, which does not know of `newer`, is there for a long time, and restarts. Then come the two who know.
fn the_unaware_comes_first(
    world: &mut World,
    partition: TopicPartition,
    first: usize,
    newer: &Assignment,
) {
    for _ in 0..3 {
        world.start_broker(first, 0);
        world.come(&[first]);
        let old = record(world, partition);
        assert!(old.awaits(world.number(first)).is_some(), "it is marked");
        assert!(old.version() < newer.version(), "{old:?} hides {newer:?}");
    }
    let second = (first + 1) % BROKERS;
    world.start_broker(second, 0);
    world.come(&[first, second]);
    assert!(world.reached.contains("InDoubt"));
    let doubted = record(world, partition);
    assert!(doubted.version() < newer.version());
    let third = (first + 2) % BROKERS;
    world.start_broker(third, 0);
    world.come(&[0, 1, 2]);
    assert!(world.reached.contains("Repaired"));
    let repaired = record(world, partition);
    assert_eq!(repaired.isr, newer.isr);
    assert!(repaired.leader_epoch > newer.leader_epoch);
    assert!(repaired.partition_epoch > newer.partition_epoch);
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    world.calm_down();
    assert_eq!(record(world, partition).isr.len(), BROKERS);
    world.assert_preferred();
}

/// The in-sync set has shrunk by the third replica and those left are down; the store is as it was before. Gives the record that it forgot.
fn back_before_a_shrink(world: &mut World, partition: TopicPartition) -> Assignment {
    let (leader, second, third) = roles(world, partition);
    let backup = world.backup();
    world.stop_broker(third);
    world.go_on();
    world.produce(leader);
    world.settle();
    let newer = record(world, partition);
    assert_eq!(newer.isr.len(), 2);
    world.stop_broker(leader);
    world.stop_broker(second);
    world.restore_store(backup);
    newer
}

#[test]
fn a_store_from_before_a_shrink_hides_nothing_while_the_newer_members_are_down() {
    let (mut world, partition) = running();
    let (.., third) = roles(&world, partition);
    let newer = back_before_a_shrink(&mut world, partition);
    the_unaware_comes_first(&mut world, partition, third, &newer);
}

#[test]
fn with_min_in_sync_1_a_store_from_before_a_shrink_lets_nobody_lead_but_the_last_member() {
    let (mut world, partition) = running_with(TopicSpec {
        min_in_sync: Some(1),
        ..spec(1, 3, Adoption::Never)
    });
    let backup = world.backup();
    let (last, second, third) = alone(&mut world, partition);
    world.produce(last);
    world.settle();
    let end = world.end(last, partition);
    world.stop_broker(last);
    world.restore_store(backup);
    let number = world.number(last);
    for broker in [second, third] {
        world.start_broker(broker, 0);
        world.come(&[second, third]);
        let leader = record(&world, partition).leader;
        assert!(leader.is_none_or(|leader| leader == number), "{leader:?}");
    }
    world.start_broker(last, 0);
    world.come(&[0, 1, 2]);
    assert_eq!(record(&world, partition).leader, Some(number));
    assert_eq!(world.end(last, partition), end);
}

#[test]
fn a_store_from_before_an_election_hides_nothing_while_the_newer_members_are_down() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    let backup = world.backup();
    world.stop_broker(leader);
    world.go_on();
    let (next, ..) = roles(&world, partition);
    assert_ne!(next, leader);
    world.produce(next);
    world.settle();
    let newer = record(&world, partition);
    for broker in (0..BROKERS).filter(|broker| *broker != leader) {
        world.stop_broker(broker);
    }
    world.restore_store(backup);
    the_unaware_comes_first(&mut world, partition, leader, &newer);
}

#[test]
fn a_store_from_before_a_move_hides_nothing_while_the_newer_replica_is_down() {
    let (mut world, partition) = running_with(spec(1, 1, Adoption::Never));
    let (old, new, _) = roles(&world, partition);
    world.produce(old);
    let backup = world.backup();
    let what = MoveRequest::To {
        topic: NAME.to_owned(),
        partition: Some(0),
        brokers: vec![world.number(new)],
    };
    let dry_run = false;
    world.request(0, Request::Move { what, dry_run });
    world.settle();
    world.produce(new);
    let newer = record(&world, partition);
    assert_eq!(newer.replicas, [world.number(new)]);
    assert!(!world.has(old, partition), "it deleted what moved");
    for broker in 0..BROKERS {
        world.stop_broker(broker);
    }
    world.restore_store(backup);
    world.start_broker(old, 0);
    world.come(&[old]);
    assert!(world.reached.contains("InDoubt"));
    assert!(record(&world, partition).version() < newer.version());
    assert!(!world.has(old, partition));
    world.start_broker(new, 0);
    world.come(&[old, new]);
    let repaired = record(&world, partition);
    assert_eq!(repaired.replicas, newer.replicas);
    assert_eq!(repaired.leader, Some(world.number(new)));
    assert!(repaired.version() > newer.version());
    assert_eq!(world.end(new, partition), 2);
}

/// A running cluster, and its store from before the third member left the in-sync set. Only the leader heard of that, and a record is acknowledged
/// since.
fn with_a_shrink_that_only_the_leader_knows() -> (World, TopicPartition, Snapshot) {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let old = record(&world, partition);
    let backup = world.backup();
    world.disconnect(second);
    world.disconnect(third);
    world.ask_to_shrink(leader, partition, third, ShrinkReason::Lagging);
    world.go_on();
    assert_eq!(record(&world, partition).isr.len(), 2);
    world.produce(leader);
    world.replicate(second, 1);
    assert!(world.reached.contains("acknowledged"));
    assert_eq!(world.known(second, partition).version(), old.version());
    (world, partition, backup)
}

#[test]
fn while_the_leader_of_an_old_record_is_away_nobody_leads_who_has_less_than_another_member() {
    let (mut world, partition, backup) = with_a_shrink_that_only_the_leader_knows();
    let (leader, second, third) = roles(&world, partition);
    world.stop_broker(leader);
    world.restore_store(backup);
    let old = record(&world, partition);
    world.come(&[second]);
    world.disconnect(second);
    world.come(&[third]);
    assert_eq!(record(&world, partition).version(), old.version());
    world.come(&[second, third]);
    let number = world.number(second);
    assert_eq!(record(&world, partition).leader, Some(number));
    world.start_broker(leader, 0);
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), BROKERS);
}

#[test]
fn a_doubt_ends_also_when_the_last_to_come_knows_nothing_newer() {
    let (mut world, partition, backup) = with_a_shrink_that_only_the_leader_knows();
    let (leader, second, third) = roles(&world, partition);
    let newer = record(&world, partition);
    world.restore_store(backup);
    world.come(&[leader, third]);
    assert!(world.reached.contains("InDoubt"));
    let doubted = record(&world, partition);
    assert!(doubted.version() < newer.version());
    world.come(&[leader, second, third]);
    let repaired = record(&world, partition);
    assert!(repaired.leader_epoch > newer.leader_epoch);
    assert_eq!(repaired.isr, newer.isr);
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), BROKERS);
}

#[test]
fn epochs_leap_over_those_that_only_a_broker_knows_that_is_away() {
    let (mut world, partition, unheard) = with_an_election_that_nobody_else_knows();
    let (leader, second, third) = roles(&world, partition);
    world.come(&[leader, third]);
    let leapt = record(&world, partition);
    assert_eq!(leapt.leader, Some(world.number(leader)), "as before");
    assert_eq!(leapt.isr.len(), 2, "who is away has left the in-sync set");
    assert!(leapt.leader_epoch > LeaderEpoch(unheard.leader_epoch.0 + 1));
    world.produce(leader);
    world.replicate(third, 1);
    assert!(world.reached.contains("acknowledged"));
    world.start_broker(second, 0);
    world.settle();
    world.calm_down();
    let after = record(&world, partition);
    assert_eq!((after.isr.len(), after.unconfirmed.len()), (BROKERS, 0));
}

/// A running cluster, and its store from before an election that only its winner heard of, who is down.
fn with_an_election_that_nobody_else_knows() -> (World, TopicPartition, Assignment) {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let backup = world.backup();
    world.disconnect(leader);
    world.disconnect(third);
    for _ in 0..5 {
        world.wait(1_000);
        world.go_on();
    }
    let unheard = record(&world, partition);
    assert_eq!(unheard.leader, Some(world.number(second)));
    world.produce(second);
    world.stop_broker(second);
    world.restore_store(backup);
    (world, partition, unheard)
}

#[test]
fn a_replica_that_cannot_be_used_leaves_under_no_epoch_that_a_broker_knows_that_is_away() {
    let (mut world, partition, unheard) = with_an_election_that_nobody_else_knows();
    let (leader, second, third) = roles(&world, partition);
    world.fail_log(third, partition);
    world.come(&[leader, third]);
    let left = record(&world, partition);
    assert_eq!(left.leader, Some(world.number(leader)), "as before");
    assert!(!left.isr.contains(&world.number(third)), "{left:?}");
    assert!(left.leader_epoch > LeaderEpoch(unheard.leader_epoch.0 + 1));
    world.start_broker(second, 0);
    world.settle();
    let after = record(&world, partition);
    assert!(after.isr.contains(&world.number(second)), "{after:?}");
}

#[test]
fn a_controller_whose_epoch_the_store_gave_out_before_is_obeyed_at_once() {
    let (mut world, partition) = running();
    let (_, _, third) = roles(&world, partition);
    let epoch = |world: &World| world.cluster().expect("there is a root").root.value.epoch;
    let backup = world.backup();
    world.recover();
    for _ in 0..10 {
        world.stop_broker(third);
        world.go_on();
        world.start_broker(third, 0);
        world.settle();
    }
    let obeyed = epoch(&world);
    world.restore_store(backup);
    assert_eq!(epoch(&world), obeyed, "brokers know of much more in it");
    world.come(&[0, 1, 2]);
    assert!(world.reached.contains("StoreIsOld"));
    assert_eq!(epoch(&world), obeyed + 1, "and it began anew only once");
    world.settle();
    let repaired = record(&world, partition);
    assert_eq!(repaired.isr.len(), BROKERS);
    for broker in 0..BROKERS {
        assert_eq!(world.known(broker, partition), repaired);
    }
}

#[test]
fn a_run_that_registered_while_its_record_was_unknown_is_confirmed_after_all() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    world.stop_broker(third);
    world.go_on();
    let backup = world.backup();
    world.stop_broker(leader);
    world.stop_broker(second);
    world.start_broker(second, 0);
    world.come(&[second]);
    let newer = record(&world, partition);
    assert_eq!(newer.leader, Some(world.number(leader)));
    let awaited = newer.awaits(world.number(second)).expect("marked");
    assert_eq!(world.known(second, partition).version(), newer.version());
    world.stop_broker(second);
    world.restore_store(backup);
    world.start_broker(second, 0);
    world.come(&[second]);
    assert!(record(&world, partition).version() < newer.version());
    // Its leader, too, runs anew: the newer record is taken over in the election that its registration brings about.
    world.start_broker(leader, 0);
    world.come(&[leader, second]);
    let elected = record(&world, partition);
    assert!(elected.version() > newer.version());
    assert_ne!(elected.awaits(world.number(second)), Some(awaited));
    world.start_broker(third, 0);
    world.settle();
    world.calm_down();
    let after = record(&world, partition);
    assert_eq!((after.isr.len(), after.unconfirmed.len()), (BROKERS, 0));
}

#[test]
fn a_spare_that_registered_before_its_record_was_known_joins_after_all() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let backup = world.backup();
    world.stop_broker(third);
    world.go_on();
    world.ask_to_shrink(leader, partition, third, ShrinkReason::LostData);
    world.go_on();
    world.start_broker(third, 0);
    world.go_on();
    let newer = record(&world, partition);
    let awaited = newer.awaits(world.number(third)).expect("marked");
    assert!(!newer.isr.contains(&world.number(third)));
    assert_eq!(world.known(leader, partition).version(), newer.version());
    for broker in 0..BROKERS {
        world.stop_broker(broker);
    }
    world.restore_store(backup);
    // Its next run registers before the members have come that the newer record needs.
    world.start_broker(third, 0);
    world.come(&[third]);
    assert!(world.reached.contains("InDoubt"));
    world.disconnect(third);
    // The next controller takes that record over without having heard of it.
    let doubted = world.backup();
    world.restore_store(doubted);
    world.start_broker(leader, 0);
    world.start_broker(second, 0);
    world.come(&[leader, second]);
    let repaired = record(&world, partition);
    assert!(repaired.version() > newer.version());
    assert_eq!(repaired.awaits(world.number(third)), Some(awaited));
    world.dial(third, 0);
    world.settle();
    world.calm_down();
    let after = record(&world, partition);
    assert_eq!((after.isr.len(), after.unconfirmed.len()), (BROKERS, 0));
}

#[test]
fn a_member_that_restarts_while_its_record_is_doubted_keeps_its_place() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let newer = back_before_a_shrink(&mut world, partition);
    world.start_broker(second, 0);
    world.come(&[second]);
    let doubted = record(&world, partition);
    assert!(doubted.version() < newer.version());
    let awaited = doubted.awaits(world.number(second)).expect("marked");
    world.stop_broker(second);
    world.start_broker(leader, 0);
    world.come(&[leader]);
    assert!(record(&world, partition).version() < newer.version());
    // Its next run is the last to come that the newer record needs, and the store waits for the one before.
    world.start_broker(second, 0);
    world.come(&[leader, second]);
    let repaired = record(&world, partition);
    assert!(repaired.version() > newer.version());
    assert_eq!(repaired.isr, newer.isr, "it has all that it had");
    assert_ne!(repaired.awaits(world.number(second)), Some(awaited));
    world.start_broker(third, 0);
    world.settle();
    let after = record(&world, partition);
    assert_eq!((after.isr.len(), after.unconfirmed.len()), (BROKERS, 0));
}

#[test]
fn without_a_root_nobody_begins_anew_beside_maps_or_brokers_and_it_may_be_put_back() {
    let (mut world, partition) = running();
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    let before = record(&world, partition);
    let backup = world.backup();
    for (has_maps, has_brokers) in [(true, true), (false, true), (true, false)] {
        world.put_root_back(backup.clone());
        world.delete_root();
        assert!(world.reached.contains("Deposed"), "{:?}", world.reached);
        world.keep(has_maps, has_brokers);
        let puts = world.puts();
        world.crash(0);
        (0..BROKERS).for_each(|broker| world.start_broker(broker, 0));
        world.go_on();
        assert!(world.reached.remove("RootVanished"));
        assert_eq!(world.puts(), puts, "{has_maps}, {has_brokers}");
        (0..BROKERS).for_each(|broker| assert!(world.has(broker, partition)));
    }
    world.put_root_back(backup);
    world.recover();
    world.calm_down();
    let after = record(&world, partition);
    assert_eq!(after.replicas, before.replicas);
    assert_eq!((after.isr.len(), after.unconfirmed.len()), (BROKERS, 0));
    (0..BROKERS).for_each(|broker| assert_eq!(world.end(broker, partition), 1));
}
