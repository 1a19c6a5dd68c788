//! What the writer, its readers and its sync tokens have in common.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use taffrail_core::Offset;

use crate::{
    compaction::swap::Swapped,
    disk::{Disk, OpenMode},
    error::LogError,
    file::LogFile,
    names::{self, Part},
    segment::Segment,
};

/// A partition's directory on its disk.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
}

impl Home {
    pub(crate) fn path(&self, base: Offset, part: Part) -> PathBuf {
        names::segment(&self.dir, base, part)
    }

    pub(crate) fn open(
        &self,
        base: Offset,
        part: Part,
        mode: OpenMode,
    ) -> Result<LogFile, LogError> {
        LogFile::open(&*self.disk, self.path(base, part), mode)
    }

    pub(crate) fn sync_dir(&self) -> Result<(), LogError> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(|e| LogError::io("sync", &self.dir, e))
    }

    /// Removes a file; there may be none.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), LogError> {
        match self.disk.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(LogError::io("remove", path, e))
            }
            _ => Ok(()),
        }
    }

    /// Removes a segment's files, the log last: what is left after a crash still has its log.
    pub(crate) fn remove_segment(&self, base: Offset) -> Result<(), LogError> {
        for part in [
            Part::Producers,
            Part::Seal,
            Part::TimeIndex,
            Part::Index,
            Part::Log,
        ] {
            self.remove(&self.path(base, part))?;
        }
        Ok(())
    }
}

/// The segments of a log, oldest first; the last one is active.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// No sync token and no upkeep is of it: the log is closed or deleted.
pub(crate) const NO_GENERATION: u64 = u64::MAX;

/// How far syncs came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyncedThrough {
    pub(crate) generation: u64,
    pub(crate) offset: Offset,
}

/// Invariants: `log_start <= log_end`; every offset between them is in one of `segments`; each segment's end is the next one's base.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) home: Arc<Home>,
    segments: RwLock<Segments>,
    /// Their files were exchanged, and the log's owner has not put them into `segments` yet.
    swapped: Mutex<Vec<Swapped>>,
    log_start: AtomicU64,
    log_end: AtomicU64,
    /// The first disk error. Set once, for good.
    poison: OnceLock<String>,
    /// One sync of a log at a time, so that no later one can succeed before an earlier failure is known.
    sync: Mutex<SyncedThrough>,
    /// The generation whose upkeep counts. Held while one runs. Taken before `sync`, never after it.
    upkeep: Mutex<u64>,
}

impl Shared {
    pub(crate) fn new(home: Arc<Home>, segments: Vec<Arc<Segment>>, log_start: Offset) -> Self {
        let log_end = segments.last().map_or(log_start, |s| s.next_offset());
        Self {
            home,
            segments: RwLock::new(Arc::new(segments)),
            swapped: Mutex::default(),
            log_start: AtomicU64::new(log_start.0),
            log_end: AtomicU64::new(log_end.0),
            poison: OnceLock::new(),
            sync: Mutex::new(SyncedThrough {
                generation: 0,
                offset: log_end,
            }),
            upkeep: Mutex::new(0),
        }
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    pub(crate) fn set_log_start(&self, offset: Offset) {
        self.log_start.store(offset.0, Ordering::Release);
    }

    pub(crate) fn set_log_end(&self, offset: Offset) {
        self.log_end.store(offset.0, Ordering::Release);
    }

    pub(crate) fn segments(&self) -> Segments {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&segments)
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        *self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(segments);
    }

    pub(crate) fn add_swapped(&self, swapped: Swapped) {
        let mut all = self.swapped.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(swapped);
    }

    pub(crate) fn take_swapped(&self) -> Vec<Swapped> {
        let mut all = self.swapped.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
    }

    pub(crate) fn sync_state(&self) -> MutexGuard<'_, SyncedThrough> {
        self.sync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn upkeep(&self) -> MutexGuard<'_, u64> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn poison(&self, reason: &str) {
        // The first reason is the one that tells what happened.
        let _ = self.poison.set(reason.to_owned());
    }

    pub(crate) fn check_not_poisoned(&self) -> Result<(), LogError> {
        match self.poison.get() {
            None => Ok(()),
            Some(reason) => Err(LogError::Poisoned {
                dir: self.home.dir.clone(),
                reason: reason.clone(),
            }),
        }
    }
}
