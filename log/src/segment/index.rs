//! Offset and time to position.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering},
};

use taffrail_core::Offset;

use super::{
    entry::{self, Entry, INDEX_ENTRY_BYTES, TIME_ENTRY_BYTES},
    index_file::{FileOf, load},
};
use crate::{disk::OpenMode, error::LogError, names::Part, shared::Home};

/// The index files do not say what they should; build the index again from the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexDamaged;

/// A lookup's outcome: the disk may fail, or the index be damaged.
pub(super) type Lookup<T> = Result<Result<T, IndexDamaged>, LogError>;

#[derive(Debug)]
enum State {
    /// Of a segment that is not sealed, or whose files were damaged. The first `persisted` entries are in the files.
    Memory {
        entries: Vec<Entry>,
        persisted: usize,
    },
    /// Of a sealed segment: looked up in the files, of which nothing is kept.
    OnDisk { entries: u64 },
}

/// The index and the time index of a segment.
///
/// Invariant: entries grow in every field but position and offset may not repeat; the first is the segment's first batch.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    home: Arc<Home>,
    base: Offset,
    state: RwLock<State>,
    rebuilds: AtomicU64,
}

impl SegmentIndex {
    /// It was found damaged and built anew.
    pub(crate) fn count_rebuild(&self) {
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was built anew in this run.
    pub(crate) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// With the entries of a recovered segment, of which the files have the first `persisted`.
    pub(crate) fn in_memory(
        home: Arc<Home>,
        base: Offset,
        entries: Vec<Entry>,
        persisted: usize,
    ) -> Self {
        Self {
            home,
            base,
            state: RwLock::new(State::Memory { entries, persisted }),
            rebuilds: AtomicU64::new(0),
        }
    }

    /// Of a sealed segment, if both files are there and have the same number of entries. Reads nothing.
    pub(crate) fn on_disk(home: Arc<Home>, base: Offset) -> Option<Self> {
        let bytes = |part| home.disk.stat(&home.path(base, part)).map(|s| s.bytes);
        let (index, time) = (bytes(Part::Index).ok()?, bytes(Part::TimeIndex).ok()?);
        let entries = index / INDEX_ENTRY_BYTES as u64;
        let is_whole = entries > 0
            && index % INDEX_ENTRY_BYTES as u64 == 0
            && time == entries * TIME_ENTRY_BYTES as u64;
        is_whole.then(|| Self {
            home,
            base,
            state: RwLock::new(State::OnDisk { entries }),
            rebuilds: AtomicU64::new(0),
        })
    }

    pub(crate) fn push(&self, entry: Entry) {
        match &mut *self.write() {
            State::Memory { entries, .. } => entries.push(entry),
            State::OnDisk { .. } => unreachable!("only the active segment grows"),
        }
    }

    /// Where to start walking to find `offset`: the position of the last indexed batch that starts at or before it.
    pub(crate) fn floor(&self, offset: Offset) -> Lookup<u64> {
        let relative = u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX);
        match &*self.read() {
            State::Memory { entries, .. } => {
                let after = entries.partition_point(|e| e.relative <= relative);
                Ok(Ok(position_before(entries, after)))
            }
            State::OnDisk { entries } => {
                let file = FileOf::<INDEX_ENTRY_BYTES>::open(&self.home, self.base, Part::Index);
                let Some(file) = file? else {
                    return Ok(Err(IndexDamaged));
                };
                let parse = |bytes| entry::parse_index(self.base, bytes);
                let found = file.last_where(*entries, parse, |(r, _)| *r <= relative)?;
                Ok(found.map(|(_, at)| at.map_or(0, |(_, position)| u64::from(position))))
            }
        }
    }

    /// Where to start walking to find the first record of time `ms` or later: no batch before that position has one.
    pub(crate) fn before_time(&self, ms: i64) -> Lookup<u64> {
        match &*self.read() {
            State::Memory { entries, .. } => {
                let after = entries.partition_point(|e| e.max_before_ms < ms);
                Ok(Ok(position_before(entries, after)))
            }
            State::OnDisk { entries } => self.before_time_on_disk(*entries, ms),
        }
    }

    fn before_time_on_disk(&self, entries: u64, ms: i64) -> Lookup<u64> {
        let times = FileOf::<TIME_ENTRY_BYTES>::open(&self.home, self.base, Part::TimeIndex);
        let offsets = FileOf::<INDEX_ENTRY_BYTES>::open(&self.home, self.base, Part::Index);
        let (Some(times), Some(offsets)) = (times?, offsets?) else {
            return Ok(Err(IndexDamaged));
        };
        let parse = |bytes| entry::parse_time(self.base, bytes);
        let (ordinal, time) = match times.last_where(entries, parse, |t| t.max_before_ms < ms)? {
            Ok((ordinal, Some(time))) => (ordinal, time),
            Ok((_, None)) => return Ok(Ok(0)),
            Err(damaged) => return Ok(Err(damaged)),
        };
        let entry = offsets
            .get(ordinal)?
            .and_then(|b| entry::parse_index(self.base, b));
        Ok(match entry {
            Some((relative, position)) if relative == time.relative => Ok(u64::from(position)),
            _ => Err(IndexDamaged),
        })
    }

    /// When the batch at `offset` was appended, to the precision of the index: not after it, and not before the batch one interval earlier.
    pub(crate) fn append_time_ms(&self, offset: Offset) -> Lookup<Option<i64>> {
        let relative = u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX);
        match &*self.read() {
            State::Memory { entries, .. } => {
                let after = entries.partition_point(|e| e.relative <= relative);
                Ok(Ok(after.checked_sub(1).map(|i| entries[i].append_time_ms)))
            }
            State::OnDisk { entries } => {
                let file = FileOf::<TIME_ENTRY_BYTES>::open(&self.home, self.base, Part::TimeIndex);
                let Some(file) = file? else {
                    return Ok(Err(IndexDamaged));
                };
                let parse = |bytes| entry::parse_time(self.base, bytes);
                let found = file.last_where(*entries, parse, |t| t.relative <= relative)?;
                Ok(found.map(|(_, at)| at.map(|t| t.append_time_ms)))
            }
        }
    }

    /// Writes the entries that the files do not have yet. Not durable.
    pub(crate) fn persist(&self) -> Result<(), LogError> {
        self.persist_with(false)
    }

    /// Makes the files hold all entries and nothing else, durably.
    pub(crate) fn persist_whole(&self) -> Result<(), LogError> {
        self.persist_with(true)
    }

    fn persist_with(&self, whole: bool) -> Result<(), LogError> {
        // The writer alone changes the entries, and it is the one who calls this or has moved on to another segment.
        let (fresh, from) = match &*self.read() {
            State::OnDisk { .. } => return Ok(()),
            State::Memory { entries, persisted } => (entries[*persisted..].to_vec(), *persisted),
        };
        if fresh.is_empty() && !whole {
            return Ok(());
        }
        let mut index = Vec::with_capacity(fresh.len() * INDEX_ENTRY_BYTES);
        let mut times = Vec::with_capacity(fresh.len() * TIME_ENTRY_BYTES);
        for entry in &fresh {
            index.extend_from_slice(&entry.index_bytes(self.base));
            times.extend_from_slice(&entry.time_bytes(self.base));
        }
        self.append_to(Part::Index, &index, from * INDEX_ENTRY_BYTES, whole)?;
        self.append_to(Part::TimeIndex, &times, from * TIME_ENTRY_BYTES, whole)?;
        if let State::Memory { persisted, .. } = &mut *self.write() {
            *persisted = from + fresh.len();
        }
        Ok(())
    }

    fn append_to(&self, part: Part, bytes: &[u8], at: usize, whole: bool) -> Result<(), LogError> {
        let mode = if at == 0 {
            OpenMode::Create
        } else {
            OpenMode::ReadWrite
        };
        let file = self.home.open(self.base, part, mode)?;
        file.write_all(bytes, at as u64)?;
        if whole {
            file.set_len((at + bytes.len()) as u64)?;
            file.sync()?;
        }
        Ok(())
    }

    /// From now on the files serve. They hold everything: [`Self::persist_whole`] succeeded.
    pub(crate) fn leave_to_disk(&self) {
        let mut state = self.write();
        if let State::Memory { entries, persisted } = &*state {
            assert_eq!(entries.len(), *persisted, "all entries are in the files");
            *state = State::OnDisk {
                entries: entries.len() as u64,
            };
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        match &*self.read() {
            State::Memory { entries, .. } => entries.len() as u64,
            State::OnDisk { entries } => *entries,
        }
    }

    /// Keeps these, which are all, in memory: the files are not looked at again.
    pub(crate) fn keep(&self, entries: Vec<Entry>) {
        let persisted = entries.len();
        *self.write() = State::Memory { entries, persisted };
    }

    /// Takes entries built anew, and writes the files again. If that fails, memory serves until the next start.
    pub(crate) fn replace(&self, entries: Vec<Entry>) {
        *self.write() = State::Memory {
            entries,
            persisted: 0,
        };
        if self.persist_whole().is_ok() {
            self.leave_to_disk();
        }
    }

    /// The entries before `position`, for a segment that is cut there.
    pub(crate) fn entries_before(&self, position: u64) -> Result<Vec<Entry>, LogError> {
        let mut entries = match &*self.read() {
            State::Memory { entries, .. } => entries.clone(),
            State::OnDisk { .. } => load(&self.home, self.base)?,
        };
        entries.retain(|e| u64::from(e.position) < position);
        Ok(entries)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position_before(entries: &[Entry], after: usize) -> u64 {
    after
        .checked_sub(1)
        .map_or(0, |i| u64::from(entries[i].position))
}
