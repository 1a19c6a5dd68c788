//! What decisions have to know of a partition's log.

use super::epochs::{EpochTable, LogTail};
use crate::ids::{LeaderEpoch, Offset};

/// One log: where it begins, ends, is durable and is committed, and its epochs. The same for leader and follower; moves from role to role.
///
/// Invariants: `start <= durable_end <= end`; `high_watermark <= durable_end` on a follower, and on a leader once it has moved it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogState {
    /// The first offset there is.
    pub start: Offset,
    /// The offset that the next append gets.
    pub end: Offset,
    /// Everything before it is stored as the topic's durability wants it: after fsync, or with `pageCache` once written.
    pub durable_end: Offset,
    /// Everything before it is committed, as far as is known here.
    pub high_watermark: Offset,
    /// Its epochs.
    pub epochs: EpochTable,
    /// Raised by every truncation.
    pub generation: u64,
    /// Tombstones before it may be gone, together with every older record of their keys (`cleanup: Compact`). Above the end on a log that is filled from
    /// one with this horizon.
    pub delete_horizon: Offset,
}

/// What a sync that begins now will make durable. It counts only if no truncation comes between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncPoint {
    /// The truncation generation.
    pub generation: u64,
    /// The log end.
    pub end: Offset,
}

impl LogState {
    /// How far it goes, unsynced records included.
    pub fn tail(&self) -> LogTail {
        LogTail {
            last_epoch: self.epochs.last(),
            end: self.end,
        }
    }

    /// How far it goes for certain: what an election compares.
    pub fn durable_tail(&self) -> LogTail {
        let before_end = self.durable_end.0.checked_sub(1).map(Offset);
        LogTail {
            last_epoch: before_end.and_then(|last| self.epochs.at(last)),
            end: self.durable_end,
        }
    }

    /// To be asked for before a sync, and handed back after it.
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint {
            generation: self.generation,
            end: self.end,
        }
    }

    /// A batch of `epoch` was written from the log end to `end`.
    pub(super) fn append(&mut self, epoch: LeaderEpoch, end: Offset) {
        debug_assert!(end >= self.end);
        if end > self.end {
            self.epochs.note(epoch, self.end);
            self.end = end;
        }
    }

    /// True if more is durable than before.
    pub(super) fn synced(&mut self, point: SyncPoint) -> bool {
        let counts = point.generation == self.generation && point.end > self.durable_end;
        if counts {
            debug_assert!(point.end <= self.end);
            self.durable_end = point.end;
        }
        counts
    }

    pub(super) fn truncate(&mut self, end: Offset) {
        debug_assert!(self.start <= end && end <= self.end);
        self.end = end;
        self.durable_end = self.durable_end.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs.cut(end);
        self.delete_horizon = self.delete_horizon.min(end);
        self.generation += 1;
    }

    /// Compaction lets tombstones before `horizon` go.
    pub(super) fn raise_delete_horizon(&mut self, horizon: Offset) {
        self.delete_horizon = self.delete_horizon.max(horizon);
    }

    /// Everything was removed; the log begins anew at `start`, to be filled from one with this horizon.
    pub(super) fn restart(&mut self, start: Offset, delete_horizon: Offset) {
        *self = Self {
            start,
            end: start,
            durable_end: start,
            high_watermark: start,
            epochs: EpochTable::default(),
            generation: self.generation + 1,
            delete_horizon,
        };
    }

    pub(super) fn expire(&mut self, start: Offset) {
        if start > self.start {
            debug_assert!(start <= self.high_watermark);
            self.start = start;
            self.epochs.forget_before(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(durable: u64, end: u64) -> LogState {
        let mut log = LogState::default();
        log.append(LeaderEpoch(1), Offset(durable));
        let point = log.sync_point();
        log.synced(point);
        log.append(LeaderEpoch(2), Offset(end));
        log
    }

    #[test]
    fn a_sync_from_before_a_truncation_counts_for_nothing() {
        let mut log = log(5, 9);
        let point = log.sync_point();
        log.truncate(Offset(7));
        log.append(LeaderEpoch(3), Offset(9));
        assert!(!log.synced(point), "other records are at 7 and 8 now");
        assert_eq!(log.durable_end, Offset(5));
    }

    #[test]
    fn an_election_compares_what_is_durable() {
        let log = log(5, 9);
        let durable = LogTail {
            last_epoch: Some(LeaderEpoch(1)),
            end: Offset(5),
        };
        assert_eq!(log.durable_tail(), durable);
        assert!(log.tail() > durable);
    }
}
