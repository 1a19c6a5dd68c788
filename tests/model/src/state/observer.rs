//! What somebody who sees everything remembers. It decides nothing; the invariants are stated over it.

use super::{Incarnation, LOG_MAX, LeaderEpoch, Log, Record};
use crate::invariants::Invariant;

/// A record that its producer was told is safe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) record: Record,
    pub(crate) under_epoch: LeaderEpoch,
}

/// The memory of all that clients saw.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Observer {
    /// By offset.
    pub(crate) acknowledged: [Option<Acknowledgement>; LOG_MAX],
    /// What consumers may have read.
    pub(crate) exposed: Log,
    /// Who appended or acknowledged under each leader epoch.
    led: [Option<(usize, Incarnation)>; 8],
    /// The leader epoch under which the topic was deleted.
    pub(crate) deleted: Option<LeaderEpoch>,
    /// The first invariant that a step broke.
    pub(crate) broken: Option<Invariant>,
}

impl Observer {
    pub(crate) fn saw_broken(&mut self, invariant: Invariant) {
        self.broken.get_or_insert(invariant);
    }

    pub(crate) fn saw_leading(
        &mut self,
        epoch: LeaderEpoch,
        slot: usize,
        incarnation: Incarnation,
    ) {
        let leader = (slot, incarnation);
        if *self.led[epoch as usize].get_or_insert(leader) != leader {
            self.saw_broken(Invariant::OneLeaderPerEpoch);
        }
    }

    pub(crate) fn saw_acknowledged(&mut self, offset: u8, acknowledgement: Acknowledgement) {
        if self.deleted.is_none() {
            self.acknowledged[offset as usize] = Some(acknowledgement);
        }
    }

    /// What clients knew of the topic no longer binds anybody.
    pub(crate) fn saw_deleted(&mut self, epoch: LeaderEpoch) {
        self.deleted = Some(epoch);
        self.acknowledged = Default::default();
        self.exposed = Log::default();
    }

    /// A leader was elected although records may be lost, and said so. What no replica has is forgiven.
    pub(crate) fn saw_loss_reported(&mut self, winner: &Log, all: &[Log]) {
        for offset in 0..LOG_MAX as u8 {
            let Some(ack) = self.acknowledged[offset as usize] else {
                continue;
            };
            let has = |log: &Log| log.get(offset) == Some(ack.record);
            if has(winner) {
                continue;
            }
            self.acknowledged[offset as usize] = None;
            if all.iter().any(has) {
                self.saw_broken(Invariant::LossOnlyOfWhatNobodyHas);
            }
        }
        let kept = (0..self.exposed.end())
            .take_while(|&offset| self.exposed.get(offset) == winner.get(offset));
        self.exposed.cut(kept.count() as u8);
    }

    /// Consumers may read `log` up to `high_watermark`.
    pub(crate) fn saw_exposed(&mut self, log: &Log, high_watermark: u8) {
        if self.deleted.is_some() {
            return;
        }
        for offset in 0..high_watermark.min(log.end()) {
            match (self.exposed.get(offset), log.get(offset)) {
                (None, Some(record)) => {
                    if self
                        .exposed
                        .records()
                        .iter()
                        .any(|before| before.id == record.id)
                    {
                        self.saw_broken(Invariant::NoRecordTwice);
                    }
                    self.exposed.push(record);
                }
                (before, now) if before != now => self.saw_broken(Invariant::ExposedNeverReplaced),
                _ => {}
            }
        }
    }
}
