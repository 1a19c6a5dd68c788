//! Records on their way in and out.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{Offset, PartitionIndex};

pub use taffrail_record::Header;

/// A record to send. It borrows: the producer copies it once, into a batch, before `send` returns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Records of one key go to one partition: the one that Kafka's default partitioner picks.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// In this order.
    pub headers: &'a [Header],
    /// Record time, milliseconds since the epoch. `None`: now.
    pub timestamp_ms: Option<i64>,
    /// This partition, whatever the key.
    pub partition: Option<PartitionIndex>,
}

impl<'a> Record<'a> {
    /// A record without a key.
    pub fn new(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            value: Some(value.as_ref()),
            ..Self::default()
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            key: Some(key.as_ref()),
            ..self
        }
    }

    /// With this record time.
    #[must_use]
    pub const fn timestamp_ms(self, timestamp_ms: i64) -> Self {
        Self {
            timestamp_ms: Some(timestamp_ms),
            ..self
        }
    }
}

/// Where a record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset; `None` with `Acks::None`.
    pub offset: Option<Offset>,
    /// The leader's clock when it was appended, milliseconds since the epoch.
    pub append_time_ms: i64,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The position in the partition.
    pub offset: Offset,
    /// Record time, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// In the producer's order.
    pub headers: Vec<Header>,
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
