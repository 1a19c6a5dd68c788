//! Append and roll.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::BatchHeader;

use super::PartitionLog;
use crate::{
    error::LogError,
    producers::{Snapshot, sequenced},
    segment::active::{ActiveSegment, Append},
};

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Of the first record.
    pub base_offset: Offset,
    /// After the last record: the new log end.
    pub next_offset: Offset,
    /// Bytes written.
    pub bytes: u64,
    /// The time that was noted: the given one, or that of the append before if that was later.
    pub append_time_ms: i64,
}

impl PartitionLog {
    /// Appends whole batches that were verified, with their parsed headers, all of them or none. Sets their offsets and leader epoch. The
    /// batches are written as they are, without a copy; they are in the page cache and visible to readers on return, but not durable.
    ///
    /// Assigned offsets are those of the batches in the order given, without gaps.
    ///
    /// # Errors
    /// [`LogError::DiskFull`]: nothing was appended, try again when there is room. [`LogError::StaleEpoch`]: nothing was appended. Any other
    /// error has poisoned the log.
    ///
    /// # Panics
    /// If the headers are not those of the batches.
    pub fn append(
        &mut self,
        batches: &[Bytes],
        headers: &[BatchHeader],
        leader_epoch: LeaderEpoch,
        append_time_ms: i64,
    ) -> Result<Appended, LogError> {
        assert_eq!(batches.len(), headers.len(), "a header for each batch");
        self.shared.check_not_poisoned()?;
        if let Some(last) = self.epochs.last().filter(|last| leader_epoch < *last) {
            return Err(LogError::StaleEpoch {
                given: leader_epoch,
                last,
            });
        }
        let append = Append {
            batches,
            headers,
            epoch: Some(leader_epoch),
            now_ms: append_time_ms.max(self.active.point().last_append_time_ms),
            follows_sync: self.durable.offset == self.log_end(),
        };
        self.append_all(&append)
    }

    /// Appends batches as a leader has them, with the offsets and leader epochs that they carry, which must follow on this log.
    ///
    /// # Errors
    /// [`LogError::NotNext`]: nothing was appended. Otherwise as [`Self::append`].
    ///
    /// # Panics
    /// If the headers are not those of the batches.
    pub fn append_replicated(
        &mut self,
        batches: &[Bytes],
        headers: &[BatchHeader],
        append_time_ms: i64,
    ) -> Result<Appended, LogError> {
        assert_eq!(batches.len(), headers.len(), "a header for each batch");
        self.shared.check_not_poisoned()?;
        let mut next = self.log_end();
        let mut last = self.epochs.last().unwrap_or_default();
        for header in headers {
            let epoch = u32::try_from(header.leader_epoch).map(LeaderEpoch);
            if header.base_offset != next || !epoch.is_ok_and(|epoch| epoch >= last) {
                return Err(LogError::NotNext {
                    offset: header.base_offset,
                    epoch: header.leader_epoch,
                    end: next,
                    last,
                });
            }
            next = header.next_offset();
            last = epoch.unwrap_or(last);
        }
        self.append_all(&Append {
            batches,
            headers,
            epoch: None,
            now_ms: append_time_ms.max(self.active.point().last_append_time_ms),
            follows_sync: self.durable.offset == self.log_end(),
        })
    }

    fn append_all(&mut self, append: &Append<'_>) -> Result<Appended, LogError> {
        let base_offset = self.log_end();
        if !append.batches.is_empty() {
            self.write(append)?;
        }
        Ok(Appended {
            base_offset,
            next_offset: self.log_end(),
            bytes: append.bytes(),
            append_time_ms: append.now_ms,
        })
    }

    fn write(&mut self, append: &Append<'_>) -> Result<(), LogError> {
        if self.active.is_full_for(append, &self.config) {
            self.roll()?;
        }
        let mut offset = self.log_end();
        if let Err(error) = self.active.append(append) {
            return Err(self.write_failed(error));
        }
        for header in append.headers {
            self.epochs_changed |= self.epochs.note(append.epoch_of(header), offset);
            if let Some(batch) = sequenced(header) {
                self.producers.note(&batch, offset, append.now_ms);
            }
            offset = offset.plus(u64::from(header.last_offset_delta) + 1);
        }
        self.shared.set_log_end(self.log_end());
        Ok(())
    }

    /// No room leaves the log as it was; anything else leaves it unknown.
    fn write_failed(&mut self, error: LogError) -> LogError {
        let full = matches!(error, LogError::DiskFull { .. });
        match self.active.cut_back() {
            Ok(()) if full => {}
            Ok(()) => self.shared.poison(&error.to_string()),
            Err(cut) => self.shared.poison(&format!("{error}; {cut}")),
        }
        error
    }

    /// Begins a new segment. The one before is sealed by the next sync.
    pub(super) fn roll(&mut self) -> Result<(), LogError> {
        assert!(!self.active.is_empty(), "an empty segment is not rolled");
        let last = *self.active.point();
        let made = ActiveSegment::create(
            &self.home,
            last.offset,
            last.last_append_time_ms,
            &self.config,
        );
        let new = match made {
            Ok(new) => new,
            Err(full @ LogError::DiskFull { .. }) => return Err(full),
            Err(error) => {
                self.shared.poison(&error.to_string());
                return Err(error);
            }
        };
        let epochs = self
            .epochs
            .at(last.segment)
            .zip(self.epochs.last())
            .expect("a segment that is not empty has epochs");
        let old = std::mem::replace(&mut self.active, new);
        self.active_unnamed = true;
        self.producers.expire(last.last_append_time_ms);
        let producers = Snapshot::of(&self.producers, last.offset);
        self.producers_saved = Some(last.offset);
        let mut segments = self.shared.segments().to_vec();
        segments.push(Arc::clone(self.active.segment()));
        self.shared.set_segments(segments);
        self.jobs.push(Arc::new(old.into_seal_job(
            &self.home,
            epochs,
            Some(producers),
        )));
        Ok(())
    }
}
