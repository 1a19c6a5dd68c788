//! Topic: what a user wants of a topic.

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{GoDuration, Size};

pub use status::{EffectiveTopic, Partitions, Placement, Storage, TopicStatus};

/// An ordered, durable, replayable log of records, cut into partitions. An absent field means the cluster's default; status.effective shows
/// what is in force.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "Topic",
    namespaced,
    shortname = "tp",
    category = "streaming",
    status = "TopicStatus",
    derive = "PartialEq",
    doc = "A topic: an ordered, durable, replayable log of records, cut into partitions.",
    printcolumn = r##"{"name":"Partitions","type":"integer","jsonPath":".status.partitions.wanted"}"##,
    printcolumn = r##"{"name":"Replicas","type":"integer","jsonPath":".status.effective.replicas"}"##,
    printcolumn = r##"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"##,
    printcolumn = r##"{"name":"In-Sync","type":"string","jsonPath":".status.conditions[?(@.type==\"FullyReplicated\")].status"}"##,
    printcolumn = r##"{"name":"Retention","type":"string","jsonPath":".status.effective.retention.time"}"##,
    printcolumn = r##"{"name":"Size","type":"string","jsonPath":".status.storage.bytes"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##,
    printcolumn = r##"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","priority":1}"##,
    printcolumn = r##"{"name":"Cluster","type":"string","jsonPath":".status.cluster","priority":1}"##,
    printcolumn = r##"{"name":"Cleanup","type":"string","jsonPath":".status.effective.cleanup","priority":1}"##
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicSpec {
    /// The cluster that holds the topic. Default: the only BrokerCluster in the namespace. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// The name that clients use. Default: the resource's name, or namespace.name outside the cluster's own namespace. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub topic_name: Option<String>,
    /// How many partitions. Grows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Copies of each partition, on as many brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Copies that must have a record before a producer with acks=all is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_in_sync: Option<u32>,
    /// When a record counts as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How long records are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How old records go. Default: Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// What compaction spares. Only where cleanup compacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
    /// When a partition's file is closed and the next one begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// What a producer may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What becomes of the data when this resource is deleted. Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What to do if the name has retained data. Default: Never, the topic is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// When no in-sync replica is left. Default: Never, the partition waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<UncleanElection>,
}

/// Names a BrokerCluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its namespace. Default: the resource's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

/// When a record counts as stored. Fsync: a crash of process or machine loses nothing acknowledged. PageCache: synced in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum Durability {
    Fsync,
    PageCache,
}

/// How long records are kept. The oldest go, a whole segment at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    /// At least this long after they were appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<GoDuration>,
    /// Until a partition is larger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_partition: Option<Size>,
}

/// How old records go. Delete: by age and size, as retention says. Compact: the last record of each key stays, for ever. CompactAndDelete: it
/// stays until retention takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum Cleanup {
    Delete,
    Compact,
    CompactAndDelete,
}

/// What compaction spares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compaction {
    /// Records younger than this. Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_lag: Option<GoDuration>,
    /// Records that delete their key, for this long once everything before them was compacted: whoever reads from the start has so much time
    /// to see them. Default: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone_retention: Option<GoDuration>,
}

/// When a partition's file is closed and the next one begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Segment {
    /// At this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// At this age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<GoDuration>,
}

/// What a producer may send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Largest batch of records accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_bytes: Option<Size>,
}

/// What becomes of the data when the resource is deleted. Retain: it stays and can be adopted. DeleteIfEmpty: it stays if a record is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum DeletionPolicy {
    Retain,
    Delete,
    DeleteIfEmpty,
}

/// What to do if the name has retained data. Never: refuse. ByName: continue its log. Fresh: start empty and leave the old data where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum Adoption {
    Never,
    ByName,
    Fresh,
}

/// When no in-sync replica is left. Never: the partition waits for one. Allow: the most complete replica leads, and what it lacks is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum UncleanElection {
    Never,
    Allow,
}
