//! A topic's partitions, and which of them gets a record.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};

use taffrail_core::PartitionIndex;
use taffrail_record::{NewRecord, partitioner::partition_for_key};

use super::{
    completion::Delivery,
    partition::{Limits, PartitionQueue, Pushed},
    shared::Shared,
};
use crate::{
    error::{ClientError, ProduceError},
    metadata::Topic,
    record::{Record, now_ms},
};

#[derive(Debug)]
pub(super) struct TopicQueues {
    pub(super) name: Arc<str>,
    shared: Arc<Shared>,
    partitions: RwLock<Vec<Arc<PartitionQueue>>>,
    max_batch_bytes: AtomicUsize,
    /// Where records without a key go until its batch is full or gone (KIP-480).
    sticky: AtomicU32,
}

impl TopicQueues {
    pub(super) fn new(topic: &Topic, shared: Arc<Shared>) -> Self {
        let queues = Self {
            name: Arc::clone(&topic.name),
            shared,
            partitions: RwLock::default(),
            max_batch_bytes: AtomicUsize::new(0),
            sticky: AtomicU32::new(rand::random::<u32>() / 2),
        };
        queues.update(topic);
        queues
    }

    /// Takes in what may change: more partitions, another limit, leaders.
    pub(super) fn update(&self, topic: &Topic) {
        let limit = match topic.max_batch_bytes {
            0 => taffrail_api::transport::BATCH_BYTES_MAX,
            limit => limit,
        };
        self.max_batch_bytes.store(limit, Relaxed);
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for index in partitions.len()..topic.partitions.len() {
            let index = PartitionIndex(index as u32);
            partitions.push(PartitionQueue::new(index, Arc::clone(&self.shared)));
        }
        for (queue, known) in partitions.iter().zip(&topic.partitions) {
            queue.set_available(known.leader.is_some());
        }
    }

    pub(super) fn partitions(&self) -> Vec<Arc<PartitionQueue>> {
        self.partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Copies the record into a batch of its partition.
    pub(super) fn push(&self, record: &Record<'_>) -> Result<Delivery, ProduceError> {
        let new = NewRecord {
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms.unwrap_or_else(now_ms),
        };
        let record_bytes = self
            .max_batch_bytes
            .load(Relaxed)
            .min(self.shared.budget.total());
        let mut limits = Limits {
            batch_bytes: self.shared.config.batch_bytes.min(record_bytes),
            record_bytes,
            joins_only: false,
        };
        let bytes = new.key.map_or(0, <[u8]>::len) + new.value.map_or(0, <[u8]>::len);
        if bytes >= record_bytes {
            return Err(ProduceError::RecordTooLarge {
                bytes,
                limit: record_bytes,
            });
        }
        let partitions = self
            .partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let count = partitions.len() as u32;
        let chosen = match (record.partition, record.key) {
            (Some(partition), _) => Some(partition),
            (None, Some(key)) => Some(partition_for_key(key, count)),
            (None, None) => None,
        };
        if let Some(partition) = chosen {
            let Some(queue) = partitions.get(partition.0 as usize) else {
                return Err(ProduceError::Topic(ClientError::UnknownPartition {
                    topic: self.name.to_string(),
                    partition,
                    partitions: count,
                }));
            };
            return accepted(queue.push(&new, limits)?);
        }
        limits.joins_only = count > 1;
        let sticky = self.sticky.load(Relaxed);
        if let Pushed::Accepted(delivery) =
            partitions[(sticky % count) as usize].push(&new, limits)?
        {
            return Ok(delivery);
        }
        limits.joins_only = false;
        let next = self.stick_to_next(sticky, &partitions);
        accepted(next.push(&new, limits)?)
    }

    /// The next partition that has a leader; the next one if none has.
    fn stick_to_next<'a>(
        &self,
        sticky: u32,
        partitions: &'a [Arc<PartitionQueue>],
    ) -> &'a Arc<PartitionQueue> {
        let count = partitions.len() as u32;
        let at = |step: u32| (sticky.wrapping_add(step) % count) as usize;
        let step = (1..=count)
            .find(|&step| partitions[at(step)].is_available())
            .unwrap_or(1);
        // Wraps where it does not matter: below the greatest multiple of the count.
        let next = at(step);
        self.sticky.store(next as u32, Relaxed);
        &partitions[next]
    }
}

fn accepted(pushed: Pushed) -> Result<Delivery, ProduceError> {
    match pushed {
        Pushed::Accepted(delivery) => Ok(delivery),
        Pushed::NeedsBatch => Err(ProduceError::BufferFull),
    }
}
