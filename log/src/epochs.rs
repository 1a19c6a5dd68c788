//! Leader epoch -> start offset: what cuts diverged logs (KIP-101).

use std::path::Path;

use taffrail_core::{LeaderEpoch, Offset};

use crate::{
    disk::Disk,
    error::LogError,
    frame::{self, Fields, Kind},
    names,
};

const KIND: Kind = Kind {
    tag: *b"epch",
    version: 1,
};

/// The first offset of a leader epoch in this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Of its first batch.
    pub start: Offset,
}

/// Every epoch that has batches in the log.
///
/// Invariant: epochs and starts both grow strictly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EpochTable {
    starts: Vec<EpochStart>,
}

impl EpochTable {
    pub(crate) fn as_slice(&self) -> &[EpochStart] {
        &self.starts
    }

    pub(crate) fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|s| s.epoch)
    }

    /// The epoch of the batch at `offset`.
    pub(crate) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|s| s.start <= offset);
        Some(self.starts[after.checked_sub(1)?].epoch)
    }

    /// Notes a batch. Says whether it starts an epoch.
    pub(crate) fn note(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        let is_new = self.last().is_none_or(|last| last < epoch);
        if is_new {
            self.starts.push(EpochStart { epoch, start });
        }
        is_new
    }

    /// Forgets epochs that ended at or before `log_start`; the last one is kept. Says whether there were any.
    pub(crate) fn forget_before(&mut self, log_start: Offset) -> bool {
        let ended = |pair: &&[EpochStart]| pair[1].start <= log_start;
        let gone = self.starts.windows(2).take_while(ended).count();
        self.starts.drain(..gone);
        gone > 0
    }

    /// Forgets epochs that start at or after `end`.
    pub(crate) fn cut(&mut self, end: Offset) {
        let kept = self.starts.partition_point(|s| s.start < end);
        self.starts.truncate(kept);
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let mut payload = Vec::with_capacity(self.starts.len() * 12);
        for start in &self.starts {
            payload.extend_from_slice(&start.epoch.0.to_be_bytes());
            payload.extend_from_slice(&start.start.0.to_be_bytes());
        }
        frame::replace(disk, &dir.join(names::EPOCHS), KIND, &payload)
    }

    /// `None` if there is no such file.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(names::EPOCHS);
        let Some(payload) = frame::read(disk, &path, KIND)? else {
            return Ok(None);
        };
        Self::parse(&payload).map(Some).ok_or(LogError::Unreadable {
            path,
            reason: "its epochs are not in order",
        })
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut table = Self::default();
        let mut fields = Fields(payload);
        while fields.end().is_none() {
            let (epoch, start) = (LeaderEpoch(fields.u32()?), Offset(fields.u64()?));
            if table.starts.last().is_some_and(|last| last.start >= start)
                || !table.note(epoch, start)
            {
                return None;
            }
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(starts: &[(u32, u64)]) -> EpochTable {
        let mut table = EpochTable::default();
        for (epoch, start) in starts {
            table.note(LeaderEpoch(*epoch), Offset(*start));
        }
        table
    }

    #[test]
    fn an_offset_belongs_to_the_last_epoch_that_started_before_it() {
        let table = table(&[(1, 0), (4, 10), (4, 12), (9, 20)]);
        let at = |offset| table.at(Offset(offset)).map(|e| e.0);
        assert_eq!(
            [at(0), at(9), at(10), at(19), at(25)].map(|e| e.expect("known")),
            [1, 1, 4, 4, 9]
        );
    }

    #[test]
    fn expiry_and_truncation_forget_epochs_at_both_ends() {
        let mut epochs = table(&[(1, 0), (4, 10), (9, 20)]);
        epochs.forget_before(Offset(10));
        assert_eq!(epochs, table(&[(4, 10), (9, 20)]));
        epochs.cut(Offset(20));
        assert_eq!(epochs, table(&[(4, 10)]));
    }
}
