//! Builds a lost or damaged index from the batches.

use std::collections::HashMap;

use super::{EntryBuilder, Segment, entry::Entry, index_file::load_times};
use crate::error::LogError;

/// What is walked over in one go.
const WALK_BYTES: usize = 256 << 10;
/// The density of an index that is built anew.
const INTERVAL_BYTES: u64 = 4096;

impl Segment {
    /// Builds the index of a complete segment from its batches. Append times that the time index has lost become those of the entry before.
    pub(crate) fn rebuild_index(&self) -> Result<(), LogError> {
        let known = load_times(&self.home, self.base())?;
        let known = known
            .iter()
            .map(|t| (u64::from(t.relative), t.append_time_ms))
            .collect();
        let entries = self.entries_from_batches(&known)?;
        self.index().replace(entries);
        self.index().count_rebuild();
        Ok(())
    }

    pub(super) fn entries_from_batches(
        &self,
        known: &HashMap<u64, i64>,
    ) -> Result<Vec<Entry>, LogError> {
        let mut builder = EntryBuilder::new(self.base(), INTERVAL_BYTES);
        let mut time_ms = self.first_append_time_ms();
        self.walk(0, self.bytes(), WALK_BYTES, |position, header| {
            let relative = header.base_offset.0 - self.base().0;
            time_ms = known.get(&relative).map_or(time_ms, |t| time_ms.max(*t));
            builder.note(position, header, time_ms);
            true
        })?;
        Ok(builder.entries)
    }
}
