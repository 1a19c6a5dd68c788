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
}
