//! What the operator says of a consumer group.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Assignment, Delivery, GroupMode, GroupTopic, Objectives, OutOfRange, StartFrom};
use crate::units::GoDuration;

/// What the operator says of a consumer group. Numbers are written every 30 seconds at most, if they changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cluster that holds the group, as namespace/name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The name that members use, once it is this resource's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// The policy that was handed to the brokers last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveGroup>,
    /// Empty: no members. Assigning: partitions are on their way from one member to another. Stable: each partition has its member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<GroupState>,
    /// How many consumers are in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// As many as have something to do: the partitions that the group reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub useful_members: Option<u32>,
    /// How many partitions a member reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_per_member: Option<PartitionsPerMember>,
    /// The broker that coordinates the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// What was not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// When retention will delete what will not have been read by then, at today's rates. Absent: nothing is at risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_deadline: Option<LossDeadline>,
    /// Records that retention deleted before the group read them. Each is shown as long as the group stands before it, and for an hour at least.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["partition"]))]
    pub lost: Vec<LostRecords>,
    /// Accepted, Ready, Consuming, WithinLagObjective, DataSafe, Balanced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The policy that was handed to the brokers last. An absent field means what each member says, or the brokers' default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveGroup {
    /// How members share records.
    pub mode: GroupMode,
    /// What the group reads, by the names that clients use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<GroupTopic>,
    /// Who reads which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// When offsets are committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Where a partition begins of which nothing is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
    /// What to do if the committed offset is not there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_out_of_range: Option<OutOfRange>,
    /// What the conditions are about.
    pub objectives: Objectives,
    /// Offsets of a group that nobody was in for this long are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_retention: Option<GoDuration>,
}

/// Empty: no members. Assigning: partitions are on their way from one member to another. Stable: each partition has its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum GroupState {
    Empty,
    Assigning,
    Stable,
}

/// How many partitions a member reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionsPerMember {
    /// The fewest.
    pub min: u32,
    /// The most.
    pub max: u32,
}

/// What was not read yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Over all partitions.
    pub records: u64,
    /// How old the oldest of them is, about.
    pub time: GoDuration,
    /// The partition of that record, as topic/partition. Absent: everything was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
    /// When any number of this status last changed.
    pub updated_at: Time,
}

/// When data will be lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LossDeadline {
    /// When, rounded down: the farther away, the coarser.
    pub at: Time,
    /// How long that was away when this was written, rounded down.
    pub r#in: GoDuration,
    /// Of which partition, as topic/partition.
    pub partition: String,
}

/// Records of one partition that retention deleted before the group read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostRecords {
    /// As topic/partition.
    pub partition: String,
    /// The offset of the first.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// When that was first seen.
    pub seen_at: Time,
}
