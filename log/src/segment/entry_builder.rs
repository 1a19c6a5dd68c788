//! Which batches get an index entry.

use taffrail_core::Offset;
use taffrail_record::BatchHeader;

use super::entry::Entry;

/// Decides which batches get an index entry.
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    base: Offset,
    interval_bytes: u64,
    pub(crate) max_record_time_ms: i64,
    /// The next entry is due from here on.
    due_at: u64,
    pub(crate) entries: Vec<Entry>,
}

impl EntryBuilder {
    pub(crate) fn new(base: Offset, interval_bytes: u64) -> Self {
        Self {
            base,
            interval_bytes,
            max_record_time_ms: i64::MIN,
            due_at: 0,
            entries: Vec::new(),
        }
    }

    /// Goes on after `entries`, the greatest record time so far being `max_record_time_ms`.
    pub(crate) fn resume(
        base: Offset,
        interval_bytes: u64,
        entries: Vec<Entry>,
        max_record_time_ms: i64,
    ) -> Self {
        let due_at = entries
            .last()
            .map_or(0, |e| u64::from(e.position) + interval_bytes);
        Self {
            base,
            interval_bytes,
            max_record_time_ms,
            due_at,
            entries,
        }
    }

    /// The batch at `position`. Call in order.
    pub(crate) fn note(&mut self, position: u64, header: &BatchHeader, append_time_ms: i64) {
        if let Some(entry) = self.entry(position, header, append_time_ms) {
            self.entries.push(entry);
        }
    }

    /// The same, where the entries are kept elsewhere.
    pub(crate) fn entry(
        &mut self,
        position: u64,
        header: &BatchHeader,
        append_time_ms: i64,
    ) -> Option<Entry> {
        let max_before_ms = self.max_record_time_ms;
        self.max_record_time_ms = max_before_ms.max(header.max_timestamp_ms);
        if position < self.due_at {
            return None;
        }
        // A sparse index may leave out what it cannot say.
        let relative = u32::try_from(header.base_offset.0 - self.base.0).ok()?;
        let position = u32::try_from(position).ok()?;
        self.due_at = u64::from(position) + self.interval_bytes;
        Some(Entry {
            relative,
            position,
            max_before_ms,
            append_time_ms,
        })
    }
}
