//! taffrail.v1: protos, generated code, validation, error table.
#![forbid(unsafe_code)]

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
