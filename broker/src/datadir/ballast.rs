//! Room kept for deletes and metadata: the file is given up when the disk is full, and made again when there is room.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate};

use super::DataDir;

/// The ballast file.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(crate) fn of(dir: &DataDir, bytes: u64) -> Self {
        Self {
            path: dir.path().join("ballast"),
            bytes,
        }
    }

    /// No file.
    #[cfg(feature = "sim")]
    pub(crate) fn none() -> Self {
        Self {
            path: PathBuf::new(),
            bytes: 0,
        }
    }

    /// Takes the room, if it is not taken yet.
    pub(crate) fn take(&self) -> std::io::Result<()> {
        if self.bytes == 0 || fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes) {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?;
        Ok(())
    }

    /// Gives the room up.
    pub(crate) fn give_up(&self) -> std::io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_takes_its_room_and_gives_it_up() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = DataDir::open(temp.path()).expect("opens");
        let ballast = Ballast::of(&dir, 1 << 20);
        ballast.take().expect("room");
        ballast.take().expect("again is fine");
        let path = temp.path().join("ballast");
        assert_eq!(fs::metadata(&path).expect("there").len(), 1 << 20);
        ballast.give_up().expect("removes");
        ballast.give_up().expect("again is fine");
        assert!(!path.exists());
    }
}
