//! Expiry of whole segments, by append time and by size.

use std::sync::Arc;

use taffrail_core::Offset;

use super::{PartitionLog, compact::PassOut};
use crate::{
    error::LogError,
    segment::Segment,
    upkeep::{Upkeep, Work},
};

/// What an expiry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Segments that went.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first offset there is now.
    pub new_log_start: Offset,
}

impl PartitionLog {
    /// What lets whole segments go, oldest first: those whose last batch was appended longer than the retention ago, and those beyond the size
    /// limit without which at least the limit is left. Only what is durable and below the high watermark goes. The active segment goes too when all of it is too
    /// old: it is rolled first. `None` if nothing is to go, or an upkeep is out.
    ///
    /// The new log start is durable before readers see it and before any file is removed. What readers hold stays good.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]; the disk's, of the roll.
    pub fn plan_expiry(
        &mut self,
        now_ms: i64,
        high_watermark: Offset,
    ) -> Result<Option<Upkeep>, LogError> {
        self.shared.check_not_poisoned()?;
        self.high_watermark = high_watermark;
        if self.upkeep_is_out || self.pass_out == Some(PassOut::Merging) {
            return Ok(None);
        }
        self.take_in_compacted();
        self.roll_if_too_old(now_ms)?;
        let segments = self.shared.segments();
        let gone = self.count_expired(&segments, now_ms);
        if gone == 0 {
            return Ok(None);
        }
        let expired = Expired {
            segments: gone,
            bytes: segments[..gone].iter().map(|s| s.bytes()).sum(),
            new_log_start: segments[gone].base(),
        };
        let work = self.checkpoint_work(false, Some(expired));
        Ok(work.and_then(|work| self.plan(Work::Checkpoint(work))))
    }

    /// [`Self::plan_expiry`], run at once.
    ///
    /// # Errors
    /// The disk's. If only files could not be removed, the log start has moved nevertheless, and they are removed on the next opening.
    pub fn expire(&mut self, now_ms: i64, high_watermark: Offset) -> Result<Expired, LogError> {
        let planned = self.plan_expiry(now_ms, high_watermark)?;
        let nothing = Expired {
            segments: 0,
            bytes: 0,
            new_log_start: self.log_start(),
        };
        Ok(self.keep_up(planned)?.unwrap_or(nothing))
    }

    fn roll_if_too_old(&mut self, now_ms: i64) -> Result<(), LogError> {
        let end = self.log_end();
        let all_may_go = end <= self.high_watermark && end <= self.durable_end();
        if !self.active.is_empty() && all_may_go && self.is_too_old(self.active.segment(), now_ms) {
            self.roll()?;
        }
        Ok(())
    }

    fn is_too_old(&self, segment: &Segment, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(segment.last_append_time_ms());
        let retention = self.config.retention;
        retention.is_some_and(|r| u128::try_from(age_ms).is_ok_and(|age| age > r.as_millis()))
    }

    fn count_expired(&self, segments: &[Arc<Segment>], now_ms: i64) -> usize {
        let may_go = self.high_watermark.min(self.durable_end());
        let mut left: u64 = segments.iter().map(|s| s.bytes()).sum();
        let (_, sealed) = segments.split_last().expect("there is an active segment");
        let goes = |segment: &&Arc<Segment>| {
            left -= segment.bytes();
            let too_much = self
                .config
                .retention_bytes
                .is_some_and(|limit| left >= limit);
            segment.next_offset() <= may_go && (too_much || self.is_too_old(segment, now_ms))
        };
        sealed.iter().take_while(goes).count()
    }

    /// The new log start is durable: the segments before it are no part of the log any more, and their files are to be removed.
    pub(super) fn let_go(&mut self, expired: Expired) -> Option<(Expired, Upkeep)> {
        let segments = self.shared.segments();
        let (old, kept) = segments.split_at(expired.segments);
        let new_start = expired.new_log_start;
        assert_eq!(kept[0].base(), new_start, "segments go at the end only");
        self.epochs.forget_before(new_start);
        self.shared.set_log_start(new_start);
        self.shared.set_segments(kept.to_vec());
        for job in self.jobs.iter().filter(|job| job.base() < new_start) {
            job.cancel();
        }
        self.jobs.retain(|job| job.base() >= new_start);
        let bases = old.iter().map(|segment| segment.base()).collect();
        Some(expired).zip(self.plan(Work::Remove(bases)))
    }
}
