//! The file system of the operating system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use rustix::{
    fs::{Advice, fadvise, statvfs},
    io::{Errno, ReadWriteFlags, preadv2, pwritev},
};

use super::{
    Disk, DiskFile, FileStat, MappedFile, MappedMax, Mapping, OpenMode, Space,
    mapped_files::MappedFiles,
    reclaimer::{Reclaimer, hold, removable},
};

/// Linux's limit on the buffers of one writev.
const IO_SLICES_MAX: usize = 1024;

/// The real thing. Clones share one limit on mappings.
///
/// The room of large files that are removed comes back piece by piece, once nobody uses them: whoever opens a file here holds a lock on it (`flock`, shared) until
/// it is closed and unmapped.
#[derive(Debug, Clone, Default)]
pub struct StdDisk {
    mapped: Arc<MappedFiles>,
    reclaimer: Arc<Reclaimer>,
}

impl StdDisk {
    /// A disk whose mappings are as many as this.
    pub fn new(mapped_max: MappedMax) -> Self {
        Self {
            mapped: Arc::new(MappedFiles::new(mapped_max)),
            reclaimer: Arc::default(),
        }
    }
}

impl Disk for StdDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        let file = options.open(path)?;
        hold(&file)?;
        Ok(Arc::new(StdFile {
            file: Arc::new(file),
            mapped: Arc::clone(&self.mapped),
        }))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let metadata = fs::metadata(path)?;
        let modified_ms = match metadata.modified()?.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        Ok(FileStat {
            bytes: metadata.len(),
            modified_ms,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = removable(to);
        fs::rename(from, to)?;
        if let Some(file) = replaced {
            self.reclaimer.give_back(file);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = removable(path);
        fs::remove_file(path)?;
        if let Some(file) = removed {
            self.reclaimer.give_back(file);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = statvfs(path)?;
        Ok(Space {
            available_bytes: stat.f_bavail * stat.f_frsize,
            total_bytes: stat.f_blocks * stat.f_frsize,
        })
    }
}

#[derive(Debug)]
struct StdFile {
    file: Arc<File>,
    mapped: Arc<MappedFiles>,
}

impl DiskFile for StdFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let bufs = &mut [IoSliceMut::new(buf)];
        match preadv2(&self.file, bufs, position, ReadWriteFlags::NOWAIT) {
            Ok(bytes) => Ok(Some(bytes)),
            // Not cached, or not known: kernels before 4.14, and file systems that cannot tell.
            Err(Errno::AGAIN | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(IO_SLICES_MAX)];
        Ok(pwritev(&self.file, bufs, position)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn forget_cached(&self, bytes: Range<u64>) -> io::Result<()> {
        let Some(count) = NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) else {
            return Ok(());
        };
        // No length: to the end.
        let count = Some(count).filter(|_| bytes.end < u64::MAX);
        Ok(fadvise(&self.file, bytes.start, count, Advice::DontNeed)?)
    }

    fn map(&self, bytes: usize) -> io::Result<Option<Arc<MappedFile>>> {
        let mapping = Mapping::of(&self.file, bytes)?;
        Ok(Some(self.mapped.keep(mapping)))
    }
}
