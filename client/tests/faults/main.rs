//! The client against brokers that misbehave on command: what cannot be had from a real one at the right moment.

mod cluster;
mod consuming;
mod cut;
mod following;
mod frozen;
mod producing;
mod service;
