//! What is on the disk, what is only in its cache, and what a crash makes of that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    ops::Range,
    path::{Path, PathBuf},
    thread::ThreadId,
};

use super::faults::{Fault, Operation};

/// The unit in which a disk writes.
const SECTOR_BYTES: usize = 512;

/// What a crash does to writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost: the process was killed, not the machine.
    Nothing,
    /// All of them are lost.
    Everything,
    /// Of each file the first ones survive, the last of these in part.
    Tails,
    /// Of each file any of them survive, sector by sector.
    Anything,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write(data, *at, bytes),
            Self::SetLen(len) => data.resize(*len, 0),
        }
    }
}

fn write(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() < at + bytes.len() {
        data.resize(at + bytes.len(), 0);
    }
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Invariant: `data` is `durable` with all `changes` applied, unless a sync has failed.
#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    pub(super) modified_ms: i64,
}

impl Inode {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.change(Change::Write {
            at,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.change(Change::SetLen(len));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.data);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// As Linux does it: the pages count as clean, and are never written.
    pub(super) fn fail_sync(&mut self) {
        self.changes.clear();
    }

    /// What is neither on the medium nor waiting to be written is seen as it is there: lost. The length is kept elsewhere.
    pub(super) fn forget_cached(&mut self, bytes: Range<u64>) {
        let mut medium = self.durable.clone();
        for change in &self.changes {
            change.apply(&mut medium);
        }
        medium.resize(self.data.len(), 0);
        let [from, to] = [bytes.start, bytes.end].map(|at| medium.len().min(at as usize));
        if from < to {
            self.data[from..to].copy_from_slice(&medium[from..to]);
        }
    }

    /// Gives how many writes are torn.
    fn crash(&mut self, loss: Loss, rng: &mut Rng) -> u64 {
        let mut torn = 0;
        match loss {
            Loss::Nothing => return 0,
            Loss::Everything => self.changes.clear(),
            Loss::Tails => {
                let kept = rng.below(self.changes.len() + 1);
                let last = self.changes.drain(kept..).next();
                self.sync();
                if let Some(Change::Write { at, bytes }) = last {
                    let kept = rng.below(bytes.len() + 1);
                    write(&mut self.durable, at, &bytes[..kept]);
                    torn += u64::from((1..bytes.len()).contains(&kept));
                }
            }
            Loss::Anything => {
                for change in std::mem::take(&mut self.changes) {
                    torn += u64::from(self.keep_some(change, rng));
                }
            }
        }
        self.data = self.durable.clone();
        torn
    }

    /// Of a write each sector for itself. True: it is torn.
    fn keep_some(&mut self, change: Change, rng: &mut Rng) -> bool {
        let Change::Write { at, bytes } = change else {
            if rng.below(2) == 0 {
                change.apply(&mut self.durable);
            }
            return false;
        };
        let (mut from, mut kept) = (0, 0);
        while from < bytes.len() {
            let to = ((at + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
            let to = to.min(bytes.len());
            if rng.below(4) > 0 {
                write(&mut self.durable, at + from, &bytes[from..to]);
                kept += to - from;
            }
            from = to;
        }
        (1..bytes.len()).contains(&kept)
    }
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create {
        path: PathBuf,
        id: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        id: usize,
    },
    /// Of a directory, with everything in it.
    RenameAll {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create { path, id } => {
                names.insert(path.clone(), *id);
            }
            Self::Rename { from, to, id } => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Self::RenameAll { from, to } => {
                let all = std::mem::take(names).into_iter();
                let moved = |path: PathBuf| path.strip_prefix(from).map(|name| to.join(name));
                names.extend(all.map(|(path, id)| (moved(path.clone()).unwrap_or(path), id)));
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// In the order of the file system's journal: a crash keeps the first ones.
    name_changes: Vec<NameChange>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) short_io: bool,
    pub(super) uncached: Option<String>,
    pub(super) now_ms: i64,
    pub(super) data_syncs: u64,
    /// Writes of which a crash left a part.
    pub(super) torn: u64,
    /// Operations that a fault struck.
    pub(super) struck: u64,
    /// Writes that found no room.
    pub(super) refused: u64,
    /// By thread, those that may wait for the medium.
    pub(super) reads: HashMap<ThreadId, u64>,
    /// Raised by every crash; files opened before are of no use.
    pub(super) run: u64,
    pub(super) rng: Rng,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            dirs: BTreeSet::from([PathBuf::from("/")]),
            faults: Vec::new(),
            capacity_bytes: None,
            short_io: false,
            uncached: None,
            now_ms: 0,
            data_syncs: 0,
            reads: HashMap::new(),
            torn: 0,
            struck: 0,
            refused: 0,
            run: 0,
            rng: Rng(seed ^ 0x9e37_79b9_7f4a_7c15),
        }
    }

    /// What is on the medium.
    pub(super) fn copy(&self, seed: u64) -> Self {
        let inodes = self.inodes.iter().map(|inode| Inode {
            data: inode.durable.clone(),
            durable: inode.durable.clone(),
            changes: Vec::new(),
            modified_ms: inode.modified_ms,
        });
        Self {
            inodes: inodes.collect(),
            names: self.durable_names.clone(),
            durable_names: self.durable_names.clone(),
            dirs: self.dirs.clone(),
            now_ms: self.now_ms,
            ..Self::new(seed)
        }
    }

    /// The files of a directory that are there after a crash that loses everything.
    pub(super) fn names_on_medium(&self, dir: &Path) -> Vec<PathBuf> {
        let from = self.durable_names.range(dir.to_owned()..);
        let below = from.take_while(|(path, _)| path.starts_with(dir));
        let here = below.filter(|(path, _)| path.parent() == Some(dir));
        here.map(|(path, _)| path.clone()).collect()
    }

    /// What is on the medium of these files.
    pub(super) fn of_medium(&self, paths: impl Iterator<Item = PathBuf>) -> Self {
        let mut medium = Self::new(0);
        for path in paths {
            let Some(id) = self.durable_names.get(&path) else {
                continue;
            };
            let data = self.inodes[*id].durable.clone();
            medium.names.insert(path, medium.inodes.len());
            medium.inodes.push(Inode {
                data,
                ..Inode::default()
            });
        }
        medium
    }

    pub(super) fn check(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        let mut faults = self.faults.iter_mut();
        let checked = faults.try_for_each(|fault| fault.strike(operation, path));
        self.struck += u64::from(checked.is_err());
        checked
    }

    pub(super) fn is_cached(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        let uncached = self.uncached.as_ref();
        !uncached.is_some_and(|part| path.contains(part))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.get(path).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn inode(&mut self, id: usize) -> &mut Inode {
        &mut self.inodes[id]
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        if !path.parent().is_some_and(|dir| self.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = self.inodes.len();
        self.inodes.push(Inode {
            modified_ms: self.now_ms,
            ..Inode::default()
        });
        self.change(NameChange::Create {
            path: path.to_owned(),
            id,
        });
        Ok(id)
    }

    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    pub(super) fn sync_names(&mut self) {
        for change in self.name_changes.drain(..) {
            change.apply(&mut self.durable_names);
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let ids: BTreeSet<usize> = self.names.values().copied().collect();
        ids.iter()
            .map(|id| self.inodes[*id].data.len() as u64)
            .sum()
    }

    pub(super) fn crash(&mut self, loss: Loss) {
        if loss != Loss::Nothing {
            let kept = match loss {
                Loss::Everything => 0,
                _ => self.rng.below(self.name_changes.len() + 1),
            };
            self.name_changes.truncate(kept);
            self.sync_names();
            self.names = self.durable_names.clone();
            let dirs = self.names.keys().filter_map(|path| path.parent());
            self.dirs.extend(dirs.map(Path::to_owned));
        }
        for inode in &mut self.inodes {
            self.torn += inode.crash(loss, &mut self.rng);
        }
        self.faults.clear();
        self.run += 1;
    }

    pub(super) fn flip_bit(&mut self, path: &Path, position: usize) {
        let id = self.find(path).expect("a file of this name");
        let inode = &mut self.inodes[id];
        if let Some(byte) = inode.durable.get_mut(position) {
            *byte ^= 0x10;
        }
        // What is still to be written is changed on its way.
        let flipped = inode.data[position] ^ 0x10;
        inode.write(position, &[flipped]);
    }
}

/// Xorshift: small, and the same everywhere.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// Less than `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }
}
