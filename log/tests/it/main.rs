//! The log from outside, on a real and on a simulated disk.

mod append_and_read;
mod cached;
mod common;
mod compaction;
mod concurrency;
mod faults;
mod golden;
mod inspection;
mod model;
mod producers;
mod reclaim;
mod recovery;
mod repair;
mod replication;
mod retention;
mod set_aside;
mod upkeep;
