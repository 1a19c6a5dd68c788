//! A partition that is read.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::{BrokerNumber, Offset, PartitionIndex};
use taffrail_record::{BatchError, BatchHeader, split, verify};

use super::batch::ConsumedBatch;
use crate::{config::ConsumerConfig, error::ClientError, metadata::Topic};

/// Invariant: `position <= fetch_from`; what lies between is in the consumer's ready chunks.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) topic: Arc<Topic>,
    pub(super) index: PartitionIndex,
    /// The next record to be handed out.
    pub(super) position: Offset,
    /// The next record to be asked for.
    pub(super) fetch_from: Offset,
    pub(super) turn: Turn,
    pub(super) paused: bool,
    /// Failures since the last answer.
    pub(super) attempts: u32,
    pub(super) leader_epoch: i32,
    /// The leader epoch in which the position was said to be out of range.
    pub(super) out_of_range_in: Option<i32>,
    pub(super) high_watermark: Option<Offset>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may be asked for.
    Idle,
    /// The request with this id asks for it.
    Asked(u64),
    /// A stream to its leader is being opened.
    Opening(BrokerNumber),
    /// It failed and is asked for again after a pause.
    Waiting,
    /// Its leader says that the position is out of range: all brokers are to be asked who leads.
    Doubted,
    /// They are being asked.
    Confirming,
    /// It cannot go on until the user seeks.
    Stopped,
    /// It was given back; the slot may be used for another one.
    Vacant,
}

impl Turn {
    /// Does something come after which it may be asked for, whatever its position?
    pub(super) const fn ends_by_itself(self) -> bool {
        matches!(
            self,
            Self::Opening(_) | Self::Waiting | Self::Doubted | Self::Confirming
        )
    }
}

/// Batches of one partition that arrived together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) slot: usize,
    rest: Bytes,
}

impl Assigned {
    pub(super) fn new(topic: Arc<Topic>, index: PartitionIndex) -> Self {
        Self {
            topic,
            index,
            position: Offset::ZERO,
            fetch_from: Offset::ZERO,
            turn: Turn::Idle,
            paused: false,
            attempts: 0,
            leader_epoch: -1,
            out_of_range_in: None,
            high_watermark: None,
        }
    }

    /// Takes in what was fetched and moves the fetch position behind it.
    pub(super) fn arrived(&mut self, slot: usize, batches: Bytes) -> Option<Chunk> {
        if batches.is_empty() {
            return None;
        }
        for batch in split(&batches) {
            match batch {
                Ok((header, _)) => self.fetch_from = self.fetch_from.max(header.next_offset()),
                // The user learns of it where the batch is handed out.
                Err(_) => self.turn = Turn::Stopped,
            }
        }
        Some(Chunk {
            slot,
            rest: batches,
        })
    }

    /// The next batch of `chunk` with something to see; `None` at its end.
    pub(super) fn hand_out(
        &mut self,
        chunk: &mut Chunk,
        config: &ConsumerConfig,
    ) -> Option<Result<ConsumedBatch, ClientError>> {
        while !chunk.rest.is_empty() {
            let (header, bytes) = match next_batch(&mut chunk.rest, config.verify_checksums) {
                Ok(next) => next,
                Err(source) => {
                    self.turn = Turn::Stopped;
                    return Some(Err(ClientError::Damaged {
                        topic: self.topic.name.to_string(),
                        partition: self.index,
                        offset: self.position,
                        source,
                    }));
                }
            };
            let first = self.position.max(header.base_offset);
            if header.next_offset() <= self.position {
                continue;
            }
            self.position = header.next_offset();
            // Of what compaction took only the offsets are left.
            if header.attributes.is_control() || header.record_count == 0 {
                continue;
            }
            return Some(Ok(ConsumedBatch {
                topic: Arc::clone(&self.topic.name),
                topic_id: self.topic.id,
                partition: self.index,
                header,
                first,
                bytes,
                limit_bytes: config.decompressed_bytes_max,
            }));
        }
        None
    }
}

fn next_batch(rest: &mut Bytes, checks: bool) -> Result<(BatchHeader, Bytes), BatchError> {
    let header = BatchHeader::parse(rest)?;
    let needed = header.total_bytes();
    if needed > rest.len() {
        return Err(BatchError::Truncated {
            needed,
            available: rest.len(),
        });
    }
    let bytes = rest.split_to(needed);
    if checks {
        verify(&bytes)?;
    }
    Ok((header, bytes))
}
