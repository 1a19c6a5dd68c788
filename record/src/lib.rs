//! Kafka record batches (magic 2): codec, checksums, compressions.
//!
//! ```text
//!  0        8        12       16    17    21     23      27      35      43    51     53     57     61
//!  | base   | batch  | leader |magic| CRC |attri-|last   |base   |max    |prod.|prod. |base  |record| records, maybe
//!  | offset | length | epoch  |  2  | 32C |butes |off. d.|time   |time   |id   |epoch |seq.  |count | compressed ...
//!  '-- set by the broker, not ------'     '------ covered by the CRC, never changed on the way ------->
//!      covered by the CRC
//! ```
//!
//! ```text
//! header        the first 61 bytes of a batch
//! batch         whole batches: verify, split, stamp
//! builder       records -> one batch
//! reader        one batch -> records
//! walk          does one batch hold the records that its header says
//! retain        one batch with fewer of its records, or with none: what compaction leaves
//! compression   none, gzip, snappy, lz4, zstd; decompression is bounded
//! partitioner   Kafka's murmur2, so that keys land where Kafka's users expect
//! error         what can be wrong with a batch
//! ```
#![forbid(unsafe_code)]

mod batch;
mod builder;
mod compression;
mod error;
mod header;
pub mod partitioner;
mod reader;
mod retain;
mod varint;
mod walk;

pub use batch::{Batches, split, stamp, stamped_prefix, verify, with_producer};
pub use builder::{BatchBuilder, NewRecord, ProducerStamp};
pub use compression::Compression;
pub use error::BatchError;
pub use header::{Attributes, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES};
pub use reader::{Header, Record, RecordRef, Records, records};
pub use retain::{Keep, Retained, Retainer, empty, visit};
pub use walk::verify_records;
