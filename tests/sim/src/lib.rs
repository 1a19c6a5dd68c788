//! Brokers, controllers and their store on one thread: real decisions, simulated time, disks, network and faults. A seed is a run.
//!
//! ```text
//! options     what a run is
//! chance      everything random, from the seed
//! world       nodes, time and what happens next
//!   network     connections, delays, cuts, noise
//!   brokers     volumes and the processes on them
//!   controllers processes, the lease, the store and its faults
//!   clients     producers, consumers, whoever makes topics
//!   observe     replicas, looked at after each step of a broker
//!   promises    what is on disks, compared with what it is taken for
//!   decisions   what controllers decide, compared with what they were told
//!   faults      what goes wrong, and when it is well again
//!   rest        the end: everything is healed and has to come to rest
//! groups      what groups were promised and did, and what must hold of it
//! ledger      what was sent, acknowledged and exposed, and what must hold of it
//! counters    how often rare paths ran
//! trace       what happened, for whoever reads a failure, and its digest
//! batch       many runs
//! mutants     rules that are broken, and which seed shows each
//! ```
//!
//! What is allowed to go wrong, and why: `docs/SIMULATION.md`.
#![forbid(unsafe_code)]
#![expect(clippy::unnecessary_wraps, reason = "whatever is planned has one type")]

pub mod batch;
mod chance;
pub mod counters;
mod groups;
mod ledger;
pub mod mutants;
mod options;
mod trace;
mod world;

pub use options::Options;
pub use world::{Failure, Report, run};
