//! The control plane on Kubernetes: custom resources in, brokers and their metadata out.
//!
//! ```text
//!   Lease ──────────▶ lease      active or standby: a hint only, what keeps data safe is the compare-and-swap of `store`
//!   BrokerCluster ──▶ cluster ──▶ StatefulSet, Services, PodDisruptionBudget, ConfigMap, NetworkPolicy, status
//!                        │
//!                        ▼
//!                     engines    one controller (taffrail-controller) for each BrokerCluster
//!                        │  └──▶ store       ClusterMetadata, PartitionMap, Broker by PUT with resourceVersion
//!                        │
//!   Topic ──────────▶ topic  ──▶ the engine of its cluster, status, finalizer
//!   ConsumerGroup ──▶ group  ──▶ the engine of its cluster: all policies at once; status, finalizer
//!                     resolve    which cluster a Topic or ConsumerGroup means, and whose a name is
//!                     sweep      resources that vanished: their topics are no longer served, their data stays
//!   brokers ────────▶ dispatch   sessions to the engine of their cluster; NotActive where there is none
//!   people ─────────▶ http       /metrics, /livez, /readyz, PUT /log-level
//!                     watch      resources one at a time: one that cannot be read does not stop the others
//!                     wake       resources that a controller saw something new of, and no others
//!                     records    PartitionMaps and Brokers that somebody deletes: the engine writes them anew
//!                     losses     elections that may have lost records, as Events
//!                     unreadable says in its status what is wrong with it
//!                     writes     every write to the API server, counted by kind and reason
//! ```
#![forbid(unsafe_code)]

mod active;
mod cluster;
mod config;
mod context;
mod dispatch;
mod engines;
mod error;
mod events;
mod finalizer;
mod group;
mod http;
mod lease;
pub mod logging;
mod losses;
mod metrics;
mod paused;
mod records;
mod resolve;
mod run;
pub mod store;
mod stores;
mod sweep;
mod topic;
mod unreadable;
mod wake;
mod watch;
mod writes;

pub use config::OperatorConfig;
pub use error::OperatorError;
pub use run::run;
