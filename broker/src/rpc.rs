//! The gRPC services of the client port, and of the replication port.
//!
//! ```text
//! server       accept, limit, serve, drain
//! intake       room for calls and messages on their way in
//! foreign      errors that tonic makes, with our codes
//! service      taffrail.v1.Broker: Produce and Fetch without copies, the rest with the usual codec
//! produce      batches in, acknowledgements out
//! fetch        long polls
//! offsets      ListOffsets
//! metadata     GetMetadata, WatchMetadata
//! init_producer  InitProducer
//! groups       taffrail.v1.Groups: to the coordinators
//! gateway      Publish and Subscribe, for thin clients
//! admin        forwarded to the active controller
//! replication  sessions with followers, on a port of their own
//! ```

mod admin;
mod fetch;
mod foreign;
mod gateway;
pub(crate) mod groups;
mod init_producer;
mod intake;
mod metadata;
mod offsets;
pub(crate) mod produce;
pub(crate) mod replication;
pub(crate) mod server;
mod service;

use taffrail_api::{stream::Route, transport::ROUTE_HEADER};

pub(crate) use gateway::Subscriptions;

/// Does the caller ask to be routed?
fn route_of(headers: &http::HeaderMap) -> Route {
    if headers.get(ROUTE_HEADER).is_some_and(|v| v == "1") {
        Route::Through
    } else {
        Route::Direct
    }
}
