//! What a follower asks its leader for, and what it is answered: of one partition, within a message between two brokers.

use super::epochs::{EpochEnd, LogTail};
use crate::ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset};

/// A follower has `tail` and wants what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchRequest {
    /// Who asks.
    pub broker: BrokerNumber,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Whose followers it believes the two to be.
    pub leader_epoch: LeaderEpoch,
    /// What it has. The fetch offset is its end.
    pub tail: LogTail,
    /// Up to where that is durable.
    pub durable_end: Offset,
    /// Its delete horizon.
    pub delete_horizon: Offset,
}

impl FetchRequest {
    /// May it have a record that was deleted by a tombstone which it has not got, and which a leader with this horizon has no more? That record would
    /// stay for ever.
    pub fn misses_deletes_of(&self, delete_horizon: Offset) -> bool {
        self.tail.end < delete_horizon && self.delete_horizon < delete_horizon
    }
}

/// The leader's answer. It counts only while the follower still is in that epoch and has exactly that tail: so late, repeated and
/// overtaken answers do no harm, and no request has to be numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The tail that was asked with.
    pub tail: LogTail,
    /// The leader's first offset.
    pub log_start: Offset,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// What to do.
    pub outcome: FetchOutcome,
}

/// How a leader answers a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The follower's log is a beginning of the leader's. Batches from its end on go with this, or none if there are none yet.
    Matches,
    /// The logs part: cut, and ask again.
    Diverging(EpochEnd),
    /// The leader's log begins after the follower's end, or with a later epoch than any that the follower has, or tombstones that the follower has not got
    /// are gone there: begin anew where it begins.
    OutOfRange {
        /// The leader's.
        delete_horizon: Offset,
    },
}

/// One batch of an answer, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpan {
    /// Of its first record.
    pub base: Offset,
    /// After its last record.
    pub next: Offset,
    /// Of the leader that appended it first.
    pub epoch: LeaderEpoch,
}
