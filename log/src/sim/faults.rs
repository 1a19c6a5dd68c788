//! What fails, and when.

use std::{io, path::Path};

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening, creating, listing, measuring.
    Open,
    /// Reading bytes.
    Read,
    /// Writing bytes, cutting and extending.
    Write,
    /// Syncing a file or a directory.
    Sync,
    /// Renaming; the path is the new name.
    Rename,
    /// Removing.
    Remove,
}

/// An operation that fails from the `after`-th time on.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Operation,
    path_part: String,
    after: u32,
    times: u32,
    errno: i32,
}

impl Fault {
    /// `operation` fails with EIO on every file whose path contains `path_part`, always.
    pub fn on(operation: Operation, path_part: &str) -> Self {
        Self {
            operation,
            path_part: path_part.to_owned(),
            after: 0,
            times: u32::MAX,
            errno: rustix::io::Errno::IO.raw_os_error(),
        }
    }

    /// It succeeds `successes` times first.
    #[must_use]
    pub fn after(mut self, successes: u32) -> Self {
        self.after = successes;
        self
    }

    /// It fails once and succeeds from then on.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.times = 1;
        self
    }

    /// It fails with ENOSPC.
    #[must_use]
    pub fn no_space(mut self) -> Self {
        self.errno = rustix::io::Errno::NOSPC.raw_os_error();
        self
    }

    pub(super) fn strike(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        let is_meant =
            operation == self.operation && path.to_string_lossy().contains(&self.path_part);
        if !is_meant || self.times == 0 {
            return Ok(());
        }
        if self.after > 0 {
            self.after -= 1;
            return Ok(());
        }
        self.times -= 1;
        Err(io::Error::from_raw_os_error(self.errno))
    }
}
