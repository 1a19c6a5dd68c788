//! When nobody should stop a broker.

use super::*;

#[test]
fn stops_should_wait_while_a_replica_is_away_without_which_another_is_needed() {
    let (mut world, partition) = running();
    let (_, _, third) = roles(&world, partition);
    assert!(!world.view().stops_should_wait);
    world.stop_broker(third);
    world.go_on();
    assert!(world.view().stops_should_wait);
    world.start_broker(third, 0);
    world.settle();
    let view = world.view();
    assert!(view.brokers.iter().all(|broker| broker.safe_to_stop));
    assert!(!view.stops_should_wait);
}

#[test]
fn what_never_does_without_a_broker_lets_it_stop_while_all_are_there() {
    let needs_all = TopicSpec {
        min_in_sync: Some(3),
        ..spec(1, 3, Adoption::Never)
    };
    for spec in [needs_all, spec(1, 1, Adoption::Never)] {
        let (mut world, _) = running_with(spec);
        let view = world.view();
        assert!(view.brokers.iter().any(|broker| !broker.safe_to_stop));
        assert!(!view.stops_should_wait);
    }
}
