//! Expiry of whole segments, by append time and by size.

use std::sync::Arc;

use taffrail_core::Offset;

use super::PartitionLog;
use crate::{error::LogError, segment::Segment};

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
    /// Lets whole segments go, oldest first: those whose last batch was appended longer than the retention ago, and those beyond the size
    /// limit without which at least the limit is left. Only what is durable and below the high watermark goes. The active segment goes too when all of it is too
    /// old: it is rolled first.
    ///
    /// The new log start is durable before any file is removed. What readers hold stays good.
    ///
    /// # Errors
    /// The disk's. If only files could not be removed, the log start has moved nevertheless, and they are removed on the next opening.
    pub fn expire(&mut self, now_ms: i64, high_watermark: Offset) -> Result<Expired, LogError> {
        self.shared.check_not_poisoned()?;
        self.high_watermark = high_watermark;
        self.roll_if_too_old(now_ms)?;
        let segments = self.shared.segments();
        let gone = self.count_expired(&segments, now_ms);
        let mut expired = Expired {
            segments: gone,
            bytes: segments[..gone].iter().map(|s| s.bytes()).sum(),
            new_log_start: self.log_start(),
        };
        if gone > 0 {
            expired.new_log_start = segments[gone].base();
            self.remove_oldest(&segments, gone)?;
        }
        Ok(expired)
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

    fn remove_oldest(&mut self, segments: &[Arc<Segment>], gone: usize) -> Result<(), LogError> {
        let (old, kept) = segments.split_at(gone);
        let before = self.log_start();
        let new_start = kept[0].base();
        self.epochs_changed |= self.epochs.forget_before(new_start);
        self.shared.set_log_start(new_start);
        if let Err(error) = self.write_checkpoint(false) {
            self.shared.set_log_start(before);
            return Err(error);
        }
        self.shared.set_segments(kept.to_vec());
        for job in self.jobs.iter().filter(|job| job.base() < new_start) {
            job.cancel();
        }
        self.jobs.retain(|job| job.base() >= new_start);
        for segment in old {
            self.home.remove_segment(segment.base())?;
        }
        Ok(())
    }
}
