//! A file with its path, so that errors can name it.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    error::{AtPath, LogError},
};

/// An open file of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl LogFile {
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf, mode: OpenMode) -> Result<Self, LogError> {
        let op = match mode {
            OpenMode::Read | OpenMode::ReadWrite => "open",
            OpenMode::Create | OpenMode::CreateNew => "create",
        };
        let file = disk.open(&path, mode).at(op, &path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn handle(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Reads until `buf` is full or the file ends, however short the reads are.
    pub(crate) fn read_up_to(&self, buf: &mut [u8], position: u64) -> Result<usize, LogError> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], position + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(LogError::io("read", &self.path, e)),
            }
        }
        Ok(done)
    }

    /// Fills `buf` if the system has all of it in memory. False, whatever the reason: [`Self::read_exact`] waits for it or says what is wrong.
    pub(crate) fn read_cached(&self, buf: &mut [u8], position: u64) -> bool {
        let mut done = 0;
        while done < buf.len() {
            let rest = &mut buf[done..];
            match self.file.read_cached_at(rest, position + done as u64) {
                Ok(Some(0) | None) => return false,
                Ok(Some(n)) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    pub(crate) fn read_exact(&self, buf: &mut [u8], position: u64) -> Result<(), LogError> {
        if self.read_up_to(buf, position)? < buf.len() {
            let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the file is too short");
            return Err(LogError::io("read", &self.path, ended));
        }
        Ok(())
    }

    pub(crate) fn write_all(&self, bytes: &[u8], position: u64) -> Result<(), LogError> {
        self.write_all_vectored(&mut [IoSlice::new(bytes)], position)
    }

    /// Writes everything, however short the writes are. `bufs` is used up.
    pub(crate) fn write_all_vectored(
        &self,
        mut bufs: &mut [IoSlice<'_>],
        mut position: u64,
    ) -> Result<(), LogError> {
        while bufs.iter().any(|b| !b.is_empty()) {
            match self.file.write_at(bufs, position) {
                Ok(0) => {
                    let stuck = io::Error::new(io::ErrorKind::WriteZero, "no bytes were written");
                    return Err(LogError::io("write", &self.path, stuck));
                }
                Ok(n) => {
                    position += n as u64;
                    IoSlice::advance_slices(&mut bufs, n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(LogError::io("write", &self.path, e)),
            }
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().at("sync", &self.path)
    }

    pub(crate) fn set_len(&self, bytes: u64) -> Result<(), LogError> {
        self.file.set_len(bytes).at("cut", &self.path)
    }

    pub(crate) fn bytes(&self) -> Result<u64, LogError> {
        self.file.len().at("measure", &self.path)
    }
}
