//! The client against brokers that misbehave on command: what cannot be had from a real one at the right moment.

mod cluster;
mod consuming;
mod coordinator;
mod cut;
mod following;
mod frozen;
mod group;
mod producing;
mod service;
mod spawned;
