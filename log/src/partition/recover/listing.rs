//! Which segments there are.

use std::collections::BTreeSet;

use taffrail_core::Offset;

use crate::{
    compaction::swap,
    error::{AtPath, LogError},
    names::{self, Part},
    shared::Home,
};

/// Base offsets of the segments that are part of the log, in order. Finishes exchanges of segments. Removes what a crash left behind: files that did not get their name,
/// indexes without a log, and segments that had expired.
pub(super) fn segments(home: &Home, log_start: Option<Offset>) -> Result<Vec<Offset>, LogError> {
    swap::finish_all(home)?;
    let listed = home.disk.list(&home.dir).at("list", &home.dir)?;
    let mut bases = BTreeSet::new();
    for name in &listed {
        if name.ends_with(names::TEMPORARY_SUFFIX) {
            home.remove(&home.dir.join(name))?;
        } else if let Some((base, Part::Log)) = names::parse_segment(name) {
            bases.insert(base);
        }
    }
    for (base, part) in listed.iter().filter_map(|name| names::parse_segment(name)) {
        // A log that began anew has its first producers before it has its first segment.
        let is_awaited = part == Part::Producers && Some(base) == log_start;
        if !bases.contains(&base) && !is_awaited {
            home.remove(&home.path(base, part))?;
        }
    }
    let mut bases: Vec<Offset> = bases.into_iter().collect();
    let Some(log_start) = log_start else {
        return Ok(bases);
    };
    // A segment ends where the next one starts; the last one is never expired.
    let expired = bases
        .windows(2)
        .take_while(|pair| pair[1] <= log_start)
        .count();
    for base in bases.drain(..expired) {
        home.remove_segment(base)?;
    }
    Ok(bases)
}
