//! A broker from outside, over gRPC, with a controller that does as the test says.
#![forbid(unsafe_code)]

mod bad_input;
mod bad_peers;
mod clocks;
mod cluster;
mod compaction;
mod controller;
mod disk;
mod fixture;
mod gateway;
mod groups;
mod http;
mod idempotence;
mod lifecycle;
mod reads;
mod records;
mod replication;
mod routing;
mod sessions;
mod standing;
mod strangers;
