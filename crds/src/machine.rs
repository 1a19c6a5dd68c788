//! What the active controller writes and must not lose. For reading: nobody else has the right to write these, and everything stands in
//! `spec`, because backups drop `status`. Numbers that use all 64 bits are written in hexadecimal.

mod broker;
mod cluster_metadata;
mod partition_map;

pub use broker::{Broker, BrokerEndpoint, BrokerSpec, BrokerStatus, IncarnationText, VersionRange};
pub use cluster_metadata::{
    ClusterMetadata, ClusterMetadataSpec, PendingDelete, StoredTopic, StoredTopicConfig,
    StoredTopicSpec, TopicState,
};
pub use partition_map::{BrokerRun, PartitionMap, PartitionMapSpec, StoredPartition};
