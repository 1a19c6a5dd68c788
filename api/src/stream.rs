//! Streams that hand batches through without copying them. On the wire they are gRPC streams like any other: what differs from
//! tonic's codec is that a message leaves as `[prefix and fields][batches]`, the batches being the very `Bytes` that were read
//! from the log or built by the producer, and that an arriving `batches` field is a slice of the received HTTP/2 frame.
//!
//! ```text
//! out:  message -> Gather (fields are encoded, batches are passed on) -> GatherBody -> h2, which writes both with one writev
//! in:   h2 frames -> Segments (one Buf over several slices) -> FrameReader -> message; batches are copied only if they span frames
//! ```

mod body;
mod call;
mod gather;
mod reader;
mod replication;
mod segments;

pub use body::GatherBody;
pub use call::{Route, fetch, produce, replicate, respond};
pub use gather::{FetchFrame, FetchedChunks, Gather, Gathered};
pub use reader::FrameReader;
pub use replication::{AnswerChunks, LeaderFrame};
