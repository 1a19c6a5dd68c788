//! Fixtures of this crate's tests.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use taffrail_core::{ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use taffrail_log::{Appended, Disk, LogConfig, LogError, PartitionIdentity, PartitionLog};
use taffrail_record::{BatchBuilder, BatchHeader, Compression, NewRecord, ProducerStamp};

pub(crate) fn identity() -> PartitionIdentity {
    PartitionIdentity {
        cluster: ClusterId::from_bytes([1; 16]),
        topic: TopicId::from_bytes([2; 16]),
        partition: PartitionIndex(3),
        topic_name: "flights".to_owned(),
    }
}

/// Small segments with dense indexes, kept for ever.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 4096,
        segment_max_age: Duration::from_hours(1),
        retention: None,
        retention_bytes: None,
        index_interval_bytes: 256,
        compaction: None,
    }
}

/// A batch of `records` records of `value_bytes` bytes, of record times from `time_ms` on.
pub(crate) fn batch_at(time_ms: i64, records: u32, value_bytes: usize) -> Bytes {
    batch_of(ProducerStamp::NONE, time_ms, records, value_bytes)
}

/// The same, of an idempotent producer.
pub(crate) fn batch_of(
    producer: ProducerStamp,
    time_ms: i64,
    records: u32,
    value_bytes: usize,
) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).with_producer(producer);
    for i in 0..records {
        let value = vec![b'a' + (i % 26) as u8; value_bytes];
        builder.push(&NewRecord {
            key: None,
            value: Some(&value),
            headers: &[],
            timestamp_ms: time_ms + i64::from(i),
        });
    }
    builder.build().expect("records")
}

pub(crate) fn batch(records: u32, value_bytes: usize) -> Bytes {
    batch_at(1_000, records, value_bytes)
}

pub(crate) fn try_append(
    log: &mut PartitionLog,
    batches: &[Bytes],
    epoch: u32,
    now_ms: i64,
) -> Result<Appended, LogError> {
    let headers: Vec<BatchHeader> = batches
        .iter()
        .map(|b| BatchHeader::parse(b).expect("a batch"))
        .collect();
    log.append(batches, &headers, LeaderEpoch(epoch), now_ms)
}

pub(crate) fn append(log: &mut PartitionLog, batch: Bytes, now_ms: i64) -> Appended {
    try_append(log, &[batch], 1, now_ms).expect("append")
}

pub(crate) fn sync(log: &mut PartitionLog) {
    let token = log.sync_token();
    token.sync().expect("sync");
    log.synced(&token).expect("synced");
    let _ = seal(log);
}

/// Seals what can be sealed; says what became of it.
pub(crate) fn seal(log: &mut PartitionLog) -> Result<(), LogError> {
    let Some(upkeep) = log.plan_seal() else {
        return Ok(());
    };
    let result = upkeep.run();
    log.upkeep_done(upkeep, result).map(drop)
}

/// Everything from `from` on, as the headers of its batches.
pub(crate) fn headers_from(log: &PartitionLog, from: Offset) -> Vec<BatchHeader> {
    let reader = log.reader();
    let (mut at, mut headers) = (from, Vec::new());
    while at < reader.log_end() {
        let read = reader.read(at, 1500, Offset(u64::MAX)).expect("read");
        assert!(read.next_offset > at, "a read goes on");
        for chunk in &read.chunks {
            for batch in taffrail_record::split(chunk) {
                let (header, bytes) = batch.expect("whole batches");
                taffrail_record::verify(&bytes).expect("sound batches");
                headers.push(header);
            }
        }
        at = read.next_offset;
    }
    headers
}

pub(crate) struct OnDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    _keep: Option<tempfile::TempDir>,
}

impl OnDisk {
    pub(crate) fn std() -> Self {
        let keep = tempfile::tempdir().expect("temporary directory");
        Self {
            disk: Arc::new(taffrail_log::StdDisk::default()),
            dir: keep.path().join("p"),
            _keep: Some(keep),
        }
    }

    pub(crate) fn on(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            dir: PathBuf::from("/data/p"),
            _keep: None,
        }
    }

    pub(crate) fn create(&self, config: LogConfig) -> PartitionLog {
        PartitionLog::create(Arc::clone(&self.disk), &self.dir, &identity(), config)
            .expect("create")
    }

    pub(crate) fn open(&self, config: LogConfig) -> Result<taffrail_log::Opened, LogError> {
        PartitionLog::open(Arc::clone(&self.disk), &self.dir, config)
    }
}
