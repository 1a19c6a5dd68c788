//! What can go wrong, for callers.

use std::time::Duration;

use taffrail_api::WireError;
use taffrail_core::{ErrorCode, Offset, PartitionIndex};
use taffrail_record::BatchError;
use thiserror::Error;

/// Why a call, or the reading of a partition, failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// None of the addresses answers.
    #[error(
        "no broker answers at {addresses}: {reason}; check the address and that the broker runs"
    )]
    Unreachable {
        /// What was tried.
        addresses: String,
        /// The last failure.
        reason: String,
    },
    /// A broker or the controller said no.
    #[error("{0}")]
    Refused(#[from] WireError),
    /// No such topic.
    #[error("there is no topic {topic:?}; create it first (taffrail apply, or kubectl apply)")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// No such partition.
    #[error("topic {topic:?} has {partitions} partitions, and so no partition {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: u32,
    },
    /// The records at the position are gone, or not there yet. The partition waits for a seek.
    #[error(
        "offset {offset} of {topic}/{partition} is out of range, valid are {start} to {end}; seek to one of these"
    )]
    OffsetOutOfRange {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The position.
        offset: Offset,
        /// The first record still there.
        start: Offset,
        /// Where the next record will be.
        end: Offset,
    },
    /// The same for a member of a group that is set to stop then.
    #[error(
        "group {group:?} is to go on at offset {offset} of {topic}/{partition}, which is out of range: valid are {start} to {end}; the partition waits until the offset is reset (taffrail groups reset {group} --topic {topic} --partition {partition} --to earliest)"
    )]
    GroupOutOfRange {
        /// The group's name.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// What was to be read next.
        offset: Offset,
        /// The first record still there.
        start: Offset,
        /// Where the next record will be.
        end: Offset,
    },
    /// How far a partition was read is not stored.
    #[error("{topic}/{partition} was not committed: {source}")]
    NotCommitted {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        source: WireError,
    },
    /// A batch arrived damaged. The partition waits for a seek.
    #[error(
        "the batch at offset {offset} of {topic}/{partition} is damaged: {source}; seek behind it to go on without it"
    )]
    Damaged {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// Where it was read.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// It took too long.
    #[error("{what} took longer than {after:?}; the last problem was: {last}")]
    TimedOut {
        /// What did.
        what: &'static str,
        /// How long.
        after: Duration,
        /// Why.
        last: String,
    },
    /// The consumer has no partitions.
    #[error("no partition is assigned; call assign first")]
    NothingAssigned,
}

impl ClientError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } => ErrorCode::LeaderUnreachable,
            Self::Refused(error) => error.code,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::OffsetOutOfRange { .. } | Self::GroupOutOfRange { .. } => {
                ErrorCode::OffsetOutOfRange
            }
            Self::NotCommitted { source, .. } => source.code,
            Self::Damaged { source, .. } => source.code(),
            Self::TimedOut { .. } => ErrorCode::TimedOut,
            Self::NothingAssigned => ErrorCode::InvalidRequest,
        }
    }

    /// May the same call succeed later?
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused(error) | Self::NotCommitted { source: error, .. } => error.retriable,
            _ => self.code().is_retriable(),
        }
    }
}

/// Why a record was not, or perhaps not, stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProduceError {
    /// The topic or partition could not be found.
    #[error(transparent)]
    Topic(#[from] ClientError),
    /// The record alone is larger than the topic allows.
    #[error(
        "a record of up to {bytes} bytes is larger than the {limit} that a batch of the topic may have; raise limits.maxBatchBytes or split the record"
    )]
    RecordTooLarge {
        /// The record's size, rounded up.
        bytes: usize,
        /// The topic's limit, or the producer's buffer.
        limit: usize,
    },
    /// There is no room in the producer's buffer just now. Only `try_send` says this; `send` waits.
    #[error("the producer's buffer is full; await send, or wait for deliveries")]
    BufferFull,
    /// The topic was not used before, so that its partitions have to be looked up. Only `try_send` says this.
    #[error("the topic's partitions are not known yet; await send or Producer::topic once")]
    NotResolved,
    /// The producer was closed or dropped before the record was acknowledged.
    #[error("the producer was closed or dropped before the record was {}", if *.maybe_stored { "acknowledged; it may be stored" } else { "sent" })]
    Closed {
        /// It was sent, so that it may be stored.
        maybe_stored: bool,
    },
    /// The broker refused it for good.
    #[error("the broker refused the batch: {0}")]
    Refused(WireError),
    /// An attempt to send it was left without an answer, and now the broker cannot tell whether it was stored then: sending it again could store it twice.
    #[error("it may be stored: an earlier attempt had no answer, and now {0}")]
    OutcomeUnknown(WireError),
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(&'static str),
    /// It was not acknowledged within the delivery timeout.
    #[error("not acknowledged within {after:?}{}; the last problem was: {last}", if *.maybe_stored { ", it may be stored" } else { "" })]
    TimedOut {
        /// The delivery timeout.
        after: Duration,
        /// It was sent at least once, so that it may be stored.
        maybe_stored: bool,
        /// What kept it from being acknowledged.
        last: String,
    },
}

impl ProduceError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Topic(error) => error.code(),
            Self::RecordTooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::BufferFull => ErrorCode::ResourceExhausted,
            Self::NotResolved => ErrorCode::NotYetKnown,
            Self::Closed { .. } => ErrorCode::ShuttingDown,
            Self::Refused(error) | Self::OutcomeUnknown(error) => error.code,
            Self::Settings(_) => ErrorCode::InvalidRequest,
            Self::TimedOut { .. } => ErrorCode::TimedOut,
        }
    }

    /// May sending the record again succeed?
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Topic(error) => error.is_retriable(),
            Self::Refused(error) => error.retriable,
            Self::Closed { .. } | Self::OutcomeUnknown(_) => false,
            _ => self.code().is_retriable(),
        }
    }
}

/// Records failed since the producer was last flushed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{records} records were not acknowledged; the first problem was: {first}")]
pub struct FlushError {
    /// How many.
    pub records: u64,
    /// Why the first of them failed.
    pub first: ProduceError,
}
