//! Index entries and their bytes.
//!
//! ```text
//! .index      relative offset u32 | position u32 | CRC-32
//! .timeindex  relative offset u32 | max record time before i64 | append time i64 | CRC-32
//! ```
//! The n-th entries of both files belong to the same batch. Each CRC also covers the segment's base offset, so that an entry of another
//! segment is none of this one.

use taffrail_core::Offset;

pub(crate) const INDEX_ENTRY_BYTES: usize = 12;
pub(crate) const TIME_ENTRY_BYTES: usize = 24;

/// One batch, every `index_interval_bytes` or so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The batch's base offset, less the segment's.
    pub(crate) relative: u32,
    /// Where it starts in the file.
    pub(crate) position: u32,
    /// Greatest record time of the segment's batches before this one; `i64::MIN` for the first. Grows from entry to entry.
    pub(crate) max_before_ms: i64,
    /// When this batch was appended. Grows from entry to entry.
    pub(crate) append_time_ms: i64,
}

/// What `.timeindex` has of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) relative: u32,
    pub(crate) max_before_ms: i64,
    pub(crate) append_time_ms: i64,
}

impl Entry {
    pub(crate) fn index_bytes(&self, base: Offset) -> [u8; INDEX_ENTRY_BYTES] {
        let mut out = [0; INDEX_ENTRY_BYTES];
        out[..4].copy_from_slice(&self.relative.to_be_bytes());
        out[4..8].copy_from_slice(&self.position.to_be_bytes());
        let crc = crc(base, &out[..8]);
        out[8..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn time_bytes(&self, base: Offset) -> [u8; TIME_ENTRY_BYTES] {
        let mut out = [0; TIME_ENTRY_BYTES];
        out[..4].copy_from_slice(&self.relative.to_be_bytes());
        out[4..12].copy_from_slice(&self.max_before_ms.to_be_bytes());
        out[12..20].copy_from_slice(&self.append_time_ms.to_be_bytes());
        let crc = crc(base, &out[..20]);
        out[20..].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

/// Relative offset and position; `None` if the checksum is wrong.
pub(crate) fn parse_index(base: Offset, bytes: [u8; INDEX_ENTRY_BYTES]) -> Option<(u32, u32)> {
    let mut fields = checked(base, &bytes)?;
    Some((fields.u32()?, fields.u32()?))
}

/// `None` if the checksum is wrong.
pub(crate) fn parse_time(base: Offset, bytes: [u8; TIME_ENTRY_BYTES]) -> Option<TimeEntry> {
    let mut fields = checked(base, &bytes)?;
    Some(TimeEntry {
        relative: fields.u32()?,
        max_before_ms: fields.i64()?,
        append_time_ms: fields.i64()?,
    })
}

fn checked(base: Offset, bytes: &[u8]) -> Option<crate::frame::Fields<'_>> {
    let (fields, stored) = bytes.split_last_chunk::<4>()?;
    (crc(base, fields) == u32::from_be_bytes(*stored)).then_some(crate::frame::Fields(fields))
}

fn crc(base: Offset, fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&base.0.to_be_bytes());
    hasher.update(fields);
    hasher.finalize()
}
