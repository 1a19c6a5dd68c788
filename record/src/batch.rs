//! Whole batches: check one, walk over several, set what the broker sets.

use std::iter::FusedIterator;

use bytes::{Bytes, BytesMut};
use taffrail_core::{LeaderEpoch, Offset};

use crate::{
    BatchError, BatchHeader, HEADER_BYTES, ProducerStamp,
    header::{ATTRIBUTES_AT, BATCH_LENGTH_AT, CRC_AT, LEADER_EPOCH_AT, MAGIC_AT, PRODUCER_ID_AT},
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

/// A copy of `batch` from another producer, or with other numbers of the same one. The CRC covers them.
///
/// `batch` must hold at least a header.
pub fn with_producer(batch: &[u8], producer: ProducerStamp) -> Bytes {
    assert!(batch.len() >= HEADER_BYTES, "a batch has a header");
    let mut copy = BytesMut::from(batch);
    let mut at = PRODUCER_ID_AT;
    for field in [
        &producer.id.to_be_bytes()[..],
        &producer.epoch.to_be_bytes(),
        &producer.base_sequence.to_be_bytes(),
    ] {
        copy[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    let crc = crc32c::crc32c(&copy[ATTRIBUTES_AT..]);
    copy[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    copy.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Compression, NewRecord, records};

    #[test]
    fn a_batch_gets_other_numbers_and_is_the_same_otherwise() {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        builder.push(&NewRecord {
            value: Some(&[7; 500]),
            ..NewRecord::default()
        });
        let batch = builder.build().expect("a record");
        let stamp = ProducerStamp {
            id: i64::MAX - 5,
            epoch: 300,
            base_sequence: 70_000,
        };
        let stamped = with_producer(&batch, stamp);
        let before = verify(&batch).expect("sound");
        let after = verify(&stamped).expect("sound");
        let expected = BatchHeader {
            producer_id: stamp.id,
            producer_epoch: stamp.epoch,
            base_sequence: stamp.base_sequence,
            crc: after.crc,
            ..before
        };
        assert_eq!(after, expected);
        assert_ne!(after.crc, before.crc);
        let read = |batch: &Bytes| records(batch.clone(), 1 << 20).expect("sound").count();
        assert_eq!(read(&stamped), read(&batch));
        assert_eq!(with_producer(&stamped, ProducerStamp::NONE), batch);
    }
}
