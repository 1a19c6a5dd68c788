//! What a produce request holds, checked before any of it is queued: structure, length, checksum, record count, limits.

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_core::{ErrorCode, LeaderEpoch};
use taffrail_record::{BatchError, BatchHeader, split, verify as verify_batch, verify_records};

use super::sequence::check_order;

/// Batches that may be appended.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) headers: Vec<BatchHeader>,
    pub(crate) bytes: usize,
    /// The leader epoch under which the request was accepted.
    pub(crate) epoch: LeaderEpoch,
}

impl Verified {
    pub(crate) fn records(&self) -> u64 {
        self.headers.iter().map(|h| u64::from(h.record_count)).sum()
    }
}

/// What a batch may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The topic's.
    pub(crate) batch_bytes_max: usize,
    /// The broker's: bounds the record count of compressed batches.
    pub(crate) decompressed_bytes_max: usize,
}

/// Checks every batch.
pub(crate) fn verify(
    bytes: &Bytes,
    limits: Limits,
    epoch: LeaderEpoch,
) -> Result<Verified, WireError> {
    let mut verified = Verified {
        batches: Vec::with_capacity(1),
        headers: Vec::with_capacity(1),
        bytes: bytes.len(),
        epoch,
    };
    for batch in split(bytes) {
        let (header, batch) = batch.map_err(|e| refused(&e))?;
        if batch.len() > limits.batch_bytes_max {
            return Err(too_large(&header, batch.len(), limits.batch_bytes_max));
        }
        verify_batch(&batch).map_err(|e| refused(&e))?;
        verify_records(&header, &batch, limits.decompressed_bytes_max).map_err(|e| refused(&e))?;
        if header.attributes.is_control() || header.attributes.is_transactional() {
            return Err(WireError::invalid(
                "batch is transactional or a control batch, which producers do not send; leave these attributes unset",
            ));
        }
        check_order(verified.headers.last(), &header)?;
        verified.headers.push(header);
        verified.batches.push(batch);
    }
    if verified.batches.is_empty() {
        return Err(WireError::invalid(
            "batches is empty; send at least one record batch",
        ));
    }
    Ok(verified)
}

fn refused(error: &BatchError) -> WireError {
    WireError::new(error.code(), error.to_string())
}

fn too_large(header: &BatchHeader, bytes: usize, max: usize) -> WireError {
    let (code, what, advice) = if header.record_count == 1 {
        (
            ErrorCode::RecordTooLarge,
            "record",
            "raise the topic's limits.maxBatchBytes or send it in parts",
        )
    } else {
        (
            ErrorCode::BatchTooLarge,
            "batch",
            "send smaller batches or raise the topic's limits.maxBatchBytes",
        )
    };
    WireError::new(
        code,
        format!("{what} of {bytes} bytes is larger than the topic's {max}; {advice}"),
    )
}

#[cfg(test)]
mod tests {
    use taffrail_record::{BatchBuilder, Compression, NewRecord};

    use super::*;

    fn batch(records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..records {
            builder.push(&NewRecord {
                value: Some(&[7; 50]),
                ..NewRecord::default()
            });
        }
        builder.build().expect("not empty").to_vec()
    }

    fn check(bytes: Vec<u8>, max: usize) -> Result<Verified, WireError> {
        let limits = Limits {
            batch_bytes_max: max,
            decompressed_bytes_max: 64 << 20,
        };
        verify(&Bytes::from(bytes), limits, LeaderEpoch(1))
    }

    fn code(bytes: Vec<u8>) -> ErrorCode {
        check(bytes, 1 << 20).expect_err("refused").code
    }

    #[test]
    fn back_to_back_batches_are_accepted_as_they_are() {
        let bytes = [batch(3), batch(2)].concat();
        let verified = check(bytes.clone(), 1 << 20).expect("valid");
        assert_eq!(verified.records(), 5);
        assert_eq!(verified.batches.concat(), bytes);
    }

    #[test]
    fn a_flipped_bit_a_wrong_length_a_wrong_magic_and_a_wrong_count_are_corrupt() {
        let good = batch(3);
        for at in [good.len() - 1, 11, 16, 60] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(code(bad), ErrorCode::CorruptBatch, "byte {at}");
        }
        assert_eq!(
            code(good[..good.len() - 1].to_vec()),
            ErrorCode::CorruptBatch
        );
        assert_eq!(code(good[..20].to_vec()), ErrorCode::CorruptBatch);
    }

    #[test]
    fn an_unknown_compression_is_told_apart() {
        let mut bad = batch(1);
        bad[22] |= 0b111;
        assert_eq!(code(bad), ErrorCode::UnsupportedCompression);
    }

    #[test]
    fn too_large_says_the_limit() {
        let batch_error = check(batch(100), 1_024).expect_err("too large");
        assert_eq!(batch_error.code, ErrorCode::BatchTooLarge);
        assert!(batch_error.message.contains("1024"), "{batch_error}");
        let record_error = check(batch(1), 100).expect_err("too large");
        assert_eq!(record_error.code, ErrorCode::RecordTooLarge);
    }

    #[test]
    fn nothing_is_not_a_batch() {
        assert_eq!(code(Vec::new()), ErrorCode::InvalidRequest);
    }
}
