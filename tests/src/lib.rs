//! The only home of shared fixtures.
//!
//! ```text
//! scratch   a folder of a test's own           programs   the binaries under test
//! ports     addresses nobody listens on        process    start, stop, kill -9, read its log
//! wait      conditions with deadlines
//! dev       `taffrail dev` as a person runs it
//! flights   the real input                     history    what was acknowledged against what is read
//! manifest  the YAML of a Topic
//! kube_api  etcd and kube-apiserver
//! ```
#![forbid(unsafe_code)]

pub mod dev;
pub mod flights;
pub mod history;
pub mod kube_api;
pub mod manifest;
pub mod ports;
pub mod process;
pub mod programs;
pub mod scratch;
pub mod wait;
