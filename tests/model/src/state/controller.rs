//! The two controllers and the store that decides between them.

use super::{Assignment, ControllerEpoch, Incarnation, Members, NUMBERS, Stamp};

/// A registration between its two writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Registration {
    pub(crate) slot: usize,
    pub(crate) incarnation: Incarnation,
    /// What the store held when it began.
    pub(crate) replaces: Incarnation,
    pub(crate) standing: Standing,
}

/// What a registering broker's replicas are still good for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Standing {
    Kept,
    /// Its page cache is gone: it leaves the ISR with what it has.
    Unclean,
    /// An older volume: all its replicas are new.
    Lost,
}

/// A controller instance: in office, deposed without knowing it, or standing by (epoch 0).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Controller {
    pub(crate) epoch: ControllerEpoch,
    /// Claimed the map.
    pub(crate) claimed: bool,
    /// The map as it last read or wrote it: what its compare-and-swap compares.
    pub(crate) map: Assignment,
    pub(crate) registration: Option<Registration>,
    /// The stamp it found when it claimed.
    pub(crate) stamp_found: Stamp,
    /// The root's entry as it last read or wrote it.
    pub(crate) topic: Topic,
    /// Who has reported to it.
    pub(crate) heard: Members,
    /// Somebody reported more than the store holds.
    pub(crate) in_doubt: bool,
    /// The newest assignment over store and reports.
    pub(crate) best: Assignment,
}

impl Controller {
    pub(crate) const fn is_in_office(&self) -> bool {
        self.epoch != 0 && self.claimed
    }
}

/// The objects in the API server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Store {
    /// ClusterMetadata: the epoch in office and whose it is.
    pub(crate) controller_epoch: ControllerEpoch,
    pub(crate) holder: u8,
    pub(crate) topic: Topic,
    /// PartitionMap.
    pub(crate) map: Assignment,
    /// Broker objects: the registered incarnation by number, 0 for none.
    pub(crate) incarnations: [Incarnation; NUMBERS],
}

/// The root's entry of the topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Topic {
    /// It exists.
    #[default]
    Listed,
    /// It does not exist, whatever maps lie about.
    Unlisted,
    /// It is being deleted; these brokers confirmed.
    Tombstone(Members),
}
