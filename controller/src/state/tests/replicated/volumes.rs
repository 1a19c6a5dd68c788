//! Brokers that come back: with what they had, with less, or with nothing.

use taffrail_core::{Adoption, DeletionPolicy};

use super::*;
use crate::request::Request;

#[test]
fn a_run_is_unconfirmed_from_its_registration_until_the_leader_confirms_it() {
    let (mut world, partition) = running();
    let (leader, second, _) = roles(&world, partition);
    let number = world.number(second);
    world.start_broker(second, 0);
    world.go_on();
    let after = record(&world, partition);
    assert!(after.awaits(number).is_some());
    assert_eq!(after.isr.len(), 3);
    world.dial(second, 0);
    world.go_on();
    assert_eq!(record(&world, partition), after, "the same run again");
    world.replicate(second, usize::MAX);
    world.ask(leader, false);
    world.go_on();
    let confirmed = record(&world, partition);
    assert_eq!(confirmed.unconfirmed, []);
    assert!(confirmed.partition_epoch > after.partition_epoch);
}

#[test]
fn an_unconfirmed_member_does_not_replace_a_lost_leader() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    world.start_broker(second, 0);
    world.start_broker(third, 0);
    world.go_on();
    world.stop_broker(leader);
    world.go_on();
    let after = record(&world, partition);
    assert_eq!(
        after.leader,
        Some(world.number(leader)),
        "nobody else is known to have everything"
    );
    world.start_broker(leader, 0);
    world.settle();
    assert_eq!(record(&world, partition).unconfirmed, []);
}

#[test]
fn the_last_member_below_min_in_sync_waits_for_the_replicas_that_left() {
    let (mut world, partition) = running();
    let (leader, second, third) = alone(&mut world, partition);
    world.start_broker(leader, 0);
    world.go_on();
    assert_eq!(record(&world, partition).leader, None);
    world.start_broker(second, 0);
    world.go_on();
    assert_eq!(
        record(&world, partition).leader,
        None,
        "two others are needed"
    );
    world.start_broker(third, 0);
    world.go_on();
    assert_eq!(record(&world, partition).leader, Some(world.number(leader)));
}

#[test]
fn a_replica_that_has_more_than_the_last_member_keeps_it_from_leading_and_what_to_do_is_told() {
    let (mut world, partition) = running();
    let (first, ..) = roles(&world, partition);
    // Nobody else has it, and nobody was told that it is stored.
    world.produce(first);
    world.stop_broker(first);
    world.go_on();
    let leads = record(&world, partition).leader.expect("led");
    let last = world.broker_of(leads);
    let third = BROKERS - first - last;
    world.ask_to_shrink(last, partition, third, ShrinkReason::LostData);
    world.go_on();
    world.stop_broker(third);
    world.go_on();
    assert_eq!(record(&world, partition).isr, [leads]);
    for broker in [last, first, third] {
        world.start_broker(broker, 0);
        world.go_on();
    }
    world.calm_down();
    assert_eq!(record(&world, partition).leader, None);
    let status = world.view().partitions[NAME][0].clone();
    assert_eq!(status.state, "OFFLINE");
    let more = format!("broker {} ", world.number(first));
    for told in [&*more, "minInSync: 1", "uncleanElection: Allow"] {
        assert!(status.message.contains(told), "{}", status.message);
    }
    let spec = TopicSpec {
        min_in_sync: Some(1),
        ..spec(1, 3, Adoption::Never)
    };
    world.apply(0, NAME, spec);
    world.settle();
    // The others have what it has, and the preferred one leads again.
    assert_eq!(record(&world, partition).isr.len(), BROKERS);
    assert_eq!(world.end(first, partition), world.end(last, partition));
}

#[test]
fn an_older_volume_leaves_the_isr_and_catches_up() {
    let (mut world, partition) = running();
    let (leader, second, _) = roles(&world, partition);
    let old = world.snapshot(second);
    world.start_broker(second, 0);
    world.settle();
    world.start_broker(second, 0);
    world.settle();
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    world.restore(second, old);
    world.wait(4_000);
    world.start_broker(second, 0);
    world.go_on();
    assert_eq!(record(&world, partition).isr.len(), 2);
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), 3);
    assert_eq!(world.end(second, partition), world.end(leader, partition));
}

#[test]
fn an_older_volume_of_the_last_member_waits_for_the_newer_one() {
    let (mut world, partition) = running_with(spec(1, 1, Adoption::Never));
    let leader = world.broker_of(record(&world, partition).leader.expect("led"));
    let old = world.snapshot(leader);
    for _ in 0..3 {
        world.start_broker(leader, 0);
        world.settle();
    }
    let newer = world.snapshot(leader);
    world.restore(leader, old);
    world.wait(4_000);
    for _ in 0..2 {
        world.start_broker(leader, 0);
        world.settle();
        world.calm_down();
        assert_eq!(record(&world, partition).leader, None);
    }
    world.restore(leader, newer);
    world.start_broker(leader, 0);
    world.settle();
    assert_eq!(record(&world, partition).leader, Some(world.number(leader)));
}

#[test]
fn a_wiped_volume_takes_its_old_place_outside_the_isr_until_it_has_caught_up() {
    let (mut world, partition) = running();
    let (leader, second, _) = roles(&world, partition);
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    let before = record(&world, partition);
    let old = world.number(second);
    world.wipe(second);
    world.wait(4_000);
    world.start_broker(second, 0);
    world.go_on();
    let after = record(&world, partition);
    let new = world.number(second);
    assert_ne!(new, old);
    let place = |number| move |replica: &_| *replica == number;
    assert_eq!(
        after.replicas.iter().position(place(new)),
        before.replicas.iter().position(place(old)),
    );
    assert!(!after.replicas.contains(&old) && !after.isr.contains(&new));
    world.settle();
    assert!(record(&world, partition).isr.contains(&new));
    assert_eq!(world.end(second, partition), world.end(leader, partition));
}

#[test]
fn the_last_member_is_never_replaced_when_its_volume_is_wiped() {
    let (mut world, partition) = running();
    let (leader, ..) = alone(&mut world, partition);
    let before = record(&world, partition);
    world.wipe(leader);
    world.wait(4_000);
    world.start_broker(leader, 0);
    world.settle();
    assert_eq!(record(&world, partition).isr, before.isr);
    assert_eq!(record(&world, partition).replicas, before.replicas);
}

#[test]
fn a_topic_is_deleted_though_a_volume_that_had_a_replica_is_gone() {
    let (mut world, partition) = running();
    let (leader, second, third) = alone(&mut world, partition);
    world.wipe(leader);
    world.wait(4_000);
    for broker in [leader, second, third] {
        world.start_broker(broker, 0);
    }
    world.settle();
    let delete = |world: &mut World| {
        let (name, policy) = (NAME.to_owned(), Some(DeletionPolicy::Delete));
        world.request(0, Request::Delete { name, policy });
        world.settle();
    };
    delete(&mut world);
    world.reached.clear();
    delete(&mut world);
    assert!(
        world.reached.contains("nothing is waited for"),
        "{:?}",
        world.reached
    );
}

#[test]
fn who_may_lack_what_the_page_cache_had_leaves_the_isr_and_the_last_one_waits_for_all_replicas() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for broker in 0..BROKERS {
        world.stops_uncleanly(broker, true);
        world.stop_broker(broker);
    }
    world.settle();
    world.start_broker(second, 0);
    world.go_on();
    assert!(
        !record(&world, partition)
            .isr
            .contains(&world.number(second))
    );
    world.start_broker(leader, 0);
    world.go_on();
    assert_eq!(record(&world, partition).leader, None);
    world.start_broker(third, 0);
    world.go_on();
    let after = record(&world, partition);
    assert!(after.leader.is_some());
    assert_eq!((after.isr.len(), after.is_unclean), (1, false));
    assert!(world.reached.contains("MayLack"), "{:?}", world.reached);
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), 3);
}

#[test]
fn a_leader_that_may_lack_records_leaves_the_isr_once_a_new_controller_knows_enough() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for broker in 0..BROKERS {
        world.stops_uncleanly(broker, broker == leader);
        world.stop_broker(broker);
    }
    world.crash(0);
    world.go_on();
    let before = record(&world, partition);
    world.start_broker(leader, 0);
    world.go_on();
    let marked = record(&world, partition);
    assert_eq!((&marked.isr, marked.leader), (&before.isr, before.leader));
    assert_eq!(marked.version(), before.version());
    assert!(marked.awaits(world.number(leader)).is_some());
    world.start_broker(second, 0);
    world.start_broker(third, 0);
    world.go_on();
    let after = record(&world, partition);
    let number = world.number(leader);
    assert!(after.leader.is_some_and(|now| now != number), "{after:?}");
    assert!(!after.isr.contains(&number), "{after:?}");
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), 3);
}

#[test]
fn a_topic_that_a_former_controller_listed_is_placed_once_every_broker_has_spoken() {
    let mut world = World::new();
    world.recover();
    world.stop_broker(1);
    world.stop_broker(2);
    world.wait(4_000);
    // Listed and not placed: there are too few brokers. Another controller cannot know that nobody has anything of it.
    world.apply(0, NAME, spec(1, 2, Adoption::Never));
    world.settle();
    world.crash(0);
    world.go_on();
    world.apply(0, NAME, spec(1, 2, Adoption::Never));
    for broker in [0, 1] {
        world.start_broker(broker, 0);
    }
    world.apply(0, "other", spec(1, 1, Adoption::Never));
    world.go_on();
    world.calm_down();
    let placed = |world: &World, name| {
        let cluster = world.cluster().expect("there is a root");
        cluster.active(name).expect("applied").placed
    };
    assert_eq!(placed(&world, NAME), 0);
    assert_eq!(
        placed(&world, "other"),
        1,
        "its id was drawn by this controller"
    );
    world.start_broker(2, 0);
    world.settle();
    assert_eq!(placed(&world, NAME), 1);
}
