//! The data plane: stores partitions and serves them over gRPC.
#![forbid(unsafe_code)]
