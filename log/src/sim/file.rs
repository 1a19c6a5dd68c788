//! An open file of the simulated disk.

use std::{
    io::{self, IoSlice},
    ops::Range,
    path::PathBuf,
    sync::{Arc, MutexGuard},
    thread,
};

use super::{Operation, SimDisk, state::State};
use crate::disk::{DiskFile, MappedFile};

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) id: usize,
    pub(super) run: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.run == self.run {
            Ok(state)
        } else {
            Err(io::Error::other(
                "the machine crashed since this file was opened",
            ))
        }
    }

    /// How many of `wanted` bytes are moved in one go.
    fn share(state: &mut State, wanted: usize) -> usize {
        if state.short_io && wanted > 1 {
            1 + state.rng.below(wanted)
        } else {
            wanted
        }
    }

    fn read(
        &self,
        mut state: MutexGuard<'_, State>,
        buf: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        state.check(Operation::Read, &self.path)?;
        let share = Self::share(&mut state, buf.len());
        let data = &state.inode(self.id).data;
        let from = (position as usize).min(data.len());
        let to = (from + share).min(data.len());
        buf[..to - from].copy_from_slice(&data[from..to]);
        Ok(to - from)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        *state.reads.entry(thread::current().id()).or_default() += 1;
        self.read(state, buf, position)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let state = self.state()?;
        let is_cached = state.is_cached(&self.path);
        is_cached
            .then(|| self.read(state, buf, position))
            .transpose()
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.check(Operation::Write, &self.path)?;
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let share = Self::share(&mut state, bytes.len());
        bytes.truncate(share);
        if let Some(capacity) = state.capacity_bytes {
            let free = capacity.saturating_sub(state.used_bytes());
            let len = state.inode(self.id).data.len() as u64;
            let room = (len + free).saturating_sub(position) as usize;
            if room == 0 && !bytes.is_empty() {
                state.refused += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.truncate(room);
        }
        let now_ms = state.now_ms;
        let inode = state.inode(self.id);
        inode.modified_ms = now_ms;
        inode.write(position as usize, &bytes);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.gate.pass(&self.path);
        let mut state = self.state()?;
        if let Err(error) = state.check(Operation::Sync, &self.path) {
            state.inode(self.id).fail_sync();
            return Err(error);
        }
        state.data_syncs += 1;
        state.inode(self.id).sync();
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.check(Operation::Write, &self.path)?;
        state.inode(self.id).set_len(bytes as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.check(Operation::Open, &self.path)?;
        Ok(state.inode(self.id).data.len() as u64)
    }

    fn forget_cached(&self, bytes: Range<u64>) -> io::Result<()> {
        self.state()?.inode(self.id).forget_cached(bytes);
        Ok(())
    }

    /// Always by pread, so that the simulator sees every read.
    fn map(&self, _bytes: usize) -> io::Result<Option<Arc<MappedFile>>> {
        Ok(None)
    }
}
