//! A topic that is deleted if empty, step by step: records come at any moment, and controllers go at any moment.

use taffrail_core::{Adoption, DeletionPolicy};

use super::{
    spec,
    world::{BROKERS, World},
};
use crate::{
    request::Request,
    state::cluster::{Topic, TopicState},
    store::Fault,
};

const NAME: &str = "topic-0";

/// A topic of seven partitions that every broker leads some of.
fn running() -> World {
    let mut world = World::new();
    world.keeps_records = true;
    world.recover();
    world.apply(0, NAME, spec(7, 1, Adoption::Never));
    world.settle();
    world
}

fn end(world: &mut World) {
    let request = Request::Delete {
        name: NAME.to_owned(),
        policy: Some(DeletionPolicy::DeleteIfEmpty),
    };
    world.request(0, request);
}

fn topic(world: &World) -> Option<Topic> {
    let cluster = world.cluster().expect("there is a root");
    let mut topics = cluster.root.value.topics.values();
    topics
        .find(|topic| topic.name == NAME)
        .map(|topic| (**topic).clone())
}

fn is_retained(world: &World) -> bool {
    topic(world).is_some_and(|t| matches!(t.state, TopicState::Retained { .. }))
}

#[test]
fn an_empty_topic_goes() {
    let mut world = running();
    end(&mut world);
    world.settle();
    assert_eq!(topic(&world), None);
    assert!(world.reached.contains("Deleting"), "{:?}", world.reached);
}

#[test]
fn a_record_after_the_last_report_keeps_the_topic() {
    let mut world = running();
    world.produce(1);
    end(&mut world);
    world.settle();
    assert!(is_retained(&world), "{:?}", topic(&world));
    assert!(world.reached.contains("NotEmpty"), "{:?}", world.reached);
}

#[test]
fn a_broker_that_is_away_keeps_the_topic() {
    let mut world = running();
    world.disconnect(1);
    world.wait(4_000);
    end(&mut world);
    world.settle();
    assert!(is_retained(&world), "{:?}", topic(&world));
}

#[test]
fn a_broker_that_never_reports_keeps_the_topic_after_a_while() {
    let mut world = running();
    world.mute(1);
    end(&mut world);
    world.settle();
    let waiting = topic(&world).expect("one broker has said nothing");
    assert_eq!(waiting.state, TopicState::Closing);
    for _ in 0..20 {
        world.beat(1);
        world.wait(1_000);
    }
    world.settle();
    assert!(is_retained(&world), "{:?}", topic(&world));
}

/// After each number of steps: a record comes as long as somebody leads, then the controller is replaced.
#[test]
fn wherever_the_controller_stops_no_record_goes_and_nothing_stays_half_closed() {
    let (mut kept, mut gone) = (0, 0);
    for records_after in 0..12 {
        for steps in 0..12 {
            let mut world = running();
            end(&mut world);
            for step in 0..steps {
                if step == records_after {
                    (0..BROKERS).for_each(|broker| world.produce(broker));
                }
                world.step_store(0, Fault::Nothing);
                world.obey(step % BROKERS);
            }
            world.recover();
            match topic(&world) {
                None => gone += 1,
                Some(topic) => {
                    // One whose end was never persisted goes on.
                    assert_ne!(topic.state, TopicState::Closing);
                    kept += 1;
                }
            }
            // Served again, every partition by its leader's running process.
            world.apply(0, NAME, spec(7, 1, Adoption::ByName));
            world.apply(0, "final", spec(10, 1, Adoption::Never));
            world.settle();
            world.assert_good("final");
        }
    }
    assert!(kept > 0 && gone > 0, "kept {kept}, gone {gone}");
}

#[test]
fn a_topic_made_again_while_the_old_one_closes_comes_after_it() {
    let mut world = running();
    end(&mut world);
    world.apply(0, NAME, spec(3, 1, Adoption::Never));
    world.settle();
    let again = topic(&world).expect("made again");
    assert_eq!((again.state, again.placed), (TopicState::Active, 3));
}

#[test]
fn more_requests_than_may_wait_for_a_closing_topic_are_told_to_come_again() {
    let mut world = running();
    world.mute(1);
    end(&mut world);
    for _ in 0..1_100 {
        world.apply(0, NAME, spec(3, 1, Adoption::Never));
        world.step_store(0, Fault::Nothing);
    }
    assert!(world.reached.contains("TooManyWaiting"));
    world.wait(1_000);
    world.settle();
    assert_eq!(topic(&world).expect("closing").state, TopicState::Closing);
}
