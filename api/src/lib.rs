//! taffrail.v1: protos, generated code, validation, one error table, and streams that do not copy batches.
//!
//! ```text
//! v1          generated from proto/taffrail/v1
//! convert     wire <-> core: everything is validated here, once
//! status      ErrorCode <-> gRPC status, with the stable code in the trailer `taffrail-error-code`
//! transport   HTTP/2 settings of clients and servers, and limits on messages
//! pattern     patterns of topics' names, compiled (feature `pattern`)
//! listen      how servers accept connections (feature `listen`)
//! stream      Produce and Fetch: the same wire format as any gRPC stream, but batches are handed through as `Bytes`
//! ```
#![forbid(unsafe_code)]

pub mod convert;
#[cfg(feature = "listen")]
pub mod listen;
#[cfg(feature = "pattern")]
pub mod pattern;
pub mod status;
pub mod stream;
pub mod transport;

pub use status::WireError;

/// The generated messages, clients and servers of package `taffrail.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("taffrail.v1");

    /// The descriptors of every file, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/taffrail.v1.bin"));
}
