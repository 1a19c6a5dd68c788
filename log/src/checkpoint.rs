//! Where recovery starts, and what must never be cut.

use std::path::Path;

use taffrail_core::Offset;

use crate::{
    disk::Disk,
    error::LogError,
    frame::{self, Fields, Kind},
    names,
};

const KIND: Kind = Kind {
    tag: *b"ckpt",
    version: 1,
};

/// A batch boundary in a segment, and what a writer must know to go on from there without reading what is before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPoint {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Of the next batch.
    pub(crate) offset: Offset,
    /// In the file.
    pub(crate) position: u64,
    /// CRC-32 of the file's bytes before `position`.
    pub(crate) crc32: u32,
    /// Greatest record time in the segment before `position`; `i64::MIN` if there is none.
    pub(crate) max_record_time_ms: i64,
    /// Append time of the segment's first batch; of the last one before it, if the segment is empty.
    pub(crate) first_append_time_ms: i64,
    /// Append time of the last batch before this point, in this segment or an earlier one.
    pub(crate) last_append_time_ms: i64,
}

impl LogPoint {
    /// The start of a segment, in a log whose last append was at `last_append_time_ms`.
    pub(crate) const fn start_of(segment: Offset, last_append_time_ms: i64) -> Self {
        Self {
            segment,
            offset: segment,
            position: 0,
            crc32: 0,
            max_record_time_ms: i64::MIN,
            first_append_time_ms: last_append_time_ms,
            last_append_time_ms,
        }
    }
}

/// The checkpoint file.
///
/// Invariants: `log_start <= recovery.offset`; `high_watermark <= recovery.offset`; everything before `recovery` is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Nothing before it is part of the log, whatever files are left. Never moves back.
    pub(crate) log_start: Offset,
    /// As the owner of the log last said; never above what is durable.
    pub(crate) high_watermark: Offset,
    /// The durable end when this was written.
    pub(crate) recovery: LogPoint,
    /// Written by a clean stop: the log ended at `recovery`, in a file of exactly that length. Any later append makes the file longer or
    /// starts another, and so takes the mark away without a write.
    pub(crate) clean: bool,
}

impl Checkpoint {
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        assert!(self.log_start <= self.recovery.offset, "{self:?}");
        assert!(self.high_watermark <= self.recovery.offset, "{self:?}");
        frame::replace(disk, &dir.join(names::CHECKPOINT), KIND, &self.payload())
    }

    /// `None` if there is no such file.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(names::CHECKPOINT);
        let Some(payload) = frame::read(disk, &path, KIND)? else {
            return Ok(None);
        };
        Self::parse(&payload).map(Some).ok_or(LogError::Unreadable {
            path,
            reason: "its fields are wrong",
        })
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(77);
        out.push(u8::from(self.clean));
        out.extend_from_slice(&self.log_start.0.to_be_bytes());
        out.extend_from_slice(&self.high_watermark.0.to_be_bytes());
        out.extend_from_slice(&self.recovery.segment.0.to_be_bytes());
        out.extend_from_slice(&self.recovery.offset.0.to_be_bytes());
        out.extend_from_slice(&self.recovery.position.to_be_bytes());
        out.extend_from_slice(&self.recovery.crc32.to_be_bytes());
        out.extend_from_slice(&self.recovery.max_record_time_ms.to_be_bytes());
        out.extend_from_slice(&self.recovery.first_append_time_ms.to_be_bytes());
        out.extend_from_slice(&self.recovery.last_append_time_ms.to_be_bytes());
        out
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let clean = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let checkpoint = Self {
            clean,
            log_start: Offset(fields.u64()?),
            high_watermark: Offset(fields.u64()?),
            recovery: LogPoint {
                segment: Offset(fields.u64()?),
                offset: Offset(fields.u64()?),
                position: fields.u64()?,
                crc32: fields.u32()?,
                max_record_time_ms: fields.i64()?,
                first_append_time_ms: fields.i64()?,
                last_append_time_ms: fields.i64()?,
            },
        };
        fields.end()?;
        let end = checkpoint.recovery.offset;
        (checkpoint.log_start <= end && checkpoint.high_watermark <= end).then_some(checkpoint)
    }
}
