//! The seal of a segment: it is complete, durable, and its bytes have this checksum.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use taffrail_core::{LeaderEpoch, Offset};

use super::Segment;
use crate::{
    error::LogError,
    file::LogFile,
    frame::{self, Fields, Kind},
    names::Part,
    producers::Snapshot,
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
        self.write_later_as(home, &home.path(self.base, Part::Seal))
    }

    /// Under another name.
    pub(crate) fn write_later_as(&self, home: &Home, path: &Path) -> Result<(), LogError> {
        frame::replace_later(&*home.disk, path, KIND, &self.payload())
    }

    /// `None` if there is no such file.
    pub(crate) fn read(home: &Home, base: Offset) -> Result<Option<Self>, LogError> {
        Self::read_from(home, &home.path(base, Part::Seal), base)
    }

    /// The same, under another name.
    pub(crate) fn read_from(
        home: &Home,
        path: &Path,
        base: Offset,
    ) -> Result<Option<Self>, LogError> {
        let Some(payload) = frame::read(&*home.disk, path, KIND)? else {
            return Ok(None);
        };
        Self::parse(&payload)
            .filter(|seal| seal.base == base && seal.base < seal.end && seal.bytes > 0)
            .map(Some)
            .ok_or(LogError::Unreadable {
                path: path.to_owned(),
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

/// Seals a segment that was rolled, in two steps: its bytes become durable with the next sync; indexes and seal follow when nobody waits.
#[derive(Debug)]
pub(crate) struct SealJob {
    home: Arc<Home>,
    segment: Arc<Segment>,
    file: LogFile,
    seal: Seal,
    /// Of the producers when the segment ended, for the next one; `None`: it is not known any more.
    producers: Option<Snapshot>,
    /// Held while the bytes are synced.
    syncing: Mutex<()>,
    is_durable: AtomicBool,
    /// Held while indexes and seal are written, which a sync must not wait for.
    sealing: Mutex<()>,
    is_over: AtomicBool,
}

impl SealJob {
    pub(crate) fn new(
        home: Arc<Home>,
        segment: Arc<Segment>,
        file: LogFile,
        seal: Seal,
        producers: Option<Snapshot>,
    ) -> Self {
        Self {
            home,
            segment,
            file,
            seal,
            producers,
            syncing: Mutex::default(),
            is_durable: AtomicBool::new(false),
            sealing: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.seal.base
    }

    /// Cuts the room that was reserved and makes the segment's bytes durable. Harmless to run again.
    pub(crate) fn make_durable(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_durable() && !self.is_over() {
            self.file.set_len(self.seal.bytes)?;
            self.file.sync()?;
            self.is_durable.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Lets the system's cache go of the segment's bytes. What cannot be dropped stays.
    pub(crate) fn forget_cached(&self) {
        let _ = self.file.handle().forget_cached(0..u64::MAX);
    }

    /// Makes the indexes and the snapshot of the producers durable and then writes the seal, once the bytes are durable. If that fails (no room, say), nothing is lost: run it again, or
    /// recovery does it.
    pub(crate) fn seal(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.sealing();
        if self.is_over() || !self.is_durable() {
            return Ok(());
        }
        self.segment.index().persist_whole()?;
        if let Some(producers) = &self.producers {
            producers.write_later(&self.home, producers.at)?;
        }
        self.seal.write_later(&self.home)?;
        self.segment.set_sealed(self.seal);
        self.is_over.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The segment is about to be removed. Waits for a sealing that is under way.
    pub(crate) fn cancel(&self) {
        let _none_under_way = self.sealing();
        self.is_over.store(true, Ordering::Release);
    }

    fn sealing(&self) -> MutexGuard<'_, ()> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
