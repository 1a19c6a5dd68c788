//! Bytes of a segment: a mapping where there is one, pread otherwise.

use std::{
    ops::Range,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use rustix::io::Errno;

use super::Segment;
use crate::{disk::Mapping, error::LogError};

/// Below this a copy out of the page cache is cheaper than to fault pages in.
const COPY_BYTES_MAX: usize = 32 << 10;
/// Room in a mapping beyond the size at which a segment is rolled.
const MAP_SLACK_BYTES: u64 = 16 << 20;

/// A segment's mapping, if it has one.
#[derive(Debug, Default)]
pub(super) enum MapState {
    /// Nobody read much of it yet.
    #[default]
    None,
    /// Good for as many bytes as it has.
    Mapped(Arc<Mapping>),
    /// The disk or the kernel cannot: pread serves.
    Unsupported,
}

impl Segment {
    /// The bytes from `position` on, `len` of them, all of them published. On a disk thread: this is where reading waits for the disk.
    ///
    /// `is_cold`: they were probably not read or written lately, so reading ahead pays.
    pub(super) fn view(&self, position: u64, len: usize, is_cold: bool) -> Result<Bytes, LogError> {
        debug_assert!(position + len as u64 <= self.bytes());
        let open = self.open_file();
        if len > COPY_BYTES_MAX || open.is_none() {
            let range = position as usize..position as usize + len;
            if let Some(bytes) = self.mapped(range, is_cold)? {
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

    /// `None`: use pread, whose error is the one to report if the disk is at fault.
    fn mapped(&self, range: Range<usize>, is_cold: bool) -> Result<Option<Bytes>, LogError> {
        let Some(mapping) = self.mapping(range.end)? else {
            return Ok(None);
        };
        if is_cold {
            // Only a hint: if it fails, populating says why.
            let _ = mapping.will_need(&range);
        }
        if let Err(error) = mapping.populate(&range) {
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
                self.reads().map = MapState::Unsupported;
            }
            return Ok(None);
        }
        // SAFETY: the range is part of the segment's published bytes. They were written to the file before they were published (so it is at
        // least that long), no byte before the published end is ever written again (appends go to that end and beyond), and the file is
        // never made shorter than it: reserved room and failed appends are cut back to the published end at most, a truncation writes
        // another file and renames it, and expiry only removes the name. Files of a log belong to its one owner; that nobody else writes
        // to them is a condition of running a broker, as with every program that maps its files.
        Ok(Some(unsafe { mapping.bytes(range) }))
    }

    /// A mapping of at least the first `end` bytes.
    fn mapping(&self, end: usize) -> Result<Option<Arc<Mapping>>, LogError> {
        match &self.reads().map {
            MapState::Mapped(mapping) if mapping.len() >= end => {
                return Ok(Some(Arc::clone(mapping)));
            }
            MapState::Unsupported => return Ok(None),
            MapState::Mapped(_) | MapState::None => {}
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
        let made = made.map(Arc::new);
        self.reads().map = match &made {
            Some(mapping) => MapState::Mapped(Arc::clone(mapping)),
            None => MapState::Unsupported,
        };
        Ok(made)
    }

    /// Lets the mapping go, once nobody holds bytes of it. The next read makes another.
    pub(crate) fn unmap(&self) {
        let mut reads = self.reads();
        if matches!(reads.map, MapState::Mapped(_)) {
            reads.map = MapState::None;
        }
    }

    pub(super) fn reads(&self) -> std::sync::MutexGuard<'_, super::Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
