//! Records of one batch, as answers. Blocking: a batch may have to be decompressed.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message as _;
use taffrail_api::{
    WireError, convert,
    v1::{Header, SubscribeResponse, SubscribedRecord},
};
use taffrail_core::{ErrorCode, Offset};
use taffrail_record::{BatchError, Compression, Record, records};
use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{OwnedPermit, Sender},
    },
    task::spawn_blocking,
    time::timeout,
};

/// One answer, unless a single record is larger: gRPC clients refuse messages above 4 MiB if nobody tells them otherwise.
const ANSWER_BYTES: usize = 1 << 20;

/// A batch to unpack.
pub(super) struct Unpack {
    /// To be told with each record; empty: the client knows.
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) batch: Bytes,
    /// The records that are wanted: a batch may begin before, and reach beyond.
    pub(super) range: Range<Offset>,
    pub(super) records_max: usize,
    /// What it may decompress to.
    pub(super) bytes_max: usize,
    pub(super) runtime: Handle,
}

impl Unpack {
    /// As [`Self::run`], on a thread that may block, and of compressed batches no more at a time than `decompressions` has room for.
    pub(super) async fn deliver(
        self,
        slot: OwnedPermit<SubscribeResponse>,
        compression: Compression,
        decompressions: &Arc<Semaphore>,
    ) -> Result<Option<Offset>, WireError> {
        let permit = if compression == Compression::None {
            None
        } else {
            Arc::clone(decompressions).acquire_owned().await.ok()
        };
        let unpacked = spawn_blocking(move || {
            let unpacked = self.run(slot);
            drop(permit);
            unpacked
        });
        unpacked
            .await
            .map_err(|e| WireError::new(ErrorCode::Internal, format!("unpacking: {e}")))?
            .map_err(|e| WireError::new(e.code(), e.to_string()))
    }

    /// Sends answers until all is sent (`None`), or until the client is slower than the decompression was: then the decompressed batch is given up,
    /// and whoever calls goes on from the offset returned.
    pub(super) fn run(
        self,
        slot: OwnedPermit<SubscribeResponse>,
    ) -> Result<Option<Offset>, BatchError> {
        let started = Instant::now();
        let unpacked = records(self.batch.clone(), self.bytes_max)?;
        let patience = started.elapsed();
        let mut slot = Slot::Free(slot);
        let mut ready = Ready::default();
        for record in unpacked {
            let record = record?;
            if !self.range.contains(&record.offset) {
                continue;
            }
            let offset = record.offset;
            let record = to_wire(&self.topic, self.partition, record);
            if ready.is_full(&record, self.records_max) {
                slot = slot.send(ready.take());
                if !slot.wait(&self.runtime, patience) {
                    return Ok(Some(offset));
                }
            }
            ready.add(record);
        }
        if !ready.records.is_empty() {
            slot.send(ready.take());
        }
        Ok(None)
    }
}

/// Where the next answer goes.
enum Slot {
    Free(OwnedPermit<SubscribeResponse>),
    Used(Sender<SubscribeResponse>),
}

impl Slot {
    fn send(self, records: Vec<SubscribedRecord>) -> Self {
        match self {
            Self::Free(permit) => Self::Used(permit.send(SubscribeResponse {
                records,
                ..SubscribeResponse::default()
            })),
            Self::Used(sender) => Self::Used(sender),
        }
    }

    /// Is there room for another answer, within `patience`?
    fn wait(&mut self, runtime: &Handle, patience: Duration) -> bool {
        let Self::Used(sender) = self else {
            return true;
        };
        let free = runtime.block_on(timeout(patience, sender.clone().reserve_owned()));
        let Ok(Ok(permit)) = free else {
            return false;
        };
        *self = Self::Free(permit);
        true
    }
}

/// Records that become one answer.
#[derive(Default)]
struct Ready {
    records: Vec<SubscribedRecord>,
    bytes: usize,
}

impl Ready {
    /// Must what there is be sent before `next` is added?
    fn is_full(&self, next: &SubscribedRecord, records_max: usize) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= records_max || self.bytes + next.encoded_len() > ANSWER_BYTES)
    }

    fn add(&mut self, record: SubscribedRecord) {
        self.bytes += record.encoded_len();
        self.records.push(record);
    }

    fn take(&mut self) -> Vec<SubscribedRecord> {
        std::mem::take(self).records
    }
}

fn to_wire(topic: &str, partition: u32, record: Record) -> SubscribedRecord {
    SubscribedRecord {
        topic: topic.to_owned(),
        partition,
        offset: convert::offset_to_wire(record.offset),
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        headers: record
            .headers
            .into_iter()
            .map(|h| Header {
                key: h.key,
                value: h.value,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_record::{BatchBuilder, NewRecord};
    use tokio::sync::mpsc;

    use super::*;

    fn packed(records: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        let value = vec![b'x'; 700_000];
        for _ in 0..records {
            builder.push(&NewRecord {
                value: Some(&value),
                ..NewRecord::default()
            });
        }
        builder.build().expect("records")
    }

    async fn run(
        batch: &Bytes,
        range: Range<u64>,
        slot: OwnedPermit<SubscribeResponse>,
    ) -> Option<Offset> {
        let unpack = Unpack {
            topic: String::new(),
            partition: 3,
            batch: batch.clone(),
            range: Offset(range.start)..Offset(range.end),
            records_max: 500,
            bytes_max: 64 << 20,
            runtime: Handle::current(),
        };
        let unpacked = spawn_blocking(move || unpack.run(slot)).await;
        unpacked.expect("no panic").expect("sound")
    }

    #[tokio::test]
    async fn a_batch_is_given_up_while_its_client_takes_nothing_and_nothing_is_lost() {
        let batch = packed(9);
        let (sender, mut answers) = mpsc::channel::<SubscribeResponse>(2);
        let (mut from, mut taken, mut given_up) = (0, Vec::new(), 0);
        loop {
            let slot = sender.clone().reserve_owned().await.expect("open");
            let Some(next) = run(&batch, from..8, slot).await else {
                break;
            };
            given_up += 1;
            assert!(next.0 > from, "it goes on");
            from = next.0;
            while let Ok(answer) = answers.try_recv() {
                taken.extend(answer.records.iter().map(|r| r.offset));
            }
        }
        drop(sender);
        while let Some(answer) = answers.recv().await {
            taken.extend(answer.records.iter().map(|r| r.offset));
        }
        assert_eq!(taken, (0..8).collect::<Vec<_>>());
        assert!(given_up >= 3, "two answers at a time: {given_up}");
    }
}
