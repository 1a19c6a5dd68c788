//! The data plane: stores partitions and serves them over gRPC.
//!
//! The way of a record: `rpc/produce.rs` -> `partition/verify.rs` -> `partition/append.rs` (on the disk thread, into the log) ->
//! `partition/commit.rs` (synced, visible, acknowledged) -> `partition/fetch.rs` -> `rpc/fetch.rs`.
//!
//! ```text
//!   clients ──gRPC──▶ rpc ──▶ partition ──▶ disk (writer, sync threads) ──▶ taffrail-log
//!                      │ routed                ▲
//!   other brokers ◀── peers          cluster (session, apply) ◀──gRPC── the active controller
//! ```
//!
//! ```text
//! config, args, environment, logging   what comes from outside
//! program, start                       from a command line, and from settings, to a running broker
//! running                              a broker that serves, and its one way to stop
//! broker                               what every part shares
//! datadir                              identity, metadata, ballast, partition directories
//! cluster                              the session with the controller, and obeying it
//! disk                                 the threads that write and sync
//! follower                             sessions with the leaders of this broker's replicas
//! group                                consumer groups: the coordinator of a partition of `__offsets`
//! partition                            one partition: append, commit, fetch
//! rpc                                  the gRPC services of the client port, and those of the replication port
//! peers                                other brokers, to route to
//! offline                              the data directory of a broker that does not run, for tools
//! repeats                              what happens again and again, and is not logged each time
//! http, metrics                        /metrics, /livez, /readyz, /log-level
//! sim                                  behind the feature of that name: a broker without threads, clock and network
//! ```
//!
//! Deliberately absent: Kubernetes. A broker knows its controllers, its disk and its clients.
#![forbid(unsafe_code)]

pub mod args;
mod broker;
mod cluster;
mod config;
mod datadir;
mod disk;
mod environment;
mod error;
mod follower;
mod group;
mod http;
pub mod logging;
mod metrics;
pub mod offline;
mod open_files;
mod partition;
mod peers;
mod program;
mod repeats;
mod rpc;
mod running;
#[cfg(feature = "sim")]
pub mod sim;
mod start;

pub use config::{
    BrokerConfig, CLIENT_PORT, DiskSettings, GroupSettings, HTTP_PORT, Limits, REPLICATION_PORT,
    ReplicationSettings,
};
pub use environment::Environment;
pub use error::BrokerError;
pub use program::{program, runtime};
pub use running::RunningBroker;
pub use start::{run, run_with, start, start_with};
