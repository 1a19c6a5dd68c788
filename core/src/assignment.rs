//! Who holds a partition, and who leads it.

use crate::ids::{BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch};

/// What the map says of one partition. Written by the active controller only.
///
/// Invariants: `isr` is a subset of `replicas`; `leader`, if any, is in `isr`; `isr` is never empty once the partition exists;
/// `leader_epoch` grows with every election, `partition_epoch` with every change, and a claim by a new controller changes neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Who should hold it, the preferred leader first.
    pub replicas: Vec<BrokerNumber>,
    /// Members of `replicas` that a reassignment adds.
    pub adding: Vec<BrokerNumber>,
    /// Members of `replicas` that a reassignment takes away at its end.
    pub removing: Vec<BrokerNumber>,
    /// Replicas known to have everything acknowledged.
    pub isr: Vec<BrokerNumber>,
    /// Who may append, if anybody just now.
    pub leader: Option<BrokerNumber>,
    /// The run of the leader's process that owns `leader_epoch`.
    pub leader_incarnation: Incarnation,
    /// Raised by every election.
    pub leader_epoch: LeaderEpoch,
    /// Raised by every change of this record.
    pub partition_epoch: PartitionEpoch,
    /// Replicas whose broker registered this run since, and whose leader has not seen that run caught up again: the volume might be an
    /// older copy of itself.
    pub unconfirmed: Vec<(BrokerNumber, Incarnation)>,
    /// The last member of `isr` stopped uncleanly and may lack what was acknowledged (`durability: PageCache`).
    pub is_unclean: bool,
}

impl Assignment {
    /// `(leader_epoch, partition_epoch)`: what decides which of two assignments is newer.
    pub fn version(&self) -> (LeaderEpoch, PartitionEpoch) {
        (self.leader_epoch, self.partition_epoch)
    }

    /// The run of `broker` that has to be seen caught up before it counts as confirmed.
    pub fn awaits(&self, broker: BrokerNumber) -> Option<Incarnation> {
        let awaited = self.unconfirmed.iter().find(|(of, _)| *of == broker);
        awaited.map(|(_, incarnation)| *incarnation)
    }

    /// So many members may leave that are only away or late: the in-sync set does not shrink below `min_in_sync` (KIP-966). Each of those that
    /// stay has what was acknowledged, unless its volume is lost, which takes it out in any case.
    pub fn spare(&self, min_in_sync: usize) -> usize {
        self.isr.len().saturating_sub(min_in_sync.max(1))
    }

    /// Does `broker`, running as `incarnation`, own the leader epoch?
    pub fn is_led_by(&self, broker: BrokerNumber, incarnation: Incarnation) -> bool {
        self.leader == Some(broker) && self.leader_incarnation == incarnation
    }
}

/// Why a replica cannot be used where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionFault {
    /// Bytes fail their checksums, or the log stops in its middle. Nothing was cut.
    Damaged,
    /// A write or fsync failed: what the disk holds is not known.
    Poisoned,
    /// The directory was written by a newer format.
    NewerFormat,
    /// The directory cannot be read.
    Io,
    /// The broker made the directory, nobody ordered its deletion, and it is gone, or does not say any more whose it is.
    Lost,
}
