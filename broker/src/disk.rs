//! The disk threads. One writes: it owns every log, and writes all that waits over all partitions. Several sync: each dirty file once,
//! while the next group is being written.
//!
//! ```text
//!  request tasks ──Append──▶ inbox ──▶ writer ──SyncJob──▶ inbox ──▶ sync-0 .. sync-7 ──▶ answers, high watermark
//!                                        ▲  │                             │
//!                                        ├──│────────SyncDone─────────────┘
//!                                        │  └─UpkeepJob─▶ inbox ──▶ upkeep-0, upkeep-1: seals, checkpoints, removals
//!                                        │  │                             │
//!                                        │  └─CompactionJob─▶ inbox ──▶ compaction: one pass at a time
//!                                        └───UpkeepDone, CompactionDone───┘
//! ```

mod closing;
mod compactor;
pub(crate) mod handle;
mod inbox;
pub(crate) mod maintenance;
pub(crate) mod scrub;
pub(crate) mod space;
#[cfg(feature = "sim")]
pub(crate) mod stepped;
mod sync_pool;
mod upkeep_pool;
mod writer;

pub(crate) use handle::{DiskHandle, start};
pub(crate) use writer::Outboxes;
