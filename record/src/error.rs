//! What can be wrong with a batch.

use taffrail_core::ErrorCode;
use thiserror::Error;

use crate::Compression;

/// Why bytes are not a record batch. Each variant is one fact.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than a header has, or than the header says that the batch has.
    #[error("batch is cut short: {needed} bytes needed, {available} available")]
    Truncated {
        /// Bytes that the next step needs.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// Only magic 2 is spoken here.
    #[error("batch has magic {0}, only record batches of magic 2 are accepted")]
    Magic(u8),
    /// The length field cannot be that of a batch.
    #[error("batch length field is {0}, it must be between 49 and 2147483635")]
    Length(i32),
    /// More bytes than the one batch that was expected.
    #[error("batch says it has {declared} bytes, but there are {actual}")]
    LengthMismatch {
        /// What the header says, prefix included.
        declared: usize,
        /// What there is.
        actual: usize,
    },
    /// The checksum does not match: the bytes changed on the way or on disk.
    #[error("batch checksum is {actual:#010x}, the header says {expected:#010x}")]
    Crc {
        /// From the header.
        expected: u32,
        /// Of the bytes.
        actual: u32,
    },
    /// The record count is negative, or contradicts the last offset delta: more records than offsets, or fewer from a producer.
    #[error("batch says it has {count} records, but its last offset delta is {last_offset_delta}")]
    Count {
        /// The record count field.
        count: i32,
        /// The last offset delta field.
        last_offset_delta: i32,
    },
    /// More records than the batch's bytes can hold.
    #[error("batch says it has {count} records, its bytes hold {max} at most")]
    TooManyRecords {
        /// The record count field.
        count: u32,
        /// What there is room for.
        max: usize,
    },
    /// A compression number that does not exist.
    #[error("batch has unknown compression {0}; known are 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd")]
    UnknownCompression(u8),
    /// Offsets start at 0.
    #[error("batch has negative base offset {0}")]
    NegativeBaseOffset(i64),
    /// A record within the batch is malformed.
    #[error("record {index} of the batch is malformed: {reason}")]
    Record {
        /// Counted from 0 within the batch.
        index: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Bytes are left after the last record.
    #[error("{0} bytes follow the last record of the batch")]
    TrailingBytes(usize),
    /// The compressed bytes are malformed.
    #[error("batch cannot be decompressed as {compression}: {reason}")]
    Decompress {
        /// What the batch says it is.
        compression: Compression,
        /// What the decoder says.
        reason: String,
    },
    /// The decompressed records would be larger than the reader allows.
    #[error("batch decompresses to more than {limit_bytes} bytes")]
    DecompressedTooLarge {
        /// The reader's limit.
        limit_bytes: usize,
    },
}

impl BatchError {
    /// The stable code of this error.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownCompression(_) => ErrorCode::UnsupportedCompression,
            Self::DecompressedTooLarge { .. } => ErrorCode::BatchTooLarge,
            Self::Truncated { .. }
            | Self::Magic(_)
            | Self::Length(_)
            | Self::LengthMismatch { .. }
            | Self::Crc { .. }
            | Self::Count { .. }
            | Self::TooManyRecords { .. }
            | Self::NegativeBaseOffset(_)
            | Self::Record { .. }
            | Self::TrailingBytes(_)
            | Self::Decompress { .. } => ErrorCode::CorruptBatch,
        }
    }
}
