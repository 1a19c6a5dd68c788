//! The exchange of a segment's files, so that a crash leaves the old segment or the new one.
//!
//! ```text
//! 1. <base>.log.clean, .index.clean, .timeindex.clean   written, synced, and their names durable
//! 2. <base>.swap                                        the new seal, replaced as all small files: from here on the new segment counts
//! 3. each .clean file takes its name; segments that the new one covers go
//! 4. <base>.swap takes the name of <base>.seal
//! ```
//! Opening removes `.clean` files without a `.swap`, and goes on at 3 where there is one. Between the steps the directory is synced.

use std::sync::Arc;

use taffrail_core::Offset;

use crate::{
    disk::OpenMode,
    error::{AtPath, LogError},
    file::LogFile,
    inspect,
    names::{self, Part},
    segment::{Segment, seal::Seal},
    shared::Home,
};

/// The files that a new segment has. The snapshot of the producers stays.
pub(super) const PARTS: [Part; 3] = [Part::Log, Part::Index, Part::TimeIndex];

/// Segments whose files were exchanged, and what readers are to be given instead.
#[derive(Debug)]
pub(crate) struct Swapped {
    pub(crate) old: Vec<Arc<Segment>>,
    pub(crate) new: Arc<Segment>,
}

/// A file of a new segment.
pub(super) fn create(home: &Home, base: Offset, part: Part) -> Result<LogFile, LogError> {
    let path = names::clean(&home.path(base, part));
    LogFile::open(&*home.disk, path, OpenMode::Create)
}

/// Removes the files of a new segment that nobody announced.
pub(super) fn discard(home: &Home, base: Offset) -> Result<(), LogError> {
    let mut parts = PARTS.iter();
    parts.try_for_each(|part| home.remove(&names::clean(&home.path(base, *part))))
}

/// The new segment is complete. On an error the old one counts.
pub(super) fn announce(home: &Home, seal: &Seal) -> Result<(), LogError> {
    home.sync_dir()?;
    seal.write_later_as(home, &names::swap(&home.dir, seal.base))
}

/// Exchanges the files, as far as that was not done yet.
pub(super) fn finish(home: &Home, seal: &Seal) -> Result<(), LogError> {
    home.sync_dir()?;
    for part in PARTS {
        let path = home.path(seal.base, part);
        match home.disk.rename(&names::clean(&path), &path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed.at("replace", &path)?,
        }
    }
    for base in inspect::segments(&*home.disk, &home.dir)? {
        if base > seal.base && base < seal.end {
            home.remove_segment(base)?;
        }
    }
    home.sync_dir()?;
    let path = home.path(seal.base, Part::Seal);
    let swap = names::swap(&home.dir, seal.base);
    home.disk.rename(&swap, &path).at("replace", &path)?;
    home.sync_dir()
}

/// Finishes what a crash interrupted, and removes what was not announced.
pub(crate) fn finish_all(home: &Home) -> Result<(), LogError> {
    let listed = home.disk.list(&home.dir).at("list", &home.dir)?;
    for base in listed.iter().filter_map(|name| names::parse_swap(name)) {
        let path = names::swap(&home.dir, base);
        let has_log = listed
            .iter()
            .any(|name| names::parse_segment(name) == Some((base, Part::Log)));
        match Seal::read_from(home, &path, base)? {
            Some(seal) if has_log => finish(home, &seal)?,
            // The segment has expired since.
            _ => home.remove(&path)?,
        }
    }
    // Those that took their names just now are not there any more.
    let mut unannounced = listed
        .iter()
        .filter(|name| name.ends_with(names::CLEAN_SUFFIX));
    unannounced.try_for_each(|name| home.remove(&home.dir.join(name)))
}

/// Was an exchange of this segment interrupted? Its files may belong to either.
pub(crate) fn is_under_way(home: &Home, base: Offset) -> bool {
    home.disk.stat(&names::swap(&home.dir, base)).is_ok()
}
