//! ConsumerGroup: what a user wants of a group of consumers.

mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{topic::ClusterRef, units::GoDuration};

pub use status::{
    ConsumerGroupStatus, EffectiveGroup, GroupState, Lag, LossDeadline, LostRecords,
    PartitionsPerMember,
};

/// Policy of the consumers that share the partitions of some topics. Members come and go by themselves; a group needs no resource. An absent field means
/// what each member says, or the brokers' default; status.effective shows what was handed to them.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "ConsumerGroup",
    namespaced,
    shortname = "cg",
    category = "streaming",
    status = "ConsumerGroupStatus",
    derive = "PartialEq",
    doc = "Policy of the consumers that share the partitions of some topics, and how far they are.",
    printcolumn = r##"{"name":"Mode","type":"string","jsonPath":".status.effective.mode"}"##,
    printcolumn = r##"{"name":"State","type":"string","jsonPath":".status.state"}"##,
    printcolumn = r##"{"name":"Members","type":"integer","jsonPath":".status.members"}"##,
    printcolumn = r##"{"name":"Lag","type":"integer","jsonPath":".status.lag.records"}"##,
    printcolumn = r##"{"name":"Lag-Time","type":"string","jsonPath":".status.lag.time"}"##,
    printcolumn = r##"{"name":"Loses-Data-In","type":"string","jsonPath":".status.lossDeadline.in"}"##,
    printcolumn = r##"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##,
    printcolumn = r##"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","priority":1}"##,
    printcolumn = r##"{"name":"Data-Safe","type":"string","jsonPath":".status.conditions[?(@.type==\"DataSafe\")].reason","priority":1}"##,
    printcolumn = r##"{"name":"Group","type":"string","jsonPath":".status.groupName","priority":1}"##,
    printcolumn = r##"{"name":"Cluster","type":"string","jsonPath":".status.cluster","priority":1}"##
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerGroupSpec {
    /// The cluster that holds the topics. Default: the only BrokerCluster in the namespace. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// The name that members use. Default: the resource's name, or namespace.name outside the cluster's own namespace. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub group_name: Option<String>,
    /// How members share records. Default: Partitioned. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<GroupMode>,
    /// What the group reads: members read of these topics only, and all of them if they name none themselves. Default: what each member names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub topics: Option<Vec<GroupTopic>>,
    /// Who reads which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// When offsets are committed. Default: as each member says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Where a partition begins of which nothing is committed. Default: as each member says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
    /// What to do if the committed offset is not there any more. Default: as each member says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_out_of_range: Option<OutOfRange>,
    /// What the group should keep to. Only reported, in conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
    /// Offsets of a group that nobody was in for this long are forgotten. Default: as the brokers are set, 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_retention: Option<GoDuration>,
    /// What becomes of the group's offsets when this resource is deleted. Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<GroupDeletionPolicy>,
}

/// How members share records. Partitioned: each partition is one member's. Shared: not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum GroupMode {
    Partitioned,
    Shared,
}

/// A topic, or a pattern for the names of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupTopic {
    /// A Topic of this resource's namespace and of the same cluster; where there is none, the name that clients use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    pub name: Option<String>,
    /// A regular expression for whole names, as clients use them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pattern: Option<String>,
}

/// Who reads which partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// Default: Sticky.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Of partitions that are as good otherwise a member gets those whose leader is in its rack. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack_aware: Option<bool>,
    /// A member that is not heard of for this long is given up. Default: as each member says, or 45s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<GoDuration>,
}

/// How partitions are given to members. Sticky: evenly, and as few move as possible. Range: pieces of each topic that follow on each other. RoundRobin: all
/// partitions in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum Strategy {
    Sticky,
    Range,
    RoundRobin,
}

/// When offsets are committed. AtLeastOnce: after processing, a crash repeats. AtMostOnce: before processing, a crash loses. ExactlyOnce: not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum Delivery {
    AtLeastOnce,
    AtMostOnce,
    ExactlyOnce,
}

/// Where a partition begins of which nothing is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartFrom {
    /// Earliest: the first record there is. Latest: the next one to come. Timestamp: the first one appended at `timestamp` or later.
    pub position: StartPosition,
    /// With position Timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
}

/// Earliest: the first record there is. Latest: the next one to come. Timestamp: the first one appended then or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum StartPosition {
    Earliest,
    Latest,
    Timestamp,
}

/// What to do if the committed offset is not there any more. Stop: the partition waits for somebody to decide. Earliest: go on with the first record there
/// is. Latest: go on with the next one to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum OutOfRange {
    Stop,
    Earliest,
    Latest,
}

/// What the group should keep to. Only reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objectives {
    /// The oldest record that was not read is no older than this: condition WithinLagObjective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<GoDuration>,
    /// Nothing that was not read is deleted within this time: condition DataSafe. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_headroom: Option<GoDuration>,
}

/// What becomes of a group's offsets when the resource is deleted. Retain: they stay, and the group goes on without this policy. Delete: they are deleted as soon
/// as the group has no members; the resource stays until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum GroupDeletionPolicy {
    #[default]
    Retain,
    Delete,
}
