//! What the operator says of a topic.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cleanup, Compaction, Durability, Limits, Retention, Segment};
use crate::units::Size;

/// What the operator says of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cluster that holds the topic, as namespace/name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The topic's identity, made by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The name that clients use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// What is in force, the cluster's defaults included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveTopic>,
    /// How many partitions are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Partitions>,
    /// Who leads how many partitions. Written as often as storage is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What the topic takes on disk. Written every 30 seconds at most, if it changed; of many busy topics, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Accepted, Ready, FullyReplicated, PlacementSatisfied, CapacityOK, Progressing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What is in force. An absent field means that there is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveTopic {
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replicas: u32,
    /// Copies that must have a record before a producer with acks=all is answered.
    pub min_in_sync: u32,
    /// When a record counts as stored.
    pub durability: Durability,
    /// How long records are kept.
    pub retention: Retention,
    /// How old records go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// What compaction spares, where cleanup compacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
    /// When a segment is closed.
    pub segment: Segment,
    /// What a producer may send.
    pub limits: Limits,
}

/// How many partitions are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Partitions {
    /// As many as there should be.
    pub wanted: u32,
    /// Serving.
    pub online: u32,
    /// Not serving.
    pub offline: u32,
    /// With fewer in-sync replicas than they have replicas, those that a move still copies aside. This and the following change no condition by themselves,
    /// and are then written as often as storage is.
    #[serde(default)]
    pub under_replicated: u32,
    /// With fewer in-sync replicas than minInSync: acks=all is refused there.
    #[serde(default)]
    pub under_min_in_sync: u32,
    /// Whose replicas are being moved, added or taken away.
    #[serde(default)]
    pub moving: u32,
}

/// A summary; `taffrail get partitions` has it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Partitions led, by broker.
    #[serde(default)]
    pub leaders_by_broker: BTreeMap<String, u32>,
}

/// What the topic takes on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Over all partitions, one copy of each, rounded.
    pub bytes: Size,
    /// When the oldest record kept was appended; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Time>,
    /// When these numbers last changed.
    pub updated_at: Time,
}
