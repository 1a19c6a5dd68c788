//! The custom resources of `taffrail.dev/v1alpha1` as Rust types, and the YAML generated from them.
//!
//! ```text
//! users write       broker_cluster   BrokerCluster: brokers, image, storage, defaults
//!                   topic            Topic: partitions, retention, limits, what becomes of the data
//!                   consumer_group   ConsumerGroup: what it reads, where it begins, what it should keep to
//! machines write    machine          ClusterMetadata, PartitionMap, Broker: what must not be lost, for reading
//! shared            units            sizes (50Gi) and durations (168h)
//!                   conditions       metav1.Condition: set, find, compare
//! both ways         convert          resources -> core types
//!                   manifest         YAML files -> resources
//!                   generate         resources -> CustomResourceDefinitions, with the CEL rules of core
//! ```
#![forbid(unsafe_code)]

pub mod broker_cluster;
pub mod conditions;
pub mod consumer_group;
pub mod convert;
pub mod generate;
pub mod machine;
pub mod manifest;
pub mod topic;
pub mod units;

pub use broker_cluster::{BrokerCluster, BrokerClusterSpec, BrokerClusterStatus};
pub use consumer_group::{ConsumerGroup, ConsumerGroupSpec, ConsumerGroupStatus};
pub use generate::{all, write_yaml};
pub use machine::{Broker, ClusterMetadata, PartitionMap};
pub use topic::{Topic, TopicSpec, TopicStatus};
pub use units::{GoDuration, Size};

/// The API group of every kind here.
pub const GROUP: &str = "taffrail.dev";
/// The version of every kind here.
pub const VERSION: &str = "v1alpha1";
/// `"true"` on a resource: the operator stops acting on it and says `Paused`.
pub const PAUSED_ANNOTATION: &str = "taffrail.dev/paused";
