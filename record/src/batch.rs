//! Whole batches: check one, walk over several, set what the broker sets.

use std::iter::FusedIterator;

use bytes::Bytes;
use taffrail_core::{LeaderEpoch, Offset};

use crate::{
    BatchError, BatchHeader, HEADER_BYTES,
    header::{ATTRIBUTES_AT, BATCH_LENGTH_AT, LEADER_EPOCH_AT, MAGIC_AT},
};

/// Checks that `batch` is exactly one batch, sound in structure and checksum. Does not look into the records.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let declared = header.total_bytes();
    if declared > batch.len() {
        return Err(BatchError::Truncated {
            needed: declared,
            available: batch.len(),
        });
    }
    if declared < batch.len() {
        return Err(BatchError::LengthMismatch {
            declared,
            actual: batch.len(),
        });
    }
    let actual = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    if actual != header.crc {
        return Err(BatchError::Crc {
            expected: header.crc,
            actual,
        });
    }
    Ok(header)
}

/// Walks over batches that lie back to back, without copies and without checking their checksums.
///
/// Ends after the first error; a batch that is cut short is one.
pub fn split(bytes: &Bytes) -> Batches {
    Batches {
        rest: bytes.clone(),
    }
}

/// The iterator of [`split`].
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = BatchHeader::parse(&self.rest).and_then(|header| {
            let needed = header.total_bytes();
            if needed > self.rest.len() {
                return Err(BatchError::Truncated {
                    needed,
                    available: self.rest.len(),
                });
            }
            Ok((header, self.rest.split_to(needed)))
        });
        if next.is_err() {
            self.rest = Bytes::new();
        }
        Some(next)
    }
}

impl FusedIterator for Batches {}

/// Sets what the leader sets, in place. The CRC does not cover it.
///
/// `batch` must hold at least a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    let prefix = stamped_prefix(batch, base_offset, leader_epoch);
    batch[..MAGIC_AT].copy_from_slice(&prefix);
}

/// What [`stamp`] would make of the first 16 bytes, for writers that leave the batch as it is and write prefix and rest with one `writev`.
///
/// `batch` must hold at least a header.
pub fn stamped_prefix(
    batch: &[u8],
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
) -> [u8; MAGIC_AT] {
    assert!(batch.len() >= HEADER_BYTES, "a batch has a header");
    let mut prefix = [0; MAGIC_AT];
    prefix[..BATCH_LENGTH_AT].copy_from_slice(&base_offset.0.to_be_bytes());
    prefix[BATCH_LENGTH_AT..LEADER_EPOCH_AT]
        .copy_from_slice(&batch[BATCH_LENGTH_AT..LEADER_EPOCH_AT]);
    prefix[LEADER_EPOCH_AT..].copy_from_slice(&leader_epoch.0.to_be_bytes());
    prefix
}
