//! A disk in memory that fails as it is told: torn writes, lost unsynced writes, short reads and writes, EIO, ENOSPC, failing fsync.
//!
//! Everything random comes from one seed, so a failure is reproduced by it.

mod faults;
mod file;
mod gate;
mod medium;
mod state;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::ThreadId,
};

pub use faults::{Fault, Operation};
pub use gate::Held;
pub use medium::end_on_medium;
pub use state::Loss;

use crate::{
    checkpoint::Checkpoint,
    disk::{Disk, DiskFile, FileStat, OpenMode, Space},
    error::LogError,
    inspect,
    names::Part,
    shared::Home,
};
use file::SimFile;
use gate::Gate;
use state::{NameChange, State};

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(seed))),
            gate: Arc::default(),
        }
    }

    /// The machine stops and starts again. What was not synced is lost as `loss` says; files that were open cannot be used any more.
    pub fn crash(&self, loss: Loss) {
        self.lock().crash(loss);
    }

    /// So many writes were torn by crashes: a part of each is on the medium.
    pub fn torn(&self) -> u64 {
        self.lock().torn
    }

    /// So many operations failed: by a fault, and for want of room.
    pub fn failed(&self) -> (u64, u64) {
        let state = self.lock();
        (state.struck, state.refused)
    }

    /// A disk of its own with what is on the medium of this one, as a copy of the volume has it. Its faults come from `seed`.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.lock().copy(seed))),
            gate: Arc::default(),
        }
    }

    /// The same of these files only, and without faults.
    fn of_medium(&self, paths: impl Iterator<Item = PathBuf>) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.lock().of_medium(paths))),
            gate: Arc::default(),
        }
    }

    /// From now on this fault happens.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Until the guard is dropped, syncs of files and removals wait whose path contains `path_part`. One at a time.
    #[must_use]
    pub fn hold(&self, path_part: &str) -> Held {
        self.gate.shut(path_part);
        Held(Arc::clone(&self.gate))
    }

    /// From now on nothing fails, other than for want of room.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// How many bytes all files together may have; `None`: as many as they like.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Reads and writes move fewer bytes than they could, at random.
    pub fn set_short_io(&self, short: bool) {
        self.lock().short_io = short;
    }

    /// Files whose path contains this are not in the cache, however often they are read; `None`: all files are.
    pub fn set_uncached(&self, path_part: Option<&str>) {
        self.lock().uncached = path_part.map(str::to_owned);
    }

    /// The clock of file modification times.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// Changes a bit on the medium, behind everybody's back.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip_bit(&self, path: &Path, position: u64) {
        self.lock().flip_bit(path, position as usize);
    }

    /// How many times file data was synced.
    pub fn data_syncs(&self) -> u64 {
        self.lock().data_syncs
    }

    /// How many reads each thread made that may wait for the medium.
    pub fn reads_by_thread(&self) -> HashMap<ThreadId, u64> {
        self.lock().reads.clone()
    }

    /// The bytes of a file.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let mut state = self.lock();
        let id = state.find(path).expect("a file of this name");
        state.inode(id).data.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Damages a log that nobody has open: a bit of a batch that was synced, that another batch follows, and that the next opening reads. Which one, `drawn`
/// says. False: there is none.
///
/// # Errors
/// The disk's; the log is damaged already.
pub fn damage(disk: &SimDisk, dir: &Path, drawn: u64) -> Result<bool, LogError> {
    let recovery = Checkpoint::read(disk, dir)?.map(|checkpoint| checkpoint.recovery);
    let Some(base) = inspect::segments(disk, dir)?.last().copied() else {
        return Ok(false);
    };
    let from = recovery
        .filter(|r| r.segment == base)
        .map_or(0, |r| r.position);
    let batches = inspect::batches(Arc::new(disk.clone()), dir, base)?;
    let mut read = batches.collect::<Result<Vec<_>, _>>()?;
    read.retain(|batch| batch.position >= from);
    // What nothing follows is a torn tail for all that anybody can tell.
    read.pop();
    if read.is_empty() {
        return Ok(false);
    }
    let batch = &read[drawn as usize % read.len()];
    let home = Home {
        disk: Arc::new(disk.clone()),
        dir: dir.to_owned(),
    };
    let middle = batch.position + batch.bytes.len() as u64 / 2;
    disk.flip_bit(&home.path(base, Part::Log), middle);
    Ok(true)
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.check(Operation::Open, path)?;
        let found = state.find(path);
        let id = match (mode, found) {
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Create, Ok(id)) => {
                state.inode(id).set_len(0);
                id
            }
            (OpenMode::Create | OpenMode::CreateNew, Err(_)) => state.create(path)?,
            (OpenMode::Read | OpenMode::ReadWrite, found) => found?,
        };
        let run = state.run;
        drop(state);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            id,
            run,
        }))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Operation::Open, dir)?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Operation::Remove, dir)?;
        if state.names.keys().any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.dirs.remove(dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.check(Operation::Open, dir)?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let mut state = self.lock();
        state.check(Operation::Open, path)?;
        let id = state.find(path)?;
        let inode = state.inode(id);
        Ok(FileStat {
            bytes: inode.data.len() as u64,
            modified_ms: inode.modified_ms,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Operation::Rename, to)?;
        let (from, to) = (from.to_owned(), to.to_owned());
        if let Ok(id) = state.find(&from) {
            state.change(NameChange::Rename { from, to, id });
        } else if state.dirs.remove(&from) {
            state.dirs.insert(to.clone());
            state.change(NameChange::RenameAll { from, to });
        } else {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate.pass(path);
        let mut state = self.lock();
        state.check(Operation::Remove, path)?;
        state.find(path)?;
        state.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Operation::Sync, dir)?;
        state.sync_names();
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.lock();
        let total_bytes = state.capacity_bytes.unwrap_or(u64::MAX);
        Ok(Space {
            available_bytes: total_bytes.saturating_sub(state.used_bytes()),
            total_bytes,
        })
    }
}
