//! Changes of the in-sync set: what a leader asks for, and what its controller makes of it (KIP-497).

use super::mutant::{Broken, Mutant};
use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch},
};

/// What a leader wants changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsrChange {
    /// This incarnation of a replica has caught up.
    Expand {
        /// The newcomer.
        broker: BrokerNumber,
        /// The run of it that reported so.
        incarnation: Incarnation,
    },
    /// A member does not keep up, or is not what it was.
    Shrink {
        /// The leaver.
        broker: BrokerNumber,
        /// Why.
        reason: ShrinkReason,
    },
}

/// Why a member has to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShrinkReason {
    /// It did not catch up for the allowed time.
    Lagging,
    /// It has less than it once reported, or less than what is committed.
    LostData,
}

/// A leader reports that this run of a member has caught up: it may be elected without asking others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The member.
    pub broker: BrokerNumber,
    /// The run of it that has caught up.
    pub incarnation: Incarnation,
}

/// A request for a change of exactly this version of the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsrRequest {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The assignment that the leader goes by.
    pub partition_epoch: PartitionEpoch,
    /// What to change.
    pub change: IsrChange,
}

impl IsrChange {
    /// Whose membership changes.
    pub const fn broker(self) -> BrokerNumber {
        match self {
            Self::Expand { broker, .. } | Self::Shrink { broker, .. } => broker,
        }
    }
}

impl Confirmation {
    /// The assignment after it, for the controller.
    ///
    /// # Errors
    /// [`ErrorCode::StaleLeaderEpoch`]: the map is of another epoch, or does not await this run (any more).
    pub fn apply(&self, stored: &Assignment) -> Result<Assignment, ErrorCode> {
        let is_awaited = stored.awaits(self.broker) == Some(self.incarnation)
            && stored.isr.contains(&self.broker);
        if self.leader_epoch != stored.leader_epoch || !is_awaited {
            return Err(ErrorCode::StaleLeaderEpoch);
        }
        let mut next = stored.clone();
        next.partition_epoch = PartitionEpoch(stored.partition_epoch.0 + 1);
        next.unconfirmed.retain(|(of, _)| *of != self.broker);
        Ok(next)
    }
}

impl IsrRequest {
    /// The assignment after the change, for the controller; `registered` is the incarnation that the store has of the broker that it
    /// concerns. The one that the map awaits comes before: a registration under way has written the map, and the store not yet.
    ///
    /// Whoever only lags stays where the set has no more than `min_in_sync` members: [`Assignment::spare`].
    ///
    /// The partition epoch grows also if the change cannot be made (the newcomer runs anew, or is no replica any more): the leader
    /// counts with a change until a higher one comes, and only that keeps this request from being accepted later.
    ///
    /// # Errors
    /// [`ErrorCode::StaleLeaderEpoch`]: it is about another version than the stored one. The leader hears the newer map, or has it.
    pub fn apply(
        &self,
        stored: &Assignment,
        registered: Option<Incarnation>,
        min_in_sync: usize,
    ) -> Result<Assignment, ErrorCode> {
        self.apply_broken(stored, registered, min_in_sync, Broken::default())
    }

    pub(super) fn apply_broken(
        &self,
        stored: &Assignment,
        registered: Option<Incarnation>,
        min_in_sync: usize,
        broken: Broken,
    ) -> Result<Assignment, ErrorCode> {
        let is_now = (self.leader_epoch, self.partition_epoch) == stored.version()
            || broken.is(Mutant::LateChangeAccepted);
        if !is_now {
            return Err(ErrorCode::StaleLeaderEpoch);
        }
        let mut next = stored.clone();
        next.partition_epoch = PartitionEpoch(stored.partition_epoch.0 + 1);
        match self.change {
            IsrChange::Expand {
                broker,
                incarnation,
            } => {
                let awaited = stored.awaits(broker).or(registered);
                let is_it =
                    awaited == Some(incarnation) || broken.is(Mutant::IncarnationNotCompared);
                let may_join = stored.replicas.contains(&broker) && !stored.isr.contains(&broker);
                if is_it && may_join {
                    next.isr.push(broker);
                    next.unconfirmed.retain(|(of, _)| *of != broker);
                }
            }
            IsrChange::Shrink { broker, reason } => {
                // The leader is a member: so the last one stays.
                let may_leave = match reason {
                    ShrinkReason::Lagging => stored.spare(min_in_sync) > 0,
                    ShrinkReason::LostData => stored.isr.len() > 1,
                };
                if stored.leader != Some(broker) && may_leave {
                    next.isr.retain(|member| *member != broker);
                }
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: Incarnation = Incarnation {
        generation: 4,
        random: 44,
    };

    fn stored(isr: &[u32]) -> Assignment {
        Assignment {
            replicas: [1, 2, 3].map(BrokerNumber).to_vec(),
            isr: isr.iter().copied().map(BrokerNumber).collect(),
            leader: Some(BrokerNumber(1)),
            leader_epoch: LeaderEpoch(5),
            partition_epoch: PartitionEpoch(7),
            ..Assignment::default()
        }
    }

    fn request(change: IsrChange) -> IsrRequest {
        IsrRequest {
            leader_epoch: LeaderEpoch(5),
            partition_epoch: PartitionEpoch(7),
            change,
        }
    }

    const fn expand(broker: u32) -> IsrChange {
        IsrChange::Expand {
            broker: BrokerNumber(broker),
            incarnation: I,
        }
    }

    const fn leaves(broker: u32, reason: ShrinkReason) -> IsrChange {
        let broker = BrokerNumber(broker);
        IsrChange::Shrink { broker, reason }
    }

    const fn shrink(broker: u32) -> IsrChange {
        leaves(broker, ShrinkReason::Lagging)
    }

    #[test]
    fn a_request_is_refused_unless_both_epochs_are_the_stored_ones() {
        let late = |leader_epoch, partition_epoch| IsrRequest {
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            change: shrink(2),
        };
        for (request, accepted) in [
            (late(5, 7), true),
            (late(4, 7), false),
            (late(5, 6), false),
            (late(5, 8), false),
        ] {
            let next = request.apply(&stored(&[1, 2]), Some(I), 1);
            assert_eq!(next.is_ok(), accepted, "{request:?}");
        }
    }

    #[test]
    fn every_accepted_request_raises_the_partition_epoch_also_if_it_changes_nothing() {
        let other = Incarnation { generation: 5, ..I };
        for (change, running, isr) in [
            (expand(3), Some(I), &[1, 2, 3][..]),
            (expand(3), Some(other), &[1, 2]),
            (expand(3), None, &[1, 2]),
            (expand(2), Some(I), &[1, 2]),
            (expand(9), Some(I), &[1, 2]),
            (shrink(2), Some(I), &[1]),
            (shrink(3), Some(I), &[1, 2]),
            (shrink(1), Some(I), &[1, 2]),
        ] {
            let next = request(change)
                .apply(&stored(&[1, 2]), running, 1)
                .expect("is now");
            assert_eq!(next.isr, stored(isr).isr, "{change:?}");
            assert_eq!(next.version(), (LeaderEpoch(5), PartitionEpoch(8)));
        }
    }

    #[test]
    fn whoever_only_lags_stays_where_no_more_than_min_in_sync_are_left() {
        use ShrinkReason::{Lagging, LostData};
        for (isr, min_in_sync, reason, left) in [
            (&[1, 2, 3][..], 2, Lagging, &[1, 3][..]),
            (&[1, 2], 2, Lagging, &[1, 2]),
            (&[1, 2], 3, Lagging, &[1, 2]),
            (&[1, 2], 1, Lagging, &[1]),
            (&[1, 2], 2, LostData, &[1]),
        ] {
            let request = request(leaves(2, reason));
            let next = request.apply(&stored(isr), Some(I), min_in_sync);
            let next = next.expect("is now");
            assert_eq!(next.isr, stored(left).isr, "{isr:?} {reason:?}");
            assert_eq!(next.version(), (LeaderEpoch(5), PartitionEpoch(8)));
        }
    }

    #[test]
    fn the_run_that_the_map_awaits_joins_and_not_the_one_that_is_still_registered() {
        let other = Incarnation { generation: 5, ..I };
        let awaiting = |run| Assignment {
            unconfirmed: vec![(BrokerNumber(3), run)],
            ..stored(&[1, 2])
        };
        let next = request(expand(3)).apply(&awaiting(other), Some(I), 1);
        let next = next.expect("is now");
        assert_eq!(next.isr, stored(&[1, 2]).isr, "the old run reported");
        assert_eq!(next.unconfirmed, awaiting(other).unconfirmed);
        let next = request(expand(3)).apply(&awaiting(I), Some(other), 1);
        let next = next.expect("is now");
        assert_eq!(next.isr, stored(&[1, 2, 3]).isr);
        assert_eq!(next.unconfirmed, [], "who joins has caught up");
    }

    #[test]
    fn a_confirmation_counts_for_the_awaited_run_in_the_stored_epoch() {
        let awaiting = Assignment {
            unconfirmed: vec![(BrokerNumber(2), I)],
            ..stored(&[1, 2])
        };
        let other = Incarnation { generation: 5, ..I };
        for (epoch, broker, incarnation, counts) in [
            (5, 2, I, true),
            (4, 2, I, false),
            (6, 2, I, false),
            (5, 2, other, false),
            (5, 1, I, false),
        ] {
            let confirmation = Confirmation {
                leader_epoch: LeaderEpoch(epoch),
                broker: BrokerNumber(broker),
                incarnation,
            };
            let next = confirmation.apply(&awaiting);
            assert_eq!(next.is_ok(), counts, "{confirmation:?}");
            if let Ok(next) = next {
                assert_eq!(next.unconfirmed, []);
                assert_eq!(next.version(), (LeaderEpoch(5), PartitionEpoch(8)));
            }
        }
    }
}
