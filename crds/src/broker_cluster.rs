//! BrokerCluster: how many brokers, of what, on what.

mod pod_template;
mod status;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    topic::{Durability, Limits, Retention, Segment},
    units::{GoDuration, Size},
};

pub use pod_template::PodTemplate;
pub use status::{BrokerClusterStatus, BrokerCounts};

/// A set of brokers and what they run on. The operator makes the StatefulSet, Services, PodDisruptionBudget and ConfigMap from it.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "BrokerCluster",
    namespaced,
    shortname = "bc",
    category = "streaming",
    status = "BrokerClusterStatus",
    derive = "PartialEq",
    doc = "A set of brokers and what they run on.",
    printcolumn = r##"{"name":"Brokers","type":"integer","jsonPath":".spec.brokers"}"##,
    printcolumn = r##"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"##,
    printcolumn = r##"{"name":"Version","type":"string","jsonPath":".status.version"}"##,
    printcolumn = r##"{"name":"Safe-To-Stop","type":"string","jsonPath":".status.conditions[?(@.type==\"SafeToStop\")].status"}"##,
    printcolumn = r##"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"##
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerClusterSpec {
    /// How many brokers. Grows only.
    pub brokers: u32,
    /// The brokers' image. Default: the one that came with the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// The volume of each broker.
    pub storage: BrokerStorage,
    /// How brokers that could fail together are told apart. Replicas of a partition go to different racks where they can. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<Rack>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Listeners>,
    /// Whose Topics may live here. Default: those of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_namespaces: Option<TopicNamespaces>,
    /// What resources that do not say get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// Processor and memory of each broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the brokers, by their names in docs/OPERATIONS.md: numbers, such as `disk.scrub_interval_ms: 0`. A broker takes a change when it is restarted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broker_config: BTreeMap<String, u64>,
    /// What else the brokers' pods need: where they run, how their image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// The volume of each broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerStorage {
    /// Its size. Grows only, if its StorageClass allows that.
    pub size: Size,
    /// Its StorageClass. Default: the Kubernetes cluster's. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
}

/// How brokers that could fail together are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rack {
    /// The key of a label of nodes; brokers on nodes with the same value share a rack. A broker learns the value from its pod's label of the same key:
    /// Kubernetes 1.35 and newer copies topology.kubernetes.io/zone and topology.kubernetes.io/region to pods. A change reaches a pod when it is next made.
    #[schemars(length(max = 317))]
    pub topology_key: String,
}

/// Where clients connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listeners {
    /// gRPC for producers, consumers and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientListener>,
}

/// gRPC for producers, consumers and admins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientListener {
    /// The port of each broker and of the client Service. Default: 9640.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Whose Topics may live in this cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicNamespaces {
    /// Same: those of the cluster's own namespace. All: those of every namespace that the operator watches.
    pub from: NamespacesFrom,
}

/// Same: the cluster's own namespace. All: every namespace that the operator watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described above: documented variants make a schema that is not structural"
)]
pub enum NamespacesFrom {
    Same,
    All,
}

/// What resources that do not say get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<DefaultTopic>,
    /// Consumer groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<DefaultGroup>,
}

/// What a Topic that does not say gets. A change reaches existing topics too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefaultTopic {
    /// How many partitions a new topic gets. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// When a record counts as stored. Default: Fsync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How long records are kept. Default: 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// When a segment is closed. Default: at 256Mi or 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// What a producer may send. Default: batches of 1Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// What consumer groups get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefaultGroup {
    /// Partitions of the topic __offsets, where groups keep their offsets, when the cluster makes it. Default: 50. Immutable: it says in which
    /// partition a group's offsets are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets_partitions: Option<u32>,
    /// Not heard of for this long, a member is given up, unless its group or the member itself says otherwise. Default: 45s. It is the brokers' setting
    /// groups.session_timeout_ms, which comes first where brokerConfig has it; a broker takes a change when it is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<GoDuration>,
}
