//! The root of a cluster's metadata.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topic::{Adoption, Cleanup, DeletionPolicy, Durability, UncleanElection};

/// The root of a cluster's metadata, named as its BrokerCluster. A controller takes office by a compare-and-swap on it.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "ClusterMetadata",
    plural = "clustermetadata",
    namespaced,
    derive = "PartialEq",
    doc = "The root of a cluster's metadata. Written by the active controller only.",
    printcolumn = r##"{"name":"Epoch","type":"integer","jsonPath":".spec.controllerEpoch"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMetadataSpec {
    /// The cluster's identity.
    pub cluster_id: String,
    /// Raised by every controller that takes office.
    pub controller_epoch: i64,
    /// The random id of the controller that holds the epoch, in hexadecimal.
    pub holder: String,
    /// Names of the PartitionMaps, in order. A map exists only once it is listed here.
    #[serde(default)]
    pub partition_maps: Vec<String>,
    /// Every topic name that is in use, retained or being deleted.
    #[serde(default)]
    pub topics: Vec<StoredTopic>,
    /// The next broker gets this number. Never lowered.
    pub next_broker_number: u32,
}

/// A topic as the controller keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredTopic {
    /// The name that clients use.
    pub name: String,
    /// The topic's identity.
    pub topic_id: String,
    /// The maps that hold its partitions.
    #[serde(default)]
    pub partition_maps: Vec<String>,
    /// Active; Closing: until it is known whether it has a record; Retained: its data is kept without it; Deleting: until every replica confirmed.
    pub state: TopicState,
    /// What the user wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<StoredTopicSpec>,
    /// What is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<StoredTopicConfig>,
    /// Raised by every change of config.
    pub generation: i64,
    /// Partitions from 0 up to this one, exclusive, stand in a map. The rest waits for brokers.
    pub placed: u32,
    /// Of retained topics: the order in which they ended. Of several with one name, the last is adopted.
    #[serde(default)]
    pub ended: i64,
    /// Replicas that have not confirmed their deletion yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingDelete>,
}

/// Active; Closing: until it is known whether it has a record; Retained: its data is kept without it; Deleting: until every replica confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum TopicState {
    Active,
    Closing,
    Retained,
    Deleting,
}

/// What the user wanted, in plain numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the Topic's spec")]
pub struct StoredTopicSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_in_sync: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes_per_partition: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_max_age_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// As in the Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<UncleanElection>,
    /// As in the Topic. Absent: Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction_min_lag_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone_retention_ms: Option<i64>,
}

/// What is in force, in plain numbers. An absent field means that there is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the Topic's status")]
pub struct StoredTopicConfig {
    pub partitions: u32,
    pub replicas: u32,
    pub min_in_sync: u32,
    pub durability: Durability,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes_per_partition: Option<i64>,
    pub segment_bytes: i64,
    pub segment_max_age_ms: i64,
    pub max_batch_bytes: i64,
    /// As in the Topic. Absent: Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction_min_lag_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone_retention_ms: Option<i64>,
}

/// A replica that has not confirmed its deletion yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingDelete {
    /// Which partition.
    pub partition: u32,
    /// On which broker.
    pub broker: u32,
    /// The order names this epoch.
    pub partition_epoch: i64,
}
