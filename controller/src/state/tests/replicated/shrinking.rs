//! In-sync sets do not shrink below `minInSync` while no data is lost, so that their members find their next leader by themselves.

use super::*;
use crate::store::Fault;

fn numbers(world: &World, brokers: &[usize]) -> Vec<BrokerNumber> {
    let mut numbers: Vec<_> = brokers.iter().map(|b| world.number(*b)).collect();
    numbers.sort();
    numbers
}

fn members(world: &World, partition: TopicPartition) -> Vec<BrokerNumber> {
    let mut members = record(world, partition).isr;
    members.sort();
    members
}

#[test]
fn of_two_followers_that_are_lost_one_after_the_other_the_second_stays_in_the_isr() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for gone in [second, third] {
        world.stop_broker(gone);
        world.go_on();
    }
    let two = numbers(&world, &[leader, third]);
    assert_eq!(members(&world, partition), two);
    let before = world.puts();
    world.wait(4_000);
    world.go_on();
    assert_eq!(members(&world, partition), two, "offline for certain");
    assert_eq!(world.puts(), before, "and nothing is written of it");
    // Another one that has caught up lets it go.
    world.start_broker(second, 0);
    world.settle();
    let two = numbers(&world, &[leader, second]);
    assert_eq!(members(&world, partition), two);
    world.start_broker(third, 0);
    world.settle();
    assert_eq!(members(&world, partition).len(), 3);
}

#[test]
fn of_two_followers_that_are_lost_at_once_the_one_that_has_more_stays_in_the_isr() {
    for has_more in [1, 2] {
        let (mut world, partition) = running();
        let (leader, second, third) = roles(&world, partition);
        let follower = [leader, second, third][has_more];
        world.produce(leader);
        world.replicate(follower, usize::MAX);
        world.beat(follower);
        world.stop_broker(second);
        world.stop_broker(third);
        world.go_on();
        let two = numbers(&world, &[leader, follower]);
        assert_eq!(members(&world, partition), two);
    }
}

#[test]
fn a_leader_that_was_left_alone_and_restarted_leads_again_with_the_member_that_stayed() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    // Not acknowledged, and the one that has it too is the first to go.
    world.produce(leader);
    world.replicate(second, usize::MAX);
    for gone in [second, third] {
        world.stop_broker(gone);
        world.go_on();
    }
    world.start_broker(leader, 0);
    world.go_on();
    assert_eq!(record(&world, partition).leader, None);
    world.start_broker(third, 0);
    world.go_on();
    assert!(record(&world, partition).leader.is_some(), "no human");
    world.start_broker(second, 0);
    world.settle();
    assert_eq!(members(&world, partition).len(), 3);
    assert_eq!(world.end(second, partition), world.end(third, partition));
}

#[test]
fn a_leader_that_asks_for_too_much_hears_that_its_member_stays() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    world.ask_to_shrink(leader, partition, second, ShrinkReason::Lagging);
    world.go_on();
    let two = numbers(&world, &[leader, third]);
    assert_eq!(members(&world, partition), two);
    let before = record(&world, partition);
    world.ask_to_shrink(leader, partition, third, ShrinkReason::Lagging);
    world.go_on();
    let after = record(&world, partition);
    assert_eq!(after.isr, before.isr);
    assert!(after.partition_epoch > before.partition_epoch);
    world.ask_to_shrink(leader, partition, third, ShrinkReason::LostData);
    world.go_on();
    let one = numbers(&world, &[leader]);
    assert_eq!(members(&world, partition), one, "it is a copy no more");
}

#[test]
fn a_lower_min_in_sync_lets_lost_members_go() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for gone in [second, third] {
        world.stop_broker(gone);
        world.go_on();
    }
    let lower = TopicSpec {
        min_in_sync: Some(1),
        ..spec(1, 3, Adoption::Never)
    };
    world.apply(0, NAME, lower);
    world.go_on();
    let one = numbers(&world, &[leader]);
    assert_eq!(members(&world, partition), one);
}

#[test]
fn a_member_that_is_lost_and_stays_lets_no_replica_move_away() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for gone in [third, second] {
        world.stop_broker(gone);
        world.go_on();
    }
    let two = numbers(&world, &[leader, second]);
    assert_eq!(members(&world, partition), two);
    // It is there and copies nothing, so that it is the one to go.
    world.start_broker(third, 0);
    world.apply(0, NAME, spec(1, 2, Adoption::Never));
    for _ in 0..12 {
        world.wait(1_000);
        world.go_on();
    }
    let moving = record(&world, partition);
    assert_eq!(moving.removing, numbers(&world, &[third]));
    world.start_broker(second, 0);
    world.settle();
    let moved = record(&world, partition);
    assert_eq!((moved.removing, moved.replicas.len()), (vec![], 2));
}

#[test]
fn what_a_leader_asks_again_while_the_store_is_away_waits_once_and_the_last_counts() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    // Puts fail, loads succeed; at the end a put has failed.
    for round in 0..51 {
        world.ask_to_shrink(leader, partition, second, ShrinkReason::Lagging);
        let is_put = round % 2 == 0;
        world.step_store(
            0,
            if is_put {
                Fault::Unavailable
            } else {
                Fault::Nothing
            },
        );
        assert_eq!(
            world.asks_waiting(0),
            usize::from(is_put),
            "in round {round}"
        );
    }
    let before = members(&world, partition);
    assert_eq!(before.len(), BROKERS, "nothing was written");
    world.ask_to_shrink(leader, partition, third, ShrinkReason::Lagging);
    assert_eq!(world.asks_waiting(0), 1);
    world.go_on();
    let two = numbers(&world, &[leader, second]);
    assert_eq!(members(&world, partition), two);
}

#[test]
fn what_ended_sessions_wanted_does_not_wait_for_the_store() {
    let (mut world, partition) = running();
    let (leader, second, _) = roles(&world, partition);
    world.ask_to_shrink(leader, partition, second, ShrinkReason::Lagging);
    for _ in 0..20 {
        world.dial(leader, 0);
        world.step_store(0, Fault::Unavailable);
    }
    assert_eq!(world.work_waiting(0), 1, "its last registration");
}
