//! What a log would have if the power failed now: what the disk knows, not what the log says.

use std::{path::Path, sync::Arc};

use taffrail_core::Offset;

use super::SimDisk;
use crate::{
    disk::Disk,
    error::LogError,
    inspect,
    names::{self, Part},
};

/// Where the log in `dir` ends on the medium: the end of the whole batches that follow on each other there, from the segment on that holds `from`. Below
/// `from`, or 0: not even that is there. Segments before that one are not looked at.
///
/// # Errors
/// Never the disk's: its faults do not strike here.
pub fn end_on_medium(disk: &SimDisk, dir: &Path, from: Offset) -> Result<Offset, LogError> {
    let names = disk.lock().names_on_medium(dir);
    let bases: Vec<Offset> = names.iter().filter_map(|path| base_of(path)).collect();
    let first = bases.partition_point(|base| *base <= from);
    let bases = &bases[first.saturating_sub(1)..];
    let paths = bases
        .iter()
        .map(|base| names::segment(dir, *base, Part::Log));
    let medium: Arc<dyn Disk> = Arc::new(disk.of_medium(paths));
    let mut end = None;
    for base in bases {
        if end.is_some_and(|end| end != *base) {
            break;
        }
        let mut batches = inspect::batches(Arc::clone(&medium), dir, *base)?;
        // What comes behind a torn batch does not count.
        while let Some(Ok(_)) = batches.next() {}
        end = Some(batches.offset());
    }
    Ok(end.unwrap_or(Offset(0)))
}

fn base_of(path: &Path) -> Option<Offset> {
    match names::parse_segment(path.file_name()?.to_str()?) {
        Some((base, Part::Log)) => Some(base),
        _ => None,
    }
}
