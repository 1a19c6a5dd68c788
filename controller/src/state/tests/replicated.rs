//! Partitions with three replicas: one scenario after another, step by step.

mod failover;
mod restored;
mod shrinking;
mod stopping;
mod takeover;
mod volumes;

use taffrail_api::v1::ShrinkReason;
use taffrail_core::{Adoption, Assignment, BrokerNumber, TopicPartition, TopicSpec};

use super::{
    spec,
    world::{BROKERS, World},
};

const NAME: &str = "topic-0";

/// A running cluster with one topic, and its first partition.
fn running_with(spec: TopicSpec) -> (World, TopicPartition) {
    let mut world = World::new();
    world.recover();
    world.apply(0, NAME, spec);
    world.settle();
    let cluster = world.cluster().expect("there is a root");
    let partition = cluster.active(NAME).expect("applied").partition(0);
    (world, partition)
}

fn running() -> (World, TopicPartition) {
    running_with(spec(1, 3, Adoption::Never))
}

fn record(world: &World, partition: TopicPartition) -> Assignment {
    let cluster = world.cluster().expect("there is a root");
    let topic = cluster.topic(partition.topic).expect("listed");
    let record = cluster.assignment(topic, partition).expect("placed");
    record.clone()
}

/// Who leads, and the two others.
fn roles(world: &World, partition: TopicPartition) -> (usize, usize, usize) {
    let leader = record(world, partition).leader.expect("led");
    let leader = world.broker_of(leader);
    (leader, (leader + 1) % BROKERS, (leader + 2) % BROKERS)
}

/// Everybody but the leader leaves the in-sync set: one is down, the other lost data and is down too.
fn alone(world: &mut World, partition: TopicPartition) -> (usize, usize, usize) {
    let (leader, second, third) = roles(world, partition);
    world.stop_broker(second);
    world.go_on();
    world.ask_to_shrink(leader, partition, third, ShrinkReason::LostData);
    world.go_on();
    world.stop_broker(third);
    world.go_on();
    let number = world.number(leader);
    assert_eq!(record(world, partition).isr, [number]);
    (leader, second, third)
}
