//! Leader epoch -> start offset: what tells where two logs part (KIP-101, KIP-279).

use crate::ids::{LeaderEpoch, Offset};

/// The first offset of a leader epoch in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Of its first batch.
    pub start: Offset,
}

/// Where an epoch ends in a log: the start of the next one, or the log end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// After its last record.
    pub end: Offset,
}

/// How far a log goes. Two logs with the same tail are the same (but for what was expired): an epoch has one leader, and a leader
/// appends in one order. Ordered as elections compare: the greater is the more complete.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTail {
    /// Leader epoch of the last batch; `None` if there never was one.
    pub last_epoch: Option<LeaderEpoch>,
    /// After the last record.
    pub end: Offset,
}

/// Every epoch that has batches in a log, and the one of the record before the log's start if that is known.
///
/// Invariant: epochs and starts both grow strictly.
///
/// ```
/// use taffrail_core::{LeaderEpoch, Offset, replica::{EpochEnd, EpochTable, LogTail}};
/// let mut leader = EpochTable::default();
/// leader.note(LeaderEpoch(1), Offset(0));
/// leader.note(LeaderEpoch(3), Offset(4));
/// // A follower has two records that the leader of epoch 2 never gave to anybody else.
/// let tail = LogTail { last_epoch: Some(LeaderEpoch(2)), end: Offset(6) };
/// let parted = EpochEnd { epoch: LeaderEpoch(1), end: Offset(4) };
/// assert_eq!(leader.divergence(tail, Offset(9)), Some(parted));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochTable {
    starts: Vec<EpochStart>,
}

impl EpochTable {
    /// From what was stored; `None` if it is not in order.
    pub fn from_starts(starts: Vec<EpochStart>) -> Option<Self> {
        let grow =
            |pair: &[EpochStart]| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start;
        starts.windows(2).all(grow).then_some(Self { starts })
    }

    /// The epochs, oldest first.
    pub fn as_slice(&self) -> &[EpochStart] {
        &self.starts
    }

    /// The newest epoch.
    pub fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|s| s.epoch)
    }

    /// The epoch of the batch at `offset`.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|s| s.start <= offset);
        Some(self.starts[after.checked_sub(1)?].epoch)
    }

    /// Notes a batch. Says whether it starts an epoch.
    pub fn note(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        let is_new = self.last().is_none_or(|last| last < epoch);
        if is_new {
            debug_assert!(self.starts.last().is_none_or(|last| last.start < start));
            self.starts.push(EpochStart { epoch, start });
        }
        is_new
    }

    /// The greatest epoch that is not above `epoch`, and where it ends in a log that ends at `log_end`. `None` if all are above it.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let after = self.starts.partition_point(|s| s.epoch <= epoch);
        let epoch = self.starts[after.checked_sub(1)?].epoch;
        let end = self.starts.get(after).map_or(log_end, |next| next.start);
        Some(EpochEnd { epoch, end })
    }

    /// Is a log with `tail` no beginning of this one, which ends at `log_end`? Then the last epoch that both may have, and where it
    /// ends here. An end at [`Offset::ZERO`] in the epoch before all: nothing of it is known here.
    ///
    /// The one who asked cuts itself to the lower of that and of where the same epoch ends in its own log, and asks again.
    pub fn divergence(&self, tail: LogTail, log_end: Offset) -> Option<EpochEnd> {
        let Some(last) = tail.last_epoch else {
            // No record, nothing that could differ.
            let epoch = self.last().unwrap_or_default();
            return (tail.end > log_end).then_some(EpochEnd {
                epoch,
                end: log_end,
            });
        };
        match self.end_of(last, log_end) {
            Some(known) if known.epoch == last && tail.end <= known.end => None,
            Some(known) => Some(known),
            None => Some(EpochEnd {
                epoch: LeaderEpoch(0),
                end: Offset::ZERO,
            }),
        }
    }

    /// Where this log, which ends at `log_end`, has to be cut when a leader answered `parted`. `None`: it has nothing in common with
    /// the leader's.
    ///
    /// Of epochs that were forgotten, because all of their records have expired, it is known where the last one ended: where the first
    /// one that is left began (KIP-101).
    pub fn cut_for(&self, parted: EpochEnd, log_end: Offset) -> Option<Offset> {
        if parted.end == Offset::ZERO {
            return None;
        }
        let own = self.end_of(parted.epoch, log_end).map(|own| own.end);
        let end = own.or_else(|| Some(self.starts.first()?.start))?;
        Some(end.min(parted.end))
    }

    /// Forgets epochs that ended at or before `log_start`; the last one is kept. Says whether there were any.
    pub fn forget_before(&mut self, log_start: Offset) -> bool {
        let ended = |pair: &&[EpochStart]| pair[1].start <= log_start;
        let gone = self.starts.windows(2).take_while(ended).count();
        self.starts.drain(..gone);
        gone > 0
    }

    /// Forgets epochs that start at or after `end`.
    pub fn cut(&mut self, end: Offset) {
        let kept = self.starts.partition_point(|s| s.start < end);
        self.starts.truncate(kept);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.starts.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(starts: &[(u32, u64)]) -> EpochTable {
        let mut table = EpochTable::default();
        for (epoch, start) in starts {
            table.note(LeaderEpoch(*epoch), Offset(*start));
        }
        table
    }

    fn tail(epoch: u32, end: u64) -> LogTail {
        LogTail {
            last_epoch: Some(LeaderEpoch(epoch)),
            end: Offset(end),
        }
    }

    const fn parted(epoch: u32, end: u64) -> EpochEnd {
        EpochEnd {
            epoch: LeaderEpoch(epoch),
            end: Offset(end),
        }
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
        assert!(epochs.forget_before(Offset(10)));
        assert_eq!(epochs, table(&[(4, 10), (9, 20)]));
        epochs.cut(Offset(20));
        assert_eq!(epochs, table(&[(4, 10)]));
        assert!(!epochs.forget_before(Offset(99)), "the last one is kept");
    }

    #[test]
    fn of_epochs_that_were_forgotten_it_is_known_where_the_last_one_ended() {
        let mut epochs = table(&[(1, 0), (2, 19)]);
        epochs.forget_before(Offset(19));
        let cut = |epoch, end| epochs.cut_for(parted(epoch, end), Offset(27));
        assert_eq!(cut(1, 19), Some(Offset(19)));
        assert_eq!(cut(1, 40), Some(Offset(19)));
        assert_eq!(cut(1, 15), Some(Offset(15)));
        assert_eq!(cut(0, 0), None, "nothing is in common");
    }

    #[test]
    fn what_is_not_in_order_is_no_table() {
        let starts = |pairs: &[(u32, u64)]| {
            let start = |(epoch, start): &(u32, u64)| EpochStart {
                epoch: LeaderEpoch(*epoch),
                start: Offset(*start),
            };
            EpochTable::from_starts(pairs.iter().map(start).collect())
        };
        assert_eq!(starts(&[(1, 0), (2, 5)]), Some(table(&[(1, 0), (2, 5)])));
        assert_eq!(starts(&[(2, 0), (1, 5)]), None);
        assert_eq!(starts(&[(1, 5), (2, 5)]), None);
    }

    #[test]
    fn a_log_diverges_unless_its_last_epoch_is_known_and_reaches_as_far() {
        let leader = table(&[(1, 0), (3, 4), (5, 8)]);
        let check = |tail| leader.divergence(tail, Offset(10));
        for (same, case) in [
            (tail(1, 2), "inside"),
            (tail(3, 8), "at the end of an epoch"),
            (tail(5, 10), "equal"),
        ] {
            assert_eq!(check(same), None, "{case}");
        }
        assert_eq!(
            check(tail(1, 5)),
            Some(parted(1, 4)),
            "longer in the same epoch"
        );
        assert_eq!(
            check(tail(2, 3)),
            Some(parted(1, 4)),
            "an epoch unknown here"
        );
        assert_eq!(
            check(tail(5, 11)),
            Some(parted(5, 10)),
            "beyond the log end"
        );
        assert_eq!(check(LogTail::default()), None, "an empty log");
        assert_eq!(
            table(&[(3, 4)]).divergence(tail(2, 5), Offset(9)),
            Some(parted(0, 0))
        );
    }

    /// A log as the epoch of each of its records.
    fn epochs_of(log: &[u32]) -> EpochTable {
        let mut table = EpochTable::default();
        for (offset, epoch) in (0..).zip(log) {
            table.note(LeaderEpoch(*epoch), Offset(offset));
        }
        table
    }

    fn tail_of(log: &[u32]) -> LogTail {
        LogTail {
            last_epoch: log.last().map(|e| LeaderEpoch(*e)),
            end: Offset(log.len() as u64),
        }
    }

    proptest! {
        /// Epochs belong to one of the two logs, or were written to both up to some point: what a real history can leave.
        #[test]
        fn asking_until_no_divergence_is_left_ends_at_the_common_beginning(
            common in prop::collection::vec(1_u32..3, 0..6),
            ours in prop::collection::vec(0_u32..4, 0..6),
            theirs in prop::collection::vec(0_u32..4, 0..6),
        ) {
            let grow = |base: &[u32], steps: &[u32], odd: u32| {
                let mut log = base.to_vec();
                let mut epoch = base.last().copied().unwrap_or(0).max(2);
                for step in steps {
                    epoch += step * 2;
                    log.push(epoch + u32::from(epoch % 2 != odd));
                    epoch = log[log.len() - 1];
                }
                log
            };
            let mut common = common;
            common.sort_unstable();
            let leader = grow(&common, &theirs, 0);
            let mut follower = grow(&common, &ours, 1);
            let table = epochs_of(&leader);
            let mut asked = 0;
            while let Some(parted) = table.divergence(tail_of(&follower), Offset(leader.len() as u64)) {
                let cut = epochs_of(&follower).cut_for(parted, Offset(follower.len() as u64));
                follower.truncate(cut.unwrap_or_default().0 as usize);
                asked += 1;
                prop_assert!(asked <= 12, "it ends");
            }
            prop_assert!(leader.starts_with(&follower), "{leader:?} {follower:?}");
            prop_assert!(follower.len() >= common.len(), "nothing common is cut");
        }
    }
}
