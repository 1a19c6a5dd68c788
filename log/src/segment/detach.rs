//! A segment whose files are about to be exchanged for others: what readers still do with it must not meet those.

use std::sync::PoisonError;

use super::{Segment, entry::Entry, index_file::load_times};
use crate::error::LogError;

impl Segment {
    /// From now on it needs no file by its name: its file stays open, its index is in memory. Harmless to do again.
    pub(crate) fn detach(&self) -> Result<(), LogError> {
        // Who builds the index anew writes its files, and has done so before they are exchanged.
        let _none_under_way = self.rebuild.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = self.whole_entries()?;
        self.index().keep(entries);
        let file = self.file()?;
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// All index entries; from the batches if the files lack some.
    pub(crate) fn whole_entries(&self) -> Result<Vec<Entry>, LogError> {
        let entries = self.index().entries_before(u64::MAX)?;
        if self.index().len() == entries.len() as u64 {
            return Ok(entries);
        }
        let times = load_times(&self.home, self.base())?.into_iter();
        let known = times.map(|t| (u64::from(t.relative), t.append_time_ms));
        self.entries_from_batches(&known.collect())
    }
}
