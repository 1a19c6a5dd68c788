//! Where a partition's log begins, ends, and is visible to consumers. Written by the disk threads, read by everybody.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use taffrail_core::{LeaderEpoch, Offset};

/// Nothing appended yet.
const NO_TIME: i64 = i64::MIN;

/// Offsets and sizes of one partition.
///
/// Invariant: `log_start <= high_watermark <= log_end`, but for moments in which a reader sees one moved and the other not yet.
#[derive(Debug)]
pub(crate) struct Progress {
    log_start: AtomicU64,
    high_watermark: AtomicU64,
    log_end: AtomicU64,
    bytes: AtomicU64,
    oldest_append_ms: AtomicI64,
    durable_end: AtomicU64,
    /// Leader epoch of the last batch; -1: there is none.
    last_epoch: AtomicI64,
    /// What "latest" means is known once the high watermark is here: the log end at the leader's election.
    latest_from: AtomicU64,
    /// Records from here on were written a moment ago, and so are in the page cache.
    warm_from: AtomicU64,
    delete_horizon: AtomicU64,
    /// Below it no key has two records; 0 where nothing is compacted.
    cleaned_to: AtomicU64,
    dirty_bytes: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            log_start: AtomicU64::new(0),
            high_watermark: AtomicU64::new(0),
            log_end: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            oldest_append_ms: AtomicI64::new(NO_TIME),
            durable_end: AtomicU64::new(0),
            last_epoch: AtomicI64::new(-1),
            latest_from: AtomicU64::new(0),
            warm_from: AtomicU64::new(u64::MAX),
            delete_horizon: AtomicU64::new(0),
            cleaned_to: AtomicU64::new(0),
            dirty_bytes: AtomicU64::new(0),
        }
    }
}

/// What the owner of the log says of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogExtent {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) oldest_append_ms: Option<i64>,
    pub(crate) durable_end: Offset,
    pub(crate) last_epoch: Option<LeaderEpoch>,
    pub(crate) delete_horizon: Offset,
}

impl Progress {
    pub(crate) fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn oldest_append_ms(&self) -> Option<i64> {
        let time = self.oldest_append_ms.load(Ordering::Relaxed);
        (time != NO_TIME).then_some(time)
    }

    pub(crate) fn durable_end(&self) -> Offset {
        Offset(self.durable_end.load(Ordering::Relaxed))
    }

    /// Tombstones before it may be gone.
    pub(crate) fn delete_horizon(&self) -> Offset {
        Offset(self.delete_horizon.load(Ordering::Acquire))
    }

    pub(crate) fn last_epoch(&self) -> Option<LeaderEpoch> {
        u32::try_from(self.last_epoch.load(Ordering::Relaxed))
            .ok()
            .map(LeaderEpoch)
    }

    /// Where the next visible record will be; `None`: a leader that was just elected does not know yet (KIP-207).
    pub(crate) fn latest(&self) -> Option<Offset> {
        let high_watermark = self.high_watermark();
        let from = self.latest_from.load(Ordering::Acquire);
        (high_watermark.0 >= from).then_some(high_watermark)
    }

    pub(crate) fn set_latest_from(&self, offset: Offset) {
        self.latest_from.store(offset.0, Ordering::Release);
    }

    /// A log was cut, or taken over: what was visible on it before counts no more.
    pub(crate) fn set_high_watermark(&self, to: Offset) {
        self.high_watermark.store(to.0, Ordering::Release);
    }

    /// Was the record at `offset` written a moment ago?
    pub(crate) fn is_warm(&self, offset: Offset) -> bool {
        offset.0 >= self.warm_from.load(Ordering::Relaxed)
    }

    pub(crate) fn set_warm_from(&self, offset: Offset) {
        self.warm_from.store(offset.0, Ordering::Relaxed);
    }

    pub(crate) fn cleaned_to(&self) -> Offset {
        Offset(self.cleaned_to.load(Ordering::Relaxed))
    }

    /// Bytes that wait for compaction.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cleanliness(&self, cleaned_to: Offset, dirty_bytes: u64) {
        self.cleaned_to.store(cleaned_to.0, Ordering::Relaxed);
        self.dirty_bytes.store(dirty_bytes, Ordering::Relaxed);
    }

    pub(crate) fn extend(&self, extent: LogExtent) {
        self.delete_horizon
            .store(extent.delete_horizon.0, Ordering::Release);
        self.log_start.store(extent.start.0, Ordering::Release);
        self.log_end.store(extent.end.0, Ordering::Release);
        self.bytes.store(extent.bytes, Ordering::Relaxed);
        self.oldest_append_ms.store(
            extent.oldest_append_ms.unwrap_or(NO_TIME),
            Ordering::Relaxed,
        );
        self.durable_end
            .store(extent.durable_end.0, Ordering::Relaxed);
        self.last_epoch.store(
            extent.last_epoch.map_or(-1, |e| i64::from(e.0)),
            Ordering::Relaxed,
        );
    }

    /// Moves the high watermark, never back. True if it moved.
    pub(crate) fn commit(&self, to: Offset) -> bool {
        let before = self.high_watermark.fetch_max(to.0, Ordering::AcqRel);
        before < to.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_watermark_never_moves_back() {
        let progress = Progress::default();
        assert!(progress.commit(Offset(10)));
        assert!(!progress.commit(Offset(5)));
        assert_eq!(progress.high_watermark(), Offset(10));
    }
}
