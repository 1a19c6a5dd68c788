//! A broker as the controller knows it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A broker as the controller knows it: its number is allotted once for each volume and never used again.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "Broker",
    namespaced,
    status = "BrokerStatus",
    derive = "PartialEq",
    doc = "A broker as the controller knows it. Written by the active controller only.",
    printcolumn = r##"{"name":"Number","type":"integer","jsonPath":".spec.number"}"##,
    printcolumn = r##"{"name":"State","type":"string","jsonPath":".status.state"}"##,
    printcolumn = r##"{"name":"Leads","type":"integer","jsonPath":".status.leads"}"##,
    printcolumn = r##"{"name":"Follows","type":"integer","jsonPath":".status.follows"}"##,
    printcolumn = r##"{"name":"Safe-To-Stop","type":"boolean","jsonPath":".status.safeToStop"}"##,
    printcolumn = r##"{"name":"Blocked-By","type":"string","jsonPath":".status.stopBlockedBy"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##,
    printcolumn = r##"{"name":"Rack","type":"string","jsonPath":".spec.rack","priority":1}"##
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSpec {
    /// The BrokerCluster's name.
    pub cluster: String,
    /// Names the broker in maps.
    pub number: u32,
    /// The volume's identity.
    pub uuid: String,
    /// The last confirmed run of its process.
    pub incarnation: IncarnationText,
    /// The pod's name.
    pub name: String,
    /// Where it runs, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<BrokerEndpoint>,
    /// Where other brokers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<BrokerEndpoint>,
    /// The protocol versions that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<VersionRange>,
    /// What it runs.
    pub software_version: String,
    /// The controller that claimed or wrote this last.
    pub controller_epoch: i64,
}

/// Protocol versions, both ends inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionRange {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

/// One run of a broker process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncarnationText {
    /// Grows with each start of the volume.
    pub generation: i64,
    /// Drawn at each start, in hexadecimal.
    pub random: String,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerEndpoint {
    /// A DNS name or an address.
    pub host: String,
    /// The port.
    pub port: u32,
}

/// A summary for people; nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Online, Suspect or Offline.
    pub state: String,
    /// Partitions that it leads.
    pub leads: u32,
    /// Partitions that it holds without leading.
    pub follows: u32,
    /// Every partition that it holds stays served, for acks=all too, while it is away.
    #[serde(default)]
    pub safe_to_stop: bool,
    /// What would not, if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_blocked_by: String,
}
