//! The seam to the file system: everything a log does to a disk goes through these two traits.

mod mapped_files;
mod mapping;
mod reclaimer;
mod std_disk;

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
    path::Path,
    sync::Arc,
};

pub use mapped_files::{MappedFile, MappedMax};
pub use mapping::Mapping;
pub use std_disk::StdDisk;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file of no bytes, whether or not there was one.
    Create,
    /// A file that was not there before.
    CreateNew,
}

/// Size and age of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Its length.
    pub bytes: u64,
    /// When it was last written, in Unix milliseconds.
    pub modified_ms: i64,
}

/// Room on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// That this process may still use.
    pub available_bytes: u64,
    /// The file system's size.
    pub total_bytes: u64,
}

/// A file system. What a crash keeps: the bytes of a file up to its last [`DiskFile::sync_data`], and the names in a directory as of its
/// last [`Disk::sync_dir`]; more may survive, in any mixture.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and its parents; there may be one already.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Size and age of a file.
    ///
    /// # Errors
    /// The system's.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;

    /// Gives a file a new name, in place of the file that had it; or a directory, with all that is in it, a name that nothing has.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles and mappings stay good.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room left where `path` is.
    ///
    /// # Errors
    /// The system's.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. All positions are explicit; there is no cursor.
pub trait DiskFile: Send + Sync + fmt::Debug + 'static {
    /// Reads up to `buf.len()` bytes; may be fewer, 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`Self::read_at`], but never waits for the medium: what is cached before the first byte that is not. `None`: the first byte is not.
    ///
    /// # Errors
    /// The system's.
    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>>;

    /// Writes the buffers one after the other; may write fewer bytes than there are.
    ///
    /// # Errors
    /// The system's. Bytes may have been written nevertheless.
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The system's. What is durable is then not known, and trying again does not help.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros).
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The length.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// Has the file no bytes?
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Lets the system's cache go of these bytes (`u64::MAX`: to the end), but for those that wait to be written, so that reads see the medium.
    /// After a failed sync the cache has bytes that count as written and are not (Linux): whoever looks at a file after a crash must not
    /// believe them.
    ///
    /// # Errors
    /// The system's.
    fn forget_cached(&self, bytes: Range<u64>) -> io::Result<()>;

    /// Maps the first `bytes` bytes for reading, which may be more than the file has yet. `None`: this disk has no mappings, use
    /// [`Self::read_at`].
    ///
    /// # Errors
    /// The system's.
    fn map(&self, bytes: usize) -> io::Result<Option<Arc<MappedFile>>>;
}
