//! Replication: the decisions of a partition's leader and followers, and of whoever elects. Events in, effects out; the broker, the
//! controller and the simulation drive the same code.
//!
//! ```text
//!   assignment --> Replica --+--> Leader    appended, synced, fetch, tick --> high watermark, requests for changes, confirmations
//!   (newer only)             |                 ^ FetchRequest | FetchAnswer
//!                            +--> Follower  ---+              v  --> append, truncate, begin anew
//!
//!   Found (how a replica was found at a start) --> Standing --> Report --+
//!   assignment in the store ---------------------------------------------+--> Election --> assignment with higher epochs, or wait
//!   IsrRequest --------------------------------------------------------------> the assignment after a change
//!
//! epochs       where two logs part
//! log_state    what decisions have to know of a log; moves from role to role
//! role         leader or follower, by the newest assignment
//! leader       the high watermark, answering followers, changes of the in-sync set
//! fetch        what followers ask and are answered
//! follower     what to fetch next, and what to do with an answer
//! acks         who is told when that a record is stored
//! isr          a change of the in-sync set, asked for and made
//! eligibility  what a replica is worth when its broker starts
//! election     who may lead next
//! certainty    whether the store may be old, and what may be decided nevertheless
//! reassignment moving replicas: copy, catch up, swap
//! invariants   what must hold whatever happens
//! ```
//!
//! One owner drives a replica and its log together: what a step asks for is done to the log before the next event. Syncs run beside it; a
//! [`SyncPoint`] says what they made durable. Nothing here has a clock: times come in with events and never go back.

mod acks;
mod certainty;
mod election;
mod eligibility;
mod epochs;
mod fetch;
mod follower;
pub mod invariants;
mod isr;
mod leader;
mod log_state;
mod mutant;
mod reassignment;
mod role;
#[cfg(test)]
mod tests;

pub use acks::{AckQueue, Acks};
pub use certainty::{Certainty, Leap};
pub use election::{Elected, Election, MayLack, Report, Wait};
pub use eligibility::{Found, FoundLog, Standing};
pub use epochs::{EpochEnd, EpochStart, EpochTable, LogTail};
pub use fetch::{BatchSpan, FetchAnswer, FetchOutcome, FetchRequest};
pub use follower::{Follower, FollowerStep};
pub use isr::{Confirmation, IsrChange, IsrRequest, ShrinkReason};
pub use leader::{FollowerLag, Leader, LeaderEffect, LeaderRules};
pub use log_state::{LogState, SyncPoint};
pub use mutant::{Mutant, is_broken};
pub use reassignment::Progress as MoveProgress;
pub use role::{Replica, Role, Turn};
