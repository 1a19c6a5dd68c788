//! What can be seen of the cluster: an immutable picture, replaced whole.

use std::collections::BTreeMap;

use taffrail_api::v1;

/// A picture of the cluster, as `taffrail get` and resources' status show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The cluster's identity, as text.
    pub cluster_id: String,
    /// Of the controller in office.
    pub controller_epoch: u64,
    /// Active topics by name.
    pub topics: BTreeMap<String, v1::TopicStatus>,
    /// Their partitions, by topic name.
    pub partitions: BTreeMap<String, Vec<v1::PartitionStatus>>,
    /// Registered brokers, by number.
    pub brokers: Vec<v1::BrokerStatus>,
    /// Some broker cannot be stopped while everything stays served, and could be once replicas that are away or behind are in sync again.
    pub stops_should_wait: bool,
    /// The last elections that may have lost records, in order.
    pub losses: Vec<Loss>,
}

/// Records that an election may have lost: nobody was left who surely had them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Greater than that of every loss before: the epoch of the controller that held the election, and how many it held before.
    pub number: (u64, u64),
    /// Of this topic.
    pub topic: String,
    /// Of this partition of it.
    pub partition: u32,
    /// The first offset that the new leader does not have.
    pub from: u64,
    /// Somebody is known to have had records up to before this offset. There may have been more.
    pub known_to: u64,
}

impl Loss {
    /// Which partition of the topic and which offsets, for people.
    pub fn message(&self) -> String {
        let Self {
            partition,
            from,
            known_to,
            ..
        } = self;
        let known = if known_to > from {
            format!("offsets {from} to {} were there", known_to - 1)
        } else {
            "nobody is known to have had that offset or a later one".to_owned()
        };
        format!("partition {partition} has a leader whose log ends at offset {from}, and {known}")
    }
}
