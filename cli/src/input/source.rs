//! Where data comes from.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;

use crate::failure::{Failure, Outcome};

/// How far a source has been read, readable while it is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    read: Arc<AtomicU64>,
    /// Bytes of the file as it is on disk; absent for standard input.
    pub(crate) total: Option<u64>,
}

impl Progress {
    /// Bytes read so far, of the file as it is on disk.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// An open source of bytes, unpacked.
pub(crate) struct Source {
    /// What to call it in errors.
    pub(crate) name: String,
    /// The bytes.
    pub(crate) reader: Box<dyn Read + Send>,
    /// How far it is.
    pub(crate) progress: Progress,
}

impl Source {
    /// A file, unpacked if its name ends in `.gz`, or standard input for `-`.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(
                "standard input",
                Box::new(io::stdin()),
                None,
                false,
            ));
        }
        let file = File::open(path).map_err(|error| Failure::file("open", path, &error))?;
        let total = file
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|m| m.len());
        let gzip = path.extension().is_some_and(|extension| extension == "gz");
        let name = path.display().to_string();
        Ok(Self::new(&name, Box::new(file), total, gzip))
    }

    /// Bytes in memory.
    pub(crate) fn of_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + 'static,
        gzip: bool,
    ) -> Self {
        let total = bytes.as_ref().len() as u64;
        Self::new(name, Box::new(io::Cursor::new(bytes)), Some(total), gzip)
    }

    fn new(name: &str, reader: Box<dyn Read + Send>, total: Option<u64>, gzip: bool) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let counted = BufReader::with_capacity(
            256 << 10,
            Counted {
                inner: reader,
                read: Arc::clone(&read),
            },
        );
        Self {
            name: name.to_owned(),
            reader: if gzip {
                Box::new(BufReader::new(MultiGzDecoder::new(counted)))
            } else {
                Box::new(counted)
            },
            progress: Progress { read, total },
        }
    }
}

struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
