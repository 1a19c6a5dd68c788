//! Which files are mapped, over all logs of a process, so that they do not become too many.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::Mapping;

/// How much may be mapped at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedMax {
    /// Linux gives a process some 65,000 mappings. Each keeps its file open.
    pub files: usize,
    /// Of the parts that were read. The kernel keeps a page table for them, of a 512th of their size, until they are unmapped.
    pub bytes: usize,
}

impl Default for MappedMax {
    /// 4,096 files and 32 GiB: page tables of up to 64 MiB.
    fn default() -> Self {
        Self {
            files: 4096,
            bytes: 32 << 30,
        }
    }
}

/// A file's mapping, for as long as it is kept.
#[derive(Debug)]
pub struct MappedFile {
    mapping: Mutex<Option<Arc<Mapping>>>,
    /// Since it was last looked at whether it may go.
    was_read: AtomicBool,
    /// Everything before may have been read.
    read_to: AtomicUsize,
}

impl MappedFile {
    /// The mapping, to read its bytes up to `end`; `None`: it had to go, or is shorter. What readers hold of it stays good.
    pub fn get(&self, end: usize) -> Option<Arc<Mapping>> {
        let mapping = self.lock().as_ref().map(Arc::clone)?;
        if mapping.len() < end {
            return None;
        }
        self.was_read.store(true, Ordering::Relaxed);
        self.read_to.fetch_max(end, Ordering::Relaxed);
        Some(mapping)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Mapping>>> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that are mapped, the first to go first. One that was read meanwhile gets a second turn, so that reading takes no lock here.
/// Does not keep those that nobody wants any more.
#[derive(Debug, Default)]
pub(super) struct MappedFiles {
    max: MappedMax,
    turns: Mutex<VecDeque<Weak<MappedFile>>>,
}

impl MappedFiles {
    pub(super) fn new(max: MappedMax) -> Self {
        Self {
            max,
            turns: Mutex::default(),
        }
    }

    /// Keeps another one. Others go if they are too many by now.
    pub(super) fn keep(&self, mapping: Mapping) -> Arc<MappedFile> {
        let kept = Arc::new(MappedFile {
            mapping: Mutex::new(Some(Arc::new(mapping))),
            was_read: AtomicBool::new(true),
            read_to: AtomicUsize::new(0),
        });
        let mut gone = Vec::new();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|file| file.strong_count() > 0);
        let read_to = |file: &Weak<MappedFile>| {
            file.upgrade()
                .map_or(0, |file| file.read_to.load(Ordering::Relaxed))
        };
        let mut bytes: usize = turns.iter().map(read_to).sum();
        while (turns.len() >= self.max.files || bytes > self.max.bytes)
            && let Some(next) = turns.pop_front()
        {
            let Some(file) = next.upgrade() else {
                continue;
            };
            if file.was_read.swap(false, Ordering::Relaxed) {
                turns.push_back(next);
            } else {
                bytes = bytes.saturating_sub(file.read_to.load(Ordering::Relaxed));
                gone.extend(file.lock().take());
            }
        }
        turns.push_back(Arc::downgrade(&kept));
        drop(turns);
        // Unmapping takes a while: not under the lock.
        drop(gone);
        kept
    }
}
