//! The index files of a segment, as they are read.

use taffrail_core::Offset;

use super::{
    entry::{self, Entry, INDEX_ENTRY_BYTES, TIME_ENTRY_BYTES, TimeEntry},
    index::{IndexDamaged, Lookup},
};
use crate::{
    disk::OpenMode,
    error::{AtPath, LogError},
    file::LogFile,
    names::Part,
    shared::Home,
};

/// The entries that the files have in common, up to the first that is damaged or out of order.
pub(crate) fn load(home: &Home, base: Offset) -> Result<Vec<Entry>, LogError> {
    let index = read_whole(home, base, Part::Index)?;
    let times = read_whole(home, base, Part::TimeIndex)?;
    let (index, _) = index.as_chunks::<INDEX_ENTRY_BYTES>();
    let (times, _) = times.as_chunks::<TIME_ENTRY_BYTES>();
    let mut entries: Vec<Entry> = Vec::with_capacity(index.len());
    for (offset, time) in index.iter().zip(times) {
        let parsed = entry::parse_index(base, *offset).zip(entry::parse_time(base, *time));
        let Some(((relative, position), time)) = parsed else {
            break;
        };
        let follows = entries.last().is_none_or(|last| {
            last.relative < relative
                && last.position < position
                && last.max_before_ms <= time.max_before_ms
                && last.append_time_ms <= time.append_time_ms
        });
        let is_first = entries.is_empty();
        if time.relative != relative || !follows || (is_first && (relative, position) != (0, 0)) {
            break;
        }
        entries.push(Entry {
            relative,
            position,
            max_before_ms: time.max_before_ms,
            append_time_ms: time.append_time_ms,
        });
    }
    Ok(entries)
}

/// Every time entry that can still be read, also after damaged ones: append times cannot be had from anywhere else.
pub(crate) fn load_times(home: &Home, base: Offset) -> Result<Vec<TimeEntry>, LogError> {
    let times = read_whole(home, base, Part::TimeIndex)?;
    let (times, _) = times.as_chunks::<TIME_ENTRY_BYTES>();
    let sound = times
        .iter()
        .filter_map(|bytes| entry::parse_time(base, *bytes));
    Ok(sound.collect())
}

fn read_whole(home: &Home, base: Offset, part: Part) -> Result<Vec<u8>, LogError> {
    let path = home.path(base, part);
    match home.disk.stat(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        stat => stat.at("measure", &path)?,
    };
    let file = home.open(base, part, OpenMode::Read)?;
    let mut content = vec![0; file.bytes()? as usize];
    let read = file.read_up_to(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// A file of entries of `N` bytes.
pub(super) struct FileOf<const N: usize>(LogFile);

impl<const N: usize> FileOf<N> {
    /// `None`: there is no such file.
    pub(super) fn open(home: &Home, base: Offset, part: Part) -> Result<Option<Self>, LogError> {
        match home.open(base, part, OpenMode::Read) {
            Ok(file) => Ok(Some(Self(file))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The entry of this ordinal; `None` if the file is too short.
    pub(super) fn get(&self, ordinal: u64) -> Result<Option<[u8; N]>, LogError> {
        let mut bytes = [0; N];
        let read = self.0.read_up_to(&mut bytes, ordinal * N as u64)?;
        Ok((read == N).then_some(bytes))
    }

    /// The last of the first `entries` entries for which `holds`, which it does for some first ones and not for the others, and its ordinal.
    pub(super) fn last_where<T>(
        &self,
        entries: u64,
        parse: impl Fn([u8; N]) -> Option<T>,
        holds: impl Fn(&T) -> bool,
    ) -> Lookup<(u64, Option<T>)> {
        let (mut low, mut high) = (0, entries);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(entry) = self.get(middle)?.and_then(&parse) else {
                return Ok(Err(IndexDamaged));
            };
            if holds(&entry) {
                found = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Ok((low.saturating_sub(1), found)))
    }
}
