//! The only home of shared fixtures.
//!
//! ```text
//! scratch   a folder of a test's own           programs   the binaries under test
//! ports     addresses nobody listens on        process    start, stop, kill -9, read its log
//! wait      conditions with deadlines          http       what a probe asks
//! manifest  the YAML of cluster and Topic      flights    the real input
//! dev       `taffrail dev` as a person runs it
//! traffic   a producer that goes on through crashes
//! history   what was acknowledged against what is read
//! cluster   a controller and three brokers             network    a network between them that can be cut
//! load      a producer and a consumer that go on       numbered   what they send and expect
//! members   of groups, as processes, and what they did
//! consumed  what `consume` prints              partitions as `get` shows them and as they lie on the disk
//! kube_api  etcd and kube-apiserver            operated   operator and broker around it, as processes
//! node      a cluster that runs pods           image      what they run
//! folder    copies of a folder
//! ```
#![forbid(unsafe_code)]

pub mod cluster;
pub mod consumed;
pub mod dev;
pub mod flights;
pub mod folder;
pub mod history;
pub mod http;
pub mod image;
pub mod kube_api;
pub mod load;
pub mod manifest;
pub mod members;
pub mod network;
pub mod node;
pub mod numbered;
pub mod operated;
pub mod partitions;
pub mod ports;
pub mod process;
pub mod programs;
pub mod scratch;
mod small_disk;
pub mod traffic;
pub mod wait;
