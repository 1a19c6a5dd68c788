//! Bytes of a segment: a mapping where there is one, pread otherwise.

use std::{
    ops::Range,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use rustix::io::Errno;

use super::Segment;
use crate::{
    disk::{MappedFile, Mapping},
    error::LogError,
};

/// Below this a copy out of the page cache is cheaper than to fault pages in.
const COPY_BYTES_MAX: usize = 32 << 10;
/// What is faulted in or copied at most where nobody may wait: some 100 us of work.
const CACHED_BYTES_MAX: usize = 2 << 20;
/// Room in a mapping beyond the size at which a segment is rolled.
const MAP_SLACK_BYTES: u64 = 16 << 20;

/// A segment's mapping, if it has one.
#[derive(Debug, Default)]
pub(super) enum MapState {
    /// Nobody read much of it yet.
    #[default]
    None,
    /// For as long as there is room for it, and good for as many bytes as it has.
    Mapped(Arc<MappedFile>),
    /// The disk or the kernel cannot: pread serves.
    Unsupported,
}

impl Segment {
    /// The bytes from `position` on, `len` of them, all of them published. On a disk thread: this is where reading waits for the disk.
    pub(super) fn view(&self, position: u64, len: usize) -> Result<Bytes, LogError> {
        debug_assert!(position + len as u64 <= self.bytes());
        let open = self.open_file();
        if len > COPY_BYTES_MAX || open.is_none() {
            let range = position as usize..position as usize + len;
            if let Some(bytes) = self.mapped(range)? {
                return Ok(bytes);
            }
        }
        let file = match open {
            Some(file) => file,
            None => self.file()?,
        };
        let mut buffer = vec![0; len];
        file.read_exact(&mut buffer, position)?;
        Ok(buffer.into())
    }

    /// As [`Self::view`], but only if the bytes are in the page cache and what leads to them is open: to be called where nobody may wait.
    /// `None`: they are not, or are many.
    pub(super) fn view_cached(&self, position: u64, len: usize) -> Option<Bytes> {
        debug_assert!(position + len as u64 <= self.bytes());
        if len > CACHED_BYTES_MAX {
            return None;
        }
        let open = self.open_file();
        if (len > COPY_BYTES_MAX || open.is_none()) && !self.cannot_map() {
            let range = position as usize..position as usize + len;
            let mapping = self.kept_mapping(range.end)?;
            // Pages may leave the cache between the question and the fault, which then waits for the disk: rarely, and for one read.
            let is_cached = mapping.is_cached(&range).unwrap_or(false);
            return is_cached.then(|| self.fault_in(&mapping, range)).flatten();
        }
        let mut buffer = vec![0; len];
        open?
            .read_cached(&mut buffer, position)
            .then(|| buffer.into())
    }

    /// `None`: use pread, whose error is the one to report if the disk is at fault.
    fn mapped(&self, range: Range<usize>) -> Result<Option<Bytes>, LogError> {
        let Some(mapping) = self.mapping(range.end)? else {
            return Ok(None);
        };
        if !mapping.is_cached(&range).unwrap_or(false) {
            // Read in one go. Only a hint: if it fails, populating says why.
            let _ = mapping.will_need(&range);
        }
        Ok(self.fault_in(&mapping, range))
    }

    fn fault_in(&self, mapping: &Arc<Mapping>, range: Range<usize>) -> Option<Bytes> {
        if let Err(error) = mapping.populate(&range) {
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
                self.reads().map = MapState::Unsupported;
            }
            return None;
        }
        // SAFETY: the range is part of the segment's published bytes. They were written to the file before they were published (so it is at
        // least that long), no byte before the published end is ever written again (appends go to that end and beyond), and the file is
        // never made shorter than it: reserved room and failed appends are cut back to the published end at most, a truncation writes
        // another file and renames it, and expiry only removes the name. Files of a log belong to its one owner; that nobody else writes
        // to them is a condition of running a broker, as with every program that maps its files.
        Some(unsafe { mapping.bytes(range) })
    }

    /// A mapping of at least the first `end` bytes.
    fn mapping(&self, end: usize) -> Result<Option<Arc<Mapping>>, LogError> {
        if self.cannot_map() {
            return Ok(None);
        }
        if let Some(mapping) = self.kept_mapping(end) {
            return Ok(Some(mapping));
        }
        let file = self.file()?;
        // A segment that still grows is mapped once, for the size it will have; what is beyond its end is never touched.
        let bytes = self.bytes().max(end as u64);
        let bytes = match self.seal() {
            Some(_) => bytes,
            None => bytes.max(self.map_ahead_bytes) + MAP_SLACK_BYTES,
        };
        // No address space or too many mappings: pread serves until there is room again.
        let Ok(made) = file.handle().map(bytes as usize) else {
            return Ok(None);
        };
        let mapping = made.as_ref().and_then(|made| made.get(end));
        self.reads().map = made.map_or(MapState::Unsupported, MapState::Mapped);
        Ok(mapping)
    }

    /// The mapping if there is one that reaches as far as `end`.
    fn kept_mapping(&self, end: usize) -> Option<Arc<Mapping>> {
        match &self.reads().map {
            MapState::Mapped(file) => file.get(end),
            MapState::None | MapState::Unsupported => None,
        }
    }

    fn cannot_map(&self) -> bool {
        matches!(self.reads().map, MapState::Unsupported)
    }

    pub(super) fn reads(&self) -> std::sync::MutexGuard<'_, super::Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
