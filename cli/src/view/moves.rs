//! Moves of replicas, as planned.

use taffrail_api::v1;

/// A partition that moves, or would.
pub(crate) struct MoveView {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
    /// To be copied.
    pub(crate) bytes: u64,
}

impl From<v1::ReplicaMove> for MoveView {
    fn from(planned: v1::ReplicaMove) -> Self {
        Self {
            topic: planned.topic,
            partition: planned.partition,
            from: planned.from,
            to: planned.to,
            bytes: planned.bytes,
        }
    }
}
