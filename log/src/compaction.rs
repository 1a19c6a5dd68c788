//! Compaction: of each key only the last record stays. Sealed segments are written anew without the others, and take the old ones' names.
//!
//! ```text
//!                 clean              dirty
//!   log start |---------------|------------------| segments that may not be touched yet, the active one |
//!                              1. the keys of the dirty part and their last offsets -> OffsetMap
//!             2. every batch up to there: records that the map knows a later one of go, old tombstones too
//! ```
//!
//! ```text
//! cleaned     the file that says how far compaction came, and when
//! offset_map  key -> last offset, in bounded memory
//! mapping     fills the map from batches
//! walk        the checked batches of sealed segments
//! rewrite     what becomes of each batch
//! output      the files of a new segment
//! swap        the exchange of files, and what a crash left of one
//! ```
//!
//! Offsets never have gaps: where nothing is left there is an empty batch. `docs/FORMAT.md` draws it, and what a crash finds at each step.

pub(crate) mod cleaned;
mod mapping;
mod offset_map;
mod output;
mod rewrite;
pub(crate) mod swap;
mod walk;

use std::{
    cell::Cell,
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use taffrail_core::{Offset, producers::ProducerTable};

use self::{cleaned::Cleaned, offset_map::OffsetMap, rewrite::Rewrite, swap::Swapped};
use crate::{
    config::CompactionConfig,
    error::LogError,
    producers,
    segment::{Segment, seal::Seal},
    shared::{NO_GENERATION, Shared},
};

/// What a batch's records may decompress to; one with more is kept whole. With the largest map, a quarter of it more while it grows, and as much again for
/// what is read and for what is written, it stays below 128 MiB.
const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// One pass over a log, planned by the log's owner: run it on any thread, then hand it back to [`crate::PartitionLog::compaction_done`]. A log has at most
/// one out at a time.
///
/// A crash at any point leaves each segment as it was or as it is to be. Under one that was cut, closed or deleted it ends early, and does no harm.
#[derive(Debug)]
#[must_use = "the log plans no other before this one is handed back"]
pub struct Compaction {
    pub(crate) shared: Arc<Shared>,
    /// As in a sync token.
    pub(crate) generation: u64,
    /// Those that may be touched, from the log start on; once it runs the first one only: what is exchanged must not be held, or its room is not free.
    pub(crate) segments: Mutex<Vec<Arc<Segment>>>,
    /// Up to the pass before this one.
    pub(crate) cleaned: Cleaned,
    pub(crate) config: CompactionConfig,
    /// Neighbours become one segment of at most so many bytes; `None`: they stay apart, for one may expire.
    pub(crate) merged_bytes_max: Option<u64>,
    pub(crate) index_interval_bytes: u64,
    /// Tombstones before this go.
    pub(crate) tombstones_go_before: Offset,
    pub(crate) now_ms: i64,
}

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// Below it no key has two records.
    pub cleaned_to: Offset,
    /// Segments that were looked at.
    pub segments: usize,
    /// Their bytes before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Records that went.
    pub records_removed: u64,
    pub(crate) cleaned: Cleaned,
}

/// Why a pass does not go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was told to stop, or the log is not the one any more that it was planned for.
    Stopped,
    Failed(LogError),
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

/// Is told of bytes that were read or written; may wait. False: stop.
pub(crate) type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

impl Compaction {
    /// Blocks until it is done, or told to stop: `pace` is told of every megabyte or so that was read or written, may wait, and says whether to go on. The
    /// map of keys takes at most `map_bytes`; where that is too little for all keys, what is left is for the next pass. `None`: it ended early.
    ///
    /// # Errors
    /// [`LogError::Damaged`]: a batch is not what was written; its segment stays as it is. [`LogError::DiskFull`] and others of the disk's: the same. A
    /// failure in the middle of an exchange poisons the log.
    pub fn run(
        &self,
        map_bytes: usize,
        mut pace: impl FnMut(u64) -> bool,
    ) -> Result<Option<Compacted>, LogError> {
        // Nothing is read and written in vain.
        let mut pace = |bytes| pace(bytes) && !self.is_cut();
        match self.pass(map_bytes, &mut pace) {
            Ok(compacted) => Ok(Some(compacted)),
            Err(Halt::Stopped) => Ok(None),
            // Files that went with their log are no error.
            Err(Halt::Failed(error)) if error.is_not_found() && self.is_stale() => Ok(None),
            // What it read may have been shortened under it.
            Err(Halt::Failed(_)) if self.is_cut() && self.shared.check_not_poisoned().is_ok() => {
                Ok(None)
            }
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    fn pass(&self, map_bytes: usize, pace: &mut Pace<'_>) -> Result<Compacted, Halt> {
        if self.tombstones_go_before > Offset::ZERO {
            // Before one goes: it is never forgotten that it may have.
            self.write_cleaned(&self.cleaned)?;
        }
        let mut segments = self.take_segments();
        let dirty = self.dirty(&segments);
        let end = dirty.end;
        let mut map = OffsetMap::new(map_bytes, dirty.end.0 - dirty.start.0);
        let mapped_to = mapping::fill(&mut map, &segments, dirty, pace)?;
        let remembered = self.remembered(&segments, end)?;
        let mut compacted = Compacted {
            cleaned_to: mapped_to,
            segments: 0,
            bytes_before: 0,
            bytes_after: 0,
            records_removed: 0,
            cleaned: self.cleaned.clone(),
        };
        let (mut tombstones, has_unreadable) = (0, Cell::new(false));
        segments.retain(|s| s.base() < mapped_to);
        for group in self.groups(segments) {
            let group = &group[..];
            let rewrite = Rewrite {
                has_unreadable: &has_unreadable,
                compaction: self,
                map: &map,
                remembered: &remembered,
                mapped_to,
            };
            let written = rewrite.run(group, pace);
            let written = written.inspect_err(|_| self.discard(group[0].base()))?;
            tombstones += written.tombstones;
            compacted.segments += group.len();
            compacted.records_removed += written.removed;
            let bytes_before: u64 = group.iter().map(|s| s.bytes()).sum();
            compacted.bytes_before += bytes_before;
            compacted.bytes_after += written.seal.map_or(bytes_before, |seal| seal.bytes);
            if let Some(seal) = written.seal {
                let exchanged = self.exchange(group, seal);
                exchanged.inspect_err(|_| self.discard(seal.base))?;
            }
        }
        let retention = self.config.tombstone_retention;
        let cleaned = &mut compacted.cleaned;
        cleaned.note(mapped_to, self.now_ms, retention, tombstones);
        self.write_cleaned(&compacted.cleaned)?;
        Ok(compacted)
    }

    /// Before it no key has two records, and no tombstone an older record.
    fn dirty(&self, segments: &[Arc<Segment>]) -> Range<Offset> {
        let start = segments.first().map_or(Offset::ZERO, |s| s.base());
        let end = segments.last().map_or(Offset::ZERO, |s| s.next_offset());
        self.cleaned.up_to().max(start).min(end)..end
    }

    fn segments(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All but the first stay with the caller.
    fn take_segments(&self) -> Vec<Arc<Segment>> {
        let mut segments = self.segments();
        let first = segments.first().cloned();
        std::mem::replace(&mut *segments, first.into_iter().collect())
    }

    /// Where the batches begin that the log's producers are known by, in order. What is known at the end is all that matters: it lies below the high
    /// watermark, so no log is ever cut further back.
    fn remembered(&self, segments: &[Arc<Segment>], end: Offset) -> Result<Vec<Offset>, LogError> {
        let home = &self.shared.home;
        let none = ProducerTable::default();
        let derived = producers::derive(home, segments, end, &none)?;
        let mut remembered: Vec<Offset> = derived.table.remembered().collect();
        remembered.sort_unstable();
        Ok(remembered)
    }

    /// Neighbours that become one segment: what is left of many would otherwise be as many files for ever.
    fn groups(&self, segments: Vec<Arc<Segment>>) -> impl Iterator<Item = Vec<Arc<Segment>>> {
        let mut rest = VecDeque::from(segments);
        let merged_bytes_max = self.merged_bytes_max;
        std::iter::from_fn(move || {
            let base = rest.front()?.base();
            let mut bytes = 0;
            let fits = |segment: &&Arc<Segment>| {
                bytes += segment.bytes();
                let offsets = segment.next_offset().0 - base.0;
                merged_bytes_max.is_some_and(|max| bytes <= max) && offsets < 1 << 31
            };
            let count = rest.iter().take_while(fits).count().max(1);
            Some(rest.drain(..count).collect())
        })
    }

    /// The new files take the old ones' names, unless the log has changed under them.
    fn exchange(&self, old: &[Arc<Segment>], seal: Seal) -> Result<(), Halt> {
        let valid = self.shared.upkeep();
        if *valid != self.generation || !self.has_all(old) {
            return Err(Halt::Stopped);
        }
        self.shared.check_not_poisoned()?;
        for segment in old {
            segment.detach()?;
        }
        let home = &self.shared.home;
        swap::announce(home, &seal)?;
        let new = swap::finish(home, &seal).and_then(|()| Segment::of_seal(home, seal));
        let new = new.inspect_err(|error| self.shared.poison(&error.to_string()))?;
        self.shared.add_swapped(Swapped {
            old: old.to_vec(),
            new: Arc::new(new),
        });
        Ok(())
    }

    fn has_all(&self, old: &[Arc<Segment>]) -> bool {
        let segments = self.shared.segments();
        old.iter()
            .all(|old| segments.iter().any(|s| Arc::ptr_eq(s, old)))
    }

    fn write_cleaned(&self, cleaned: &Cleaned) -> Result<(), Halt> {
        let valid = self.shared.upkeep();
        if *valid != self.generation {
            return Err(Halt::Stopped);
        }
        self.shared.check_not_poisoned()?;
        Ok(cleaned.write(&self.shared.home)?)
    }

    /// Removes what was written of a segment that is not exchanged. What stays is removed when the log is opened.
    fn discard(&self, base: Offset) {
        let valid = self.shared.upkeep();
        // Another log may lie in the place of one that was closed or deleted; and what was announced is not to be removed.
        if *valid != NO_GENERATION && self.shared.check_not_poisoned().is_ok() {
            let _ = swap::discard(&self.shared.home, base);
        }
    }

    fn is_cut(&self) -> bool {
        *self.shared.upkeep() != self.generation
    }

    fn is_stale(&self) -> bool {
        self.is_cut() || !self.has_all(&self.segments())
    }
}
