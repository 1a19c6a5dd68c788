//! Plans passes of compaction, and takes in what they exchanged.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use taffrail_core::Offset;

use super::PartitionLog;
use crate::{
    compaction::{Compacted, Compaction, cleaned::Cleaned},
    config::CompactionConfig,
    error::LogError,
    segment::Segment,
};

/// A pass is due when this part of what may be touched is dirty, as Kafka's `min.cleanable.dirty.ratio`: a log so has twice the bytes of its keys at most, and
/// each byte that is appended is written about once more.
const DIRTY_PARTS: u64 = 2;
/// A pass is due for less when it waits for so long: whoever deletes a key may count on it. Once a day is what a log of any size can bear.
const DIRTY_MAX: Duration = Duration::from_hours(24);

/// How much of a log waits for compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleanliness {
    /// Below it no key has two records.
    pub cleaned_to: Offset,
    /// Bytes of the segments that may be touched and have more.
    pub dirty_bytes: u64,
    /// Bytes of all segments that may be touched.
    pub bytes: u64,
}

/// What a pass that is out may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassOut {
    /// Write segments anew.
    Apart,
    /// Make one segment of several, too: none may expire meanwhile.
    Merging,
}

impl PartitionLog {
    /// The next pass of compaction; `None` if the log is not to be compacted, none is due, or one or an upkeep is out.
    ///
    /// Only sealed segments are touched that are old enough, and lie below the high watermark and the recovery point as they are on disk. Tombstones from
    /// `tombstones_from` on stay: somebody is yet to get them. The log's [`Self::delete_horizon`] may rise.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn plan_compaction(
        &mut self,
        now_ms: i64,
        tombstones_from: Offset,
    ) -> Result<Option<Compaction>, LogError> {
        self.shared.check_not_poisoned()?;
        let Some(config) = self.config.compaction else {
            return Ok(None);
        };
        if self.pass_out.is_some() || self.upkeep_is_out {
            return Ok(None);
        }
        self.take_in_compacted();
        let segments = self.cleanable(config, now_ms);
        let may_go = self.cleaned.lets_go(config.tombstone_retention, now_ms);
        let tombstones_go_before = may_go.min(tombstones_from);
        if !self.is_compaction_due(&segments, tombstones_go_before, now_ms) {
            return Ok(None);
        }
        self.cleaned.raise_horizon(tombstones_go_before);
        let keeps_all = self.config.retention.is_none() && self.config.retention_bytes.is_none();
        self.pass_out = Some(if keeps_all {
            PassOut::Merging
        } else {
            PassOut::Apart
        });
        Ok(Some(Compaction {
            shared: Arc::clone(&self.shared),
            generation: self.generation,
            segments: Mutex::new(segments),
            cleaned: self.cleaned.clone(),
            config,
            merged_bytes_max: keeps_all.then_some(self.config.segment_bytes.min(u32::MAX.into())),
            index_interval_bytes: u64::from(self.config.index_interval_bytes),
            tombstones_go_before,
            now_ms,
        }))
    }

    /// Tombstones before it may be gone, with everything that they deleted: see [`taffrail_core::replica::LogState`].
    pub fn delete_horizon(&self) -> Offset {
        self.cleaned.delete_horizon()
    }

    /// Was one planned that has not come back?
    pub fn compaction_is_out(&self) -> bool {
        self.pass_out.is_some()
    }

    /// How much waits for compaction; `None` if the log is not to be compacted.
    pub fn cleanliness(&self, now_ms: i64) -> Option<Cleanliness> {
        let segments = self.cleanable(self.config.compaction?, now_ms);
        Some(self.cleanliness_of(&segments))
    }

    /// Readers are given the segments that a pass has exchanged so far, and the old ones' room is free once nobody reads them. To be called every now and
    /// then while a pass is out.
    pub fn take_in_compacted(&mut self) {
        for swapped in self.shared.take_swapped() {
            let segments = self.shared.segments();
            let old = &swapped.old;
            let is_first = |segment: &Arc<Segment>| Arc::ptr_eq(segment, &old[0]);
            // If it is not there, it has expired since.
            let Some(at) = segments.iter().position(is_first) else {
                continue;
            };
            let mut next = segments.to_vec();
            next.splice(at..at + old.len(), [swapped.new]);
            self.shared.set_segments(next);
        }
    }

    /// Takes a pass back with what [`Compaction::run`] said.
    ///
    /// # Errors
    /// That of the run.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is handed back: nobody runs it again"
    )]
    pub fn compaction_done(
        &mut self,
        compaction: Compaction,
        result: Result<Option<Compacted>, LogError>,
    ) -> Result<Option<Compacted>, LogError> {
        self.pass_out = None;
        self.take_in_compacted();
        let compacted = result?;
        if let Some(compacted) = &compacted
            && compaction.generation == self.generation
        {
            self.cleaned = compacted.cleaned.clone();
        }
        Ok(compacted)
    }

    /// What was cleaned before. Never more than there is: what is appended later is not clean.
    pub(super) fn open_cleaned(&mut self) -> Result<(), LogError> {
        let read = match Cleaned::read(&self.home) {
            // It is only done again.
            Err(LogError::Unreadable { .. }) => None,
            read => Some(read?),
        };
        let end = self.log_end();
        if let Some(cleaned) = read.filter(|read| read.up_to() <= end) {
            self.cleaned = cleaned;
            return Ok(());
        }
        self.cleaned = Cleaned::anew(end);
        self.cleaned.write(&self.home)
    }

    fn cleanable(&self, config: CompactionConfig, now_ms: i64) -> Vec<Arc<Segment>> {
        let below = self.written.map_or(Offset::ZERO, |written| {
            written.high_watermark.min(written.recovery.segment)
        });
        let may_be_touched = |segment: &&Arc<Segment>| {
            let age_ms = now_ms.saturating_sub(segment.last_append_time_ms());
            let is_old = u128::try_from(age_ms).is_ok_and(|age| age >= config.min_lag.as_millis());
            segment.seal().is_some() && segment.next_offset() <= below && is_old
        };
        let segments = self.shared.segments();
        let from_the_start = segments.iter().take_while(may_be_touched);
        from_the_start.map(Arc::clone).collect()
    }

    fn cleanliness_of(&self, segments: &[Arc<Segment>]) -> Cleanliness {
        let cleaned_to = self.cleaned.up_to().max(self.log_start());
        let dirty = segments.iter().filter(|s| s.next_offset() > cleaned_to);
        Cleanliness {
            cleaned_to,
            dirty_bytes: dirty.map(|s| s.bytes()).sum(),
            bytes: segments.iter().map(|s| s.bytes()).sum(),
        }
    }

    fn is_compaction_due(
        &self,
        segments: &[Arc<Segment>],
        tombstones_go_before: Offset,
        now_ms: i64,
    ) -> bool {
        if segments.is_empty() {
            return false;
        }
        let state = self.cleanliness_of(segments);
        if state.dirty_bytes == 0 {
            return self.cleaned.is_due_for_tombstones(tombstones_go_before);
        }
        let mut dirty = segments.iter();
        let oldest = dirty.find(|s| s.next_offset() > state.cleaned_to);
        let waits_ms = oldest.map_or(0, |s| now_ms.saturating_sub(s.first_append_time_ms()));
        state.dirty_bytes * DIRTY_PARTS >= state.bytes
            || u128::try_from(waits_ms).is_ok_and(|waits| waits >= DIRTY_MAX.as_millis())
    }
}
