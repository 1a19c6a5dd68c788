//! The first 61 bytes of a batch.

use taffrail_core::Offset;

use crate::{BatchError, Compression};

/// Base offset and batch length: what precedes the bytes that the length counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Everything before the records.
pub const HEADER_BYTES: usize = 61;

/// The only version of the format that is spoken.
pub(crate) const MAGIC: u8 = 2;
pub(crate) const BATCH_LENGTH_AT: usize = 8;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
/// The CRC covers everything from here to the end.
pub(crate) const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

const BATCH_LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;
const BATCH_LENGTH_MAX: i32 = i32::MAX - LENGTH_PREFIX_BYTES as i32;

/// A batch's flags: compression, kind of time, transactional, control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u16);

impl Attributes {
    /// Flags of a batch with this compression, record times set by the producer.
    pub const fn new(compression: Compression) -> Self {
        Self(compression.number() as u16)
    }

    /// The same flags, with another compression.
    pub(crate) const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !0b111 | compression.number() as u16)
    }

    /// The field as it is on the wire.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// How the records are compressed. Checked when the header was parsed.
    pub const fn compression(self) -> Compression {
        match Compression::from_number((self.0 & 0b111) as u8) {
            Some(compression) => compression,
            None => Compression::None,
        }
    }

    /// Are all record times the append time (the maximum timestamp), whatever the records say?
    pub const fn has_append_time(self) -> bool {
        self.0 & 0b1000 != 0
    }

    /// Is the batch part of a transaction?
    pub const fn is_transactional(self) -> bool {
        self.0 & 0b1_0000 != 0
    }

    /// Does the batch hold control records, which applications do not see?
    pub const fn is_control(self) -> bool {
        self.0 & 0b10_0000 != 0
    }

    fn parse(bits: u16) -> Result<Self, BatchError> {
        let number = (bits & 0b111) as u8;
        match Compression::from_number(number) {
            Some(_) => Ok(Self(bits)),
            None => Err(BatchError::UnknownCompression(number)),
        }
    }
}

/// A batch's header. A value of this type is structurally sound: `batch_length >= 49`, `record_count <= last_offset_delta + 1`, the compression is
/// known. Fewer records than offsets are what compaction leaves, possibly none: see [`Self::is_whole`]. Whether the CRC is right, only
/// [`crate::verify`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record. Set by the broker.
    pub base_offset: Offset,
    /// As on the wire: bytes that follow the length field.
    pub batch_length: u32,
    /// Of the leader that appended the batch; -1 in a batch that no leader has seen. Set by the broker.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Flags.
    pub attributes: Attributes,
    /// Offset of the last record, relative to the base.
    pub last_offset_delta: u32,
    /// Record time of the first record.
    pub base_timestamp_ms: i64,
    /// The greatest record time.
    pub max_timestamp_ms: i64,
    /// -1: the producer is not idempotent.
    pub producer_id: i64,
    /// -1: the producer is not idempotent.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1: the producer is not idempotent.
    pub base_sequence: i32,
    /// How many records.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads a header; `bytes` may go on after it.
    ///
    /// # Errors
    /// If there are fewer than 61 bytes, or a field has a value that no batch has.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated {
                needed: HEADER_BYTES,
                available: bytes.len(),
            });
        };
        // The magic first: what follows has another layout in older formats.
        if bytes[MAGIC_AT] != MAGIC {
            return Err(BatchError::Magic(bytes[MAGIC_AT]));
        }
        let base_offset = i64::from_be_bytes(field(bytes, 0));
        if base_offset < 0 {
            return Err(BatchError::NegativeBaseOffset(base_offset));
        }
        let batch_length = i32::from_be_bytes(field(bytes, BATCH_LENGTH_AT));
        if !(BATCH_LENGTH_MIN..=BATCH_LENGTH_MAX).contains(&batch_length) {
            return Err(BatchError::Length(batch_length));
        }
        let attributes = Attributes::parse(u16::from_be_bytes(field(bytes, ATTRIBUTES_AT)))?;
        let last_offset_delta = i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_AT));
        let count = i32::from_be_bytes(field(bytes, RECORD_COUNT_AT));
        if count < 0 || last_offset_delta < 0 || i64::from(count) > i64::from(last_offset_delta) + 1
        {
            return Err(BatchError::Count {
                count,
                last_offset_delta,
            });
        }
        Ok(Self {
            base_offset: Offset(base_offset as u64),
            batch_length: batch_length as u32,
            leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes,
            last_offset_delta: last_offset_delta as u32,
            base_timestamp_ms: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_AT)),
            max_timestamp_ms: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE_AT)),
            record_count: count as u32,
        })
    }

    /// Bytes of the whole batch, base offset and length included.
    pub const fn total_bytes(&self) -> usize {
        LENGTH_PREFIX_BYTES + self.batch_length as usize
    }

    /// Offset of the last record.
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as u64)
    }

    /// Offset of the first record after this batch.
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// How many records its producer sent: each has an offset and a sequence number, also if it is gone.
    pub const fn offsets(&self) -> u32 {
        self.last_offset_delta + 1
    }

    /// Has it every record that its producer sent?
    pub const fn is_whole(&self) -> bool {
        self.record_count == self.offsets()
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.base_offset.0.to_be_bytes());
        put(BATCH_LENGTH_AT, &self.batch_length.to_be_bytes());
        put(LEADER_EPOCH_AT, &self.leader_epoch.to_be_bytes());
        put(MAGIC_AT, &[MAGIC]);
        put(CRC_AT, &self.crc.to_be_bytes());
        put(ATTRIBUTES_AT, &self.attributes.bits().to_be_bytes());
        put(LAST_OFFSET_DELTA_AT, &self.last_offset_delta.to_be_bytes());
        put(BASE_TIMESTAMP_AT, &self.base_timestamp_ms.to_be_bytes());
        put(MAX_TIMESTAMP_AT, &self.max_timestamp_ms.to_be_bytes());
        put(PRODUCER_ID_AT, &self.producer_id.to_be_bytes());
        put(PRODUCER_EPOCH_AT, &self.producer_epoch.to_be_bytes());
        put(BASE_SEQUENCE_AT, &self.base_sequence.to_be_bytes());
        put(RECORD_COUNT_AT, &self.record_count.to_be_bytes());
        out
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}
