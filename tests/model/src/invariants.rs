//! What must hold in every state, whatever failed: of core's invariants those that are about a whole cluster.

use taffrail_core::replica::invariants;

use crate::{
    rules::topic::serves_deleted,
    state::{LOG_MAX, State},
};

/// A promise of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Invariant {
    /// A leader of the same or a later epoch has every acknowledged record at its offset.
    AcknowledgedOnEveryLeader,
    /// A leader epoch belongs to one incarnation of one broker.
    OneLeaderPerEpoch,
    /// What stood below a high watermark is never replaced or cut.
    ExposedNeverReplaced,
    /// Whatever is acknowledged counts on at least minInSync replicas at that moment.
    AcknowledgedOnMinInSync,
    /// What was deleted is never served by a later leader.
    DeletedStaysDeleted,
    /// A loss that is reported (pageCache, no candidate left) loses only what no replica has.
    LossOnlyOfWhatNobodyHas,
    /// A record that was sent again stands in the log once.
    NoRecordTwice,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AcknowledgedOnEveryLeader,
        Self::OneLeaderPerEpoch,
        Self::ExposedNeverReplaced,
        Self::AcknowledgedOnMinInSync,
        Self::DeletedStaysDeleted,
        Self::LossOnlyOfWhatNobodyHas,
        Self::NoRecordTwice,
    ];

    /// Its name, as everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedOnEveryLeader => invariants::ACKNOWLEDGED_IS_ON_EVERY_LEADER,
            Self::OneLeaderPerEpoch => invariants::AN_EPOCH_HAS_ONE_LEADER,
            Self::ExposedNeverReplaced => invariants::EXPOSED_IS_NEVER_REPLACED,
            Self::AcknowledgedOnMinInSync => invariants::ACKNOWLEDGED_IS_DURABLE_ON_MIN_IN_SYNC,
            Self::DeletedStaysDeleted => invariants::DELETED_STAYS_DELETED,
            Self::LossOnlyOfWhatNobodyHas => invariants::ONLY_WHAT_NOBODY_HAS_IS_LOST,
            Self::NoRecordTwice => invariants::NO_RECORD_STANDS_TWICE,
        }
    }

    /// Does `state` keep it? Two can be read from the state; the others are seen broken by a step, which the observer wrote down.
    pub(crate) fn holds(self, state: &State) -> bool {
        match self {
            Self::AcknowledgedOnEveryLeader => every_leader_has_what_is_acknowledged(state),
            Self::DeletedStaysDeleted => !state
                .observer
                .deleted
                .is_some_and(|epoch| serves_deleted(state, epoch)),
            seen => state.observer.broken != Some(seen),
        }
    }
}

fn every_leader_has_what_is_acknowledged(state: &State) -> bool {
    let leaders = state
        .brokers
        .iter()
        .filter(|broker| broker.up && broker.leads);
    leaders.into_iter().all(|leader| {
        (0..LOG_MAX).all(|offset| match state.observer.acknowledged[offset] {
            Some(ack) if leader.volume.map.leader_epoch >= ack.under_epoch => {
                leader.volume.log.get(offset as u8) == Some(ack.record)
            }
            _ => true,
        })
    })
}
