//! How often the store was written, by kind and reason: the budget of the API server, seen from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::store::ObjectName;

/// Why an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteReason {
    /// A controller takes office.
    TakeOffice,
    /// A controller claims what it found.
    Claim,
    /// A broker is new, or its endpoints, rack or version changed.
    Registration,
    /// A broker restarted or was lost: an election of what it led, and its run as unconfirmed.
    Election,
    /// A leader asked for changes of in-sync sets, or confirmed members.
    Isr,
    /// A broker is about to stop: others lead.
    HandOver,
    /// Leadership goes back to preferred replicas.
    PreferredLeader,
    /// A volume was replaced by another.
    Replacement,
    /// A broker knows newer epochs than the store, or a record that vanished.
    Doubt,
    /// A topic is created, adopted, or changed.
    Topic,
    /// Partitions are placed on brokers.
    Placement,
    /// Replicas move from broker to broker.
    Move,
    /// A topic ends, or its tombstone does.
    Delete,
}

impl WriteReason {
    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakeOffice => "take_office",
            Self::Claim => "claim",
            Self::Registration => "registration",
            Self::Election => "election",
            Self::Isr => "isr",
            Self::HandOver => "hand_over",
            Self::PreferredLeader => "preferred_leader",
            Self::Replacement => "replacement",
            Self::Doubt => "doubt",
            Self::Topic => "topic",
            Self::Placement => "placement",
            Self::Move => "move",
            Self::Delete => "delete",
        }
    }
}

/// One counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteCount {
    /// `root`, `partition_map` or `broker`.
    pub kind: &'static str,
    /// `WriteReason::name`.
    pub reason: &'static str,
    /// Writes tried since the controller started.
    pub count: u64,
}

/// The counters, shared between the driver and whoever exports them.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteCounters(Arc<Mutex<BTreeMap<(&'static str, WriteReason), u64>>>);

impl WriteCounters {
    pub(crate) fn add(&self, object: &ObjectName, reason: WriteReason) {
        let kind = match object {
            ObjectName::Root => "root",
            ObjectName::Map(_) => "partition_map",
            ObjectName::Broker(_) => "broker",
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((kind, reason)).or_default() += 1;
    }

    pub(crate) fn list(&self) -> Vec<WriteCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(&(kind, reason), &count)| WriteCount {
                kind,
                reason: reason.name(),
                count,
            })
            .collect()
    }
}
