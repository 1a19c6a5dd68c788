//! One `.log` file with its index, time index and seal, as readers and the writer share it.
//!
//! ```text
//! active   the writer of the last segment
//! entry    index entries, which batches get one, and their bytes in the index files
//! index    offset and time -> position, in memory while active, on disk once sealed
//! detach   a segment whose files are about to be exchanged for others
//! read     whole batches from an offset on
//! rebuild  a lost or damaged index from the batches
//! scan     checks every batch of a file: recovery and verification
//! seal     the checksum of a segment that is complete and durable
//! view     bytes of the file: a mapping where there is one, pread otherwise
//! ```

pub(crate) mod active;
mod detach;
pub(crate) mod entry;
mod entry_builder;
pub(crate) mod index;
pub(crate) mod index_file;
mod read;
mod rebuild;
pub(crate) mod scan;
pub(crate) mod seal;
mod view;

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use taffrail_core::Offset;

use crate::{
    checkpoint::LogPoint, disk::OpenMode, error::LogError, file::LogFile, names::Part, shared::Home,
};
pub(crate) use entry_builder::EntryBuilder;
use index::SegmentIndex;
use read::Reads;
pub(crate) use read::{Bounds, Found};
use seal::Seal;

/// Invariants: the first `bytes` bytes of the file are whole batches from `base` to `next_offset` and never change; the file is never made
/// shorter than `bytes` (a cut writes a new file, and a new `Segment`). `bytes` and `next_offset` only grow, and are stored after the file's
/// bytes were written.
#[derive(Debug)]
pub(crate) struct Segment {
    home: Arc<Home>,
    base: Offset,
    bytes: AtomicU64,
    next: AtomicU64,
    max_record_time_ms: AtomicI64,
    first_append_time_ms: AtomicI64,
    last_append_time_ms: AtomicI64,
    index: SegmentIndex,
    /// Until the segment is sealed; then its mapping serves.
    file: RwLock<Option<LogFile>>,
    reads: Mutex<Reads>,
    /// Held while the index is built anew.
    rebuild: Mutex<()>,
    seal: OnceLock<Seal>,
    /// What lies before this position was not checked or written by this process: its checksums are checked when it is first read.
    trusted_from: u64,
    /// How much to map while the segment still grows.
    map_ahead_bytes: u64,
}

impl Segment {
    /// A segment that is being written, or was and has no seal yet.
    pub(crate) fn open(
        home: Arc<Home>,
        file: LogFile,
        point: &LogPoint,
        index: SegmentIndex,
        trusted_from: u64,
        map_ahead_bytes: u64,
    ) -> Self {
        Self {
            home,
            base: point.segment,
            bytes: AtomicU64::new(point.position),
            next: AtomicU64::new(point.offset.0),
            max_record_time_ms: AtomicI64::new(point.max_record_time_ms),
            first_append_time_ms: AtomicI64::new(point.first_append_time_ms),
            last_append_time_ms: AtomicI64::new(point.last_append_time_ms),
            index,
            file: RwLock::new(Some(file)),
            reads: Mutex::default(),
            rebuild: Mutex::default(),
            seal: OnceLock::new(),
            trusted_from,
            map_ahead_bytes,
        }
    }

    /// A segment that was sealed in an earlier run. Opens nothing.
    fn sealed(home: Arc<Home>, seal: Seal, index: SegmentIndex) -> Self {
        Self {
            home,
            base: seal.base,
            bytes: AtomicU64::new(seal.bytes),
            next: AtomicU64::new(seal.end.0),
            max_record_time_ms: AtomicI64::new(seal.max_record_time_ms),
            first_append_time_ms: AtomicI64::new(seal.first_append_time_ms),
            last_append_time_ms: AtomicI64::new(seal.last_append_time_ms),
            index,
            file: RwLock::new(None),
            reads: Mutex::default(),
            rebuild: Mutex::default(),
            seal: OnceLock::from(seal),
            trusted_from: u64::MAX,
            map_ahead_bytes: 0,
        }
    }

    /// The same, with an index: built from the batches if its files are not there.
    pub(crate) fn of_seal(home: &Arc<Home>, seal: Seal) -> Result<Self, LogError> {
        if let Some(index) = SegmentIndex::on_disk(Arc::clone(home), seal.base) {
            return Ok(Self::sealed(Arc::clone(home), seal, index));
        }
        let index = SegmentIndex::in_memory(Arc::clone(home), seal.base, Vec::new(), 0);
        let segment = Self::sealed(Arc::clone(home), seal, index);
        segment.rebuild_index()?;
        Ok(segment)
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// Published bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// End of the published batches.
    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    pub(crate) fn max_record_time_ms(&self) -> i64 {
        self.max_record_time_ms.load(Ordering::Acquire)
    }

    /// Meaningless while the segment is empty.
    pub(crate) fn first_append_time_ms(&self) -> i64 {
        self.first_append_time_ms.load(Ordering::Acquire)
    }

    /// Meaningless while the segment is empty.
    pub(crate) fn last_append_time_ms(&self) -> i64 {
        self.last_append_time_ms.load(Ordering::Acquire)
    }

    pub(crate) fn index(&self) -> &SegmentIndex {
        &self.index
    }

    pub(crate) fn seal(&self) -> Option<&Seal> {
        self.seal.get()
    }

    /// Lets readers see what the writer wrote up to `point`.
    pub(crate) fn publish(&self, point: &LogPoint) {
        self.max_record_time_ms
            .store(point.max_record_time_ms, Ordering::Release);
        self.first_append_time_ms
            .store(point.first_append_time_ms, Ordering::Release);
        self.last_append_time_ms
            .store(point.last_append_time_ms, Ordering::Release);
        self.bytes.store(point.position, Ordering::Release);
        self.next.store(point.offset.0, Ordering::Release);
    }

    /// The segment is complete and durable, and so is its index.
    pub(crate) fn set_sealed(&self, seal: Seal) {
        self.index.leave_to_disk();
        let _ = self.seal.set(seal);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The file, opened if it is not.
    pub(crate) fn file(&self) -> Result<LogFile, LogError> {
        if let Some(file) = self.open_file() {
            return Ok(file);
        }
        let opened = self.home.open(self.base, Part::Log, OpenMode::Read);
        // If another file has taken the name meanwhile, this one was detached before.
        match self.open_file() {
            Some(file) => Ok(file),
            None => opened,
        }
    }

    fn open_file(&self) -> Option<LogFile> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.clone()
    }

    pub(crate) fn damaged(&self, position: u64, offset: Offset, reason: &str) -> LogError {
        LogError::Damaged {
            path: self.home.path(self.base, Part::Log),
            position,
            offset,
            reason: reason.to_owned(),
        }
    }
}
