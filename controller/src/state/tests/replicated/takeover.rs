//! Another controller takes office while brokers pause between two dials.

use super::{super::world::TOLD_GONE, *};
use crate::state::live::HEARING_MS;

/// A new controller is in office, and everybody but `late` found it at once.
fn taken_over_without(world: &mut World, late: usize) {
    world.disconnect(late);
    world.crash(0);
    world.go_on();
    for broker in (0..BROKERS).filter(|broker| *broker != late) {
        world.dial(broker, 0);
    }
    world.go_on();
    world.reached.clear();
}

/// Everybody who is there reports, for a while.
fn pass(world: &mut World, ms: u64) {
    for _ in 0..ms / 500 {
        world.wait(500);
        world.go_on();
    }
}

#[test]
fn nobody_is_told_gone_who_is_on_its_way_to_a_controller_that_took_office() {
    let (mut world, partition) = running();
    let (_, second, _) = roles(&world, partition);
    let before = record(&world, partition);
    taken_over_without(&mut world, second);
    pass(&mut world, 5_000);
    world.dial(second, 0);
    world.go_on();
    pass(&mut world, 5_000);
    assert!(!world.reached.contains(TOLD_GONE), "{:?}", world.reached);
    assert_eq!(record(&world, partition), before);
}

#[test]
fn a_broker_that_does_not_come_to_a_controller_that_took_office_is_told_gone_in_the_end() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    let before = record(&world, partition);
    world.stop_broker(leader);
    taken_over_without(&mut world, leader);
    pass(&mut world, HEARING_MS);
    assert!(world.reached.contains(TOLD_GONE), "{:?}", world.reached);
    let after = record(&world, partition);
    assert!(after.leader.is_some() && after.leader != before.leader);
}

#[test]
fn a_registration_that_comes_twice_makes_nobody_forget_what_was_reported_since() {
    let (mut world, partition) = running();
    let puts = world.puts();
    for broker in 0..BROKERS {
        world.register_again(broker);
    }
    let state = world.view().partitions[NAME][0].state.clone();
    assert_eq!((&*state, world.puts()), ("ONLINE", puts));
    let (leader, ..) = roles(&world, partition);
    world.stop_broker(leader);
    world.go_on();
    assert!(record(&world, partition).leader.is_some());
}
