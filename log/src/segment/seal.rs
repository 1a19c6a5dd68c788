//! The seal of a segment: it is complete, durable, and its bytes have this checksum.

use std::sync::{Arc, Mutex, PoisonError};

use taffrail_core::{LeaderEpoch, Offset};

use super::Segment;
use crate::{
    error::LogError,
    file::LogFile,
    frame::{self, Fields, Kind},
    names::Part,
    shared::Home,
};

const KIND: Kind = Kind {
    tag: *b"seal",
    version: 1,
};

/// Written only after the segment's bytes and indexes are durable; who finds a seal need not scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) base: Offset,
    /// Offset after the last record: the next segment's base.
    pub(crate) end: Offset,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// CRC-32 of the file, taken while it was written.
    pub(crate) crc32: u32,
    pub(crate) max_record_time_ms: i64,
    pub(crate) first_append_time_ms: i64,
    pub(crate) last_append_time_ms: i64,
    pub(crate) first_epoch: LeaderEpoch,
    pub(crate) last_epoch: LeaderEpoch,
}

impl Seal {
    pub(crate) fn write_later(&self, home: &Home) -> Result<(), LogError> {
        let path = home.path(self.base, Part::Seal);
        frame::replace_later(&*home.disk, &path, KIND, &self.payload())
    }

    /// `None` if there is no such file.
    pub(crate) fn read(home: &Home, base: Offset) -> Result<Option<Self>, LogError> {
        let path = home.path(base, Part::Seal);
        let Some(payload) = frame::read(&*home.disk, &path, KIND)? else {
            return Ok(None);
        };
        Self::parse(&payload)
            .filter(|seal| seal.base == base && seal.base < seal.end && seal.bytes > 0)
            .map(Some)
            .ok_or(LogError::Unreadable {
                path,
                reason: "its fields are wrong",
            })
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(60);
        out.extend_from_slice(&self.base.0.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.crc32.to_be_bytes());
        out.extend_from_slice(&self.max_record_time_ms.to_be_bytes());
        out.extend_from_slice(&self.first_append_time_ms.to_be_bytes());
        out.extend_from_slice(&self.last_append_time_ms.to_be_bytes());
        out.extend_from_slice(&self.first_epoch.0.to_be_bytes());
        out.extend_from_slice(&self.last_epoch.0.to_be_bytes());
        out
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let seal = Self {
            base: Offset(fields.u64()?),
            end: Offset(fields.u64()?),
            bytes: fields.u64()?,
            crc32: fields.u32()?,
            max_record_time_ms: fields.i64()?,
            first_append_time_ms: fields.i64()?,
            last_append_time_ms: fields.i64()?,
            first_epoch: LeaderEpoch(fields.u32()?),
            last_epoch: LeaderEpoch(fields.u32()?),
        };
        fields.end()?;
        Some(seal)
    }
}

/// Seals a segment that was rolled. Part of the next sync, on the thread that does it.
#[derive(Debug)]
pub(crate) struct SealJob {
    home: Arc<Home>,
    segment: Arc<Segment>,
    file: LogFile,
    seal: Seal,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    is_durable: bool,
    is_over: bool,
}

impl SealJob {
    pub(crate) fn new(home: Arc<Home>, segment: Arc<Segment>, file: LogFile, seal: Seal) -> Self {
        Self {
            home,
            segment,
            file,
            seal,
            progress: Mutex::default(),
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.seal.base
    }

    /// Cuts the room that was reserved, makes the segment durable, then its indexes and its seal. Harmless to run again.
    ///
    /// Only the segment's own bytes decide the outcome: where index or seal cannot be written (no room, say), the job stays to be run by the
    /// next sync, and recovery does what it did not.
    pub(crate) fn run(&self) -> Result<(), LogError> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !progress.is_durable && !progress.is_over {
            self.file.set_len(self.seal.bytes)?;
            self.file.sync()?;
            progress.is_durable = true;
        }
        if !progress.is_over && self.finish().is_ok() {
            progress.is_over = true;
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), LogError> {
        self.segment.index().persist_whole()?;
        self.seal.write_later(&self.home)?;
        self.segment.set_sealed(self.seal);
        Ok(())
    }

    pub(crate) fn is_over(&self) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_over
    }

    /// The segment is about to be removed. Waits for a run that is under way.
    pub(crate) fn cancel(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_over = true;
    }
}
