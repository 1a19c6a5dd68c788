//! What a PartitionMap says of the partition.

use super::{
    ControllerEpoch, Incarnation, LeaderEpoch, Members, NUMBERS, Number, PartitionEpoch, Stamp,
};

/// The persisted record, and the message that carries it to brokers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(crate) struct Assignment {
    pub(crate) controller_epoch: ControllerEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) leader: Option<Number>,
    pub(crate) leader_incarnation: Incarnation,
    pub(crate) isr: Members,
    pub(crate) replicas: Members,
    /// The incarnation that each replica registered since the leader last saw it caught up; 0 where it did.
    pub(crate) unconfirmed: [Incarnation; NUMBERS],
    /// The last member stopped uncleanly: nobody may be elected for being in sync.
    pub(crate) lacks_candidate: bool,
}

impl Assignment {
    /// Which of two assignments is newer.
    pub(crate) const fn version(&self) -> (LeaderEpoch, PartitionEpoch) {
        (self.leader_epoch, self.partition_epoch)
    }

    /// Which of two messages was sent later.
    pub(crate) const fn stamp(&self) -> Stamp {
        (self.controller_epoch, self.partition_epoch)
    }

    pub(crate) const fn is_unconfirmed(&self, number: Number) -> bool {
        self.unconfirmed[number.index()] != 0
    }

    /// The leader itself needs no confirmation: its log is what the others are measured by.
    pub(crate) fn set_leader(&mut self, leader: Number, incarnation: Incarnation) {
        self.leader_epoch += 1;
        self.leader = Some(leader);
        self.leader_incarnation = incarnation;
        self.unconfirmed[leader.index()] = 0;
    }
}
