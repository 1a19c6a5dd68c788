//! Who holds which partition.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::IncarnationText;

/// Who holds about 128 partitions: the loss of a broker costs a few writes, not one for each partition.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "PartitionMap",
    namespaced,
    derive = "PartialEq",
    doc = "Who holds and who leads some of a cluster's partitions. Written by the active controller only.",
    printcolumn = r##"{"name":"Cluster","type":"string","jsonPath":".spec.cluster"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##
)]
#[serde(rename_all = "camelCase")]
pub struct PartitionMapSpec {
    /// The BrokerCluster's name.
    pub cluster: String,
    /// The map's name as the root lists it.
    pub name: String,
    /// The controller that claimed or wrote the map last.
    pub controller_epoch: i64,
    /// The partitions.
    #[serde(default)]
    pub partitions: Vec<StoredPartition>,
}

/// One partition's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredPartition {
    /// Whose partition.
    pub topic_id: String,
    /// Which one.
    pub partition: u32,
    /// Who should hold it, the preferred leader first.
    pub replicas: Vec<u32>,
    /// Members of replicas that a reassignment adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<u32>,
    /// Members of replicas that a reassignment takes away at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<u32>,
    /// Replicas known to have everything acknowledged.
    pub isr: Vec<u32>,
    /// Who may append, if anybody just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u32>,
    /// The run of the leader's process that owns the leader epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_incarnation: Option<IncarnationText>,
    /// Raised by every election.
    pub leader_epoch: i32,
    /// Raised by every change of this record.
    pub partition_epoch: i64,
    /// Replicas whose broker registered this run since, and whose leader has not seen that run caught up again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<BrokerRun>,
    /// The last member of isr stopped uncleanly and may lack what was acknowledged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unclean: bool,
}

/// A run of a broker's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerRun {
    /// The broker's number.
    pub broker: u32,
    /// Which run of it.
    pub incarnation: IncarnationText,
}
