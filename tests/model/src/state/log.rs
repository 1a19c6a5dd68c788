//! A replica's log: records with the epochs of the leaders that appended them.

use super::LeaderEpoch;

/// The longest log.
pub(crate) const LOG_MAX: usize = 4;

/// A producer's record as a leader appended it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) epoch: LeaderEpoch,
    /// From 1, one for each record that was produced.
    pub(crate) id: u8,
}

/// Records at offsets from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(crate) struct Log {
    len: u8,
    records: [Record; LOG_MAX],
}

impl Log {
    pub(crate) const fn end(&self) -> u8 {
        self.len
    }

    pub(crate) fn get(&self, offset: u8) -> Option<Record> {
        self.records[..self.len as usize]
            .get(offset as usize)
            .copied()
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records[..self.len as usize]
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.records[self.len as usize] = record;
        self.len += 1;
    }

    pub(crate) fn cut(&mut self, end: u8) {
        self.len = self.len.min(end);
        self.records[self.len as usize..].fill(Record::default());
    }

    /// The log without what is not yet durable.
    #[must_use]
    pub(crate) fn cut_to(mut self, end: u8) -> Self {
        self.cut(end);
        self
    }

    /// The epoch of the last record, or 0.
    pub(crate) fn last_epoch(&self) -> LeaderEpoch {
        self.records().last().map_or(0, |record| record.epoch)
    }

    /// The epoch table: the greatest epoch that is not above `epoch`, and where it ends.
    pub(crate) fn end_of_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, u8) {
        let known = self
            .records()
            .iter()
            .rposition(|record| record.epoch <= epoch);
        known.map_or((0, 0), |last| (self.records[last].epoch, last as u8 + 1))
    }
}
