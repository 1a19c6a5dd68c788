//! Replication as the owner of the logs sees it: what followers ask this broker, and what leaders answered it.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{
    Assignment, ErrorCode,
    replica::{FetchAnswer, FetchRequest, LeaderRules},
};
use taffrail_record::BatchHeader;

use super::{Partition, standing::Standing};

/// A newer assignment, or newer limits.
#[derive(Debug)]
pub(crate) struct Assign {
    pub(crate) partition: Arc<Partition>,
    /// `None`: no map names this replica.
    pub(crate) assignment: Option<Assignment>,
    /// Set by the owner of the log once the replica is what the assignment makes of it.
    pub(crate) standing: Standing,
    pub(crate) rules: LeaderRules,
}

/// A follower asks this broker.
#[derive(Debug)]
pub(crate) struct ReplicaFetch {
    pub(crate) partition: Arc<Partition>,
    pub(crate) request: FetchRequest,
}

/// What a follower is answered. On [`taffrail_core::replica::FetchOutcome::Matches`] the session adds batches from the asked end on, now and later, for as
/// long as this broker leads the epoch: a leader's log only grows.
pub(crate) type Fetched = Result<FetchAnswer, ErrorCode>;

/// A leader answered this broker. Checked: the batches are whole, their checksums are right, the headers are theirs.
#[derive(Debug)]
pub(crate) struct Replicated {
    pub(crate) partition: Arc<Partition>,
    pub(crate) answer: FetchAnswer,
    pub(crate) batches: Vec<Bytes>,
    pub(crate) headers: Vec<BatchHeader>,
    pub(crate) append_time_ms: i64,
}
