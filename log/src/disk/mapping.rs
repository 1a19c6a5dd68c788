//! Files as memory. All of the workspace's unsafe code is here and in `time_slice`.

use std::{fs::File, io, ops::Range, sync::Arc};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

/// How many pages are asked about in one go: those of 2 MiB.
const CACHED_PAGES: usize = 512;

/// A file's first bytes, mapped for reading. Gives no reference to its inside but through [`Self::bytes`].
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
    /// Open for as long as it is mapped: nobody cuts a file that is (see `reclaimer`).
    _file: Arc<File>,
}

impl Mapping {
    pub(super) fn of(file: &Arc<File>, bytes: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(bytes).map_raw_read_only(&**file)?;
        Ok(Self {
            raw,
            _file: Arc::clone(file),
        })
    }

    /// How many bytes are mapped. The file may be shorter: bytes beyond its end must not be touched.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Is nothing mapped?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells the kernel that a range will be read soon, so that it reads it in one go.
    ///
    /// # Errors
    /// The system's.
    pub fn will_need(&self, range: &Range<usize>) -> io::Result<()> {
        self.raw
            .advise_range(Advice::WillNeed, range.start, range.len())
    }

    /// Is all of a range in the page cache (`mincore`)? It may be gone a moment later: populating it then waits for the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn is_cached(&self, range: &Range<usize>) -> io::Result<bool> {
        assert!(range.start <= range.end && range.end <= self.len());
        let page_bytes = rustix::param::page_size();
        let mut at = range.start - range.start % page_bytes;
        let mut pages = [0_u8; CACHED_PAGES];
        while at < range.end {
            let bytes = (range.end - at).min(CACHED_PAGES * page_bytes);
            // SAFETY: the address is a page's within the mapping, which lives as long as `self`; the kernel writes one byte for each page of
            // `bytes` bytes, of which there are no more than `pages` has room for. The pages themselves are not touched.
            let asked = unsafe {
                let start = self.raw.as_ptr().add(at).cast_mut().cast();
                libc::mincore(start, bytes, pages.as_mut_ptr())
            };
            if asked != 0 {
                return Err(io::Error::last_os_error());
            }
            let asked = &pages[..bytes.div_ceil(page_bytes)];
            if asked.iter().any(|page| page & 1 == 0) {
                return Ok(false);
            }
            at += bytes;
        }
        Ok(true)
    }

    /// Faults a range in (`MADV_POPULATE_READ`, Linux 5.14), so that touching it neither blocks nor fails.
    ///
    /// # Errors
    /// `EFAULT` or `EHWPOISON` where touching the range would have been a SIGBUS; `EINVAL` if the kernel is older.
    pub fn populate(&self, range: &Range<usize>) -> io::Result<()> {
        self.raw
            .advise_range(Advice::PopulateRead, range.start, range.len())
    }

    /// A part of the file as `Bytes`, which keep the mapping alive.
    ///
    /// # Safety
    /// For as long as the mapping lives, the range lies within the file and its bytes do not change: they were written before, and nobody
    /// writes to them or shortens the file below their end.
    pub unsafe fn bytes(self: &Arc<Self>, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len());
        Bytes::from_owner(MappedRange {
            mapping: Arc::clone(self),
            range,
        })
    }
}

/// Invariant: made by [`Mapping::bytes`] only, so that its contract holds for `range`.
struct MappedRange {
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedRange {
    fn as_ref(&self) -> &[u8] {
        let start = self.mapping.raw.as_ptr();
        // SAFETY: the range lies within the mapping (asserted where it was made), which lives as long as `self`; that its bytes are there and
        // do not change is the contract of `Mapping::bytes`.
        unsafe { std::slice::from_raw_parts(start.add(self.range.start), self.range.len()) }
    }
}
