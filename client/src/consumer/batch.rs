//! A batch that was read, and its records.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{Offset, PartitionIndex, TopicId};
use taffrail_record::{BatchError, BatchHeader, RecordRef, Records};

use crate::{error::ClientError, record::ConsumedRecord};

/// One batch as its producer built it: records are decoded (and decompressed) only when asked for.
#[derive(Debug, Clone)]
pub struct ConsumedBatch {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) header: BatchHeader,
    /// Records below are not for the user, who began in the middle of the batch.
    pub(super) first: Offset,
    pub(super) bytes: Bytes,
    pub(super) limit_bytes: usize,
}

impl ConsumedBatch {
    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The topic's id: a new topic of an old name has another.
    pub const fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The partition.
    pub const fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The batch's header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Offset of the first record that is handed out.
    pub const fn first_offset(&self) -> Offset {
        self.first
    }

    /// Offset of the first record after the batch.
    pub const fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    /// How many records are handed out: at most so many, if compaction took some and reading begins in the middle of the batch.
    pub fn record_count(&self) -> u64 {
        let offsets = self.header.next_offset().0 - self.first.0;
        offsets.min(u64::from(self.header.record_count))
    }

    /// The batch as it is stored.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its records.
    ///
    /// # Errors
    /// The batch does not decompress, or to more than the consumer's limit.
    pub fn records(&self) -> Result<BatchRecords, ClientError> {
        let mut records = taffrail_record::records(self.bytes.clone(), self.limit_bytes)
            .map_err(|source| self.damaged(source))?;
        records
            .skip_before(self.first)
            .map_err(|source| self.damaged(source))?;
        Ok(BatchRecords {
            batch: self.clone(),
            records,
        })
    }

    fn damaged(&self, source: BatchError) -> ClientError {
        ClientError::Damaged {
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: self.first,
            source,
        }
    }
}

/// The records of one batch, in order.
#[derive(Debug)]
pub struct BatchRecords {
    batch: ConsumedBatch,
    records: Records,
}

impl BatchRecords {
    /// The next record, borrowed: the fastest way through many small ones.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, ClientError>> {
        let batch = &self.batch;
        let record = self.records.next_ref()?;
        Some(record.map_err(|source| batch.damaged(source)))
    }
}

impl Iterator for BatchRecords {
    type Item = Result<ConsumedRecord, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(source) => return Some(Err(self.batch.damaged(source))),
        };
        Some(Ok(ConsumedRecord {
            topic: Arc::clone(&self.batch.topic),
            partition: self.batch.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }))
    }
}
