//! One partition's bytes on one disk.
//!
//! ```text
//!   PartitionLog (one owner, writes)                 LogReader (any thread, reads)
//!        | append: writev into the page cache              | locate: hint, index, header walk
//!        v                                                 v
//!   [segment, sealed][segment, sealed][segment, active] -> Bytes: slices of a mapping, or pread
//!        ^                                  |
//!        | .seal once durable               v
//!        '------------------------------ SyncToken::sync (any thread): fdatasync, then durable_end moves
//! ```
//!
//! ```text
//! partition   PartitionLog: create, open and recover, append, roll, expire, truncate, checkpoint, close, delete
//! reader      LogReader: read by offset, look up by record time
//! sync        SyncToken: makes durable what was appended
//! upkeep      Upkeep: seals, checkpoints and removals, on any thread
//! compaction  Compaction: of each key the last record stays, on any thread
//! segment     one .log file with its index, time index and seal
//! identity    whose directory this is
//! checkpoint  log start, recovery point, high watermark
//! epochs      leader epoch -> start offset
//! producers   snapshots of the producer table, and the table at an offset
//! inspect     offline dump and verification
//! time_slice  how soon a thread runs that has something to do
//! disk        the seam to the file system; `sim` behind the feature of that name injects faults
//! ```
//!
//! The bytes of every file are drawn in `docs/FORMAT.md`.
#![deny(unsafe_op_in_unsafe_fn)]

mod checkpoint;
mod compaction;
mod config;
pub mod disk;
mod epochs;
mod error;
mod file;
mod frame;
mod identity;
pub mod inspect;
mod names;
mod partition;
mod producers;
mod reader;
pub mod repair;
mod segment;
mod shared;
#[cfg(feature = "sim")]
pub mod sim;
mod sync;
mod time_slice;
mod upkeep;

pub use compaction::{Compacted, Compaction};
pub use config::{CompactionConfig, LogConfig};
pub use disk::{Disk, DiskFile, MappedMax, StdDisk};
pub use error::LogError;
pub use identity::{PartitionIdentity, read_identity};
pub use partition::{
    Appended, Cleanliness, Expired, Opened, PartitionLog, RecoveryReport, Torn, delete_dir,
    set_aside_dir,
};
pub use producers::sequenced;
pub use reader::{LogReader, ReadBatches, SegmentInfo};
pub use sync::SyncToken;
pub use time_slice::ask_for_short_time_slices;
pub use upkeep::Upkeep;
