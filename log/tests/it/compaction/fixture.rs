//! A compacted log on a simulated disk.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use taffrail_core::Offset;
use taffrail_log::{
    Compacted, CompactionConfig, LogConfig, LogError, PartitionLog, inspect, sim::SimDisk,
};
use taffrail_record::{BatchBuilder, Compression, NewRecord, ProducerStamp, records, split};

use crate::common::{OnDisk, small, sync, try_append};

/// Offset -> key and value.
pub(super) type Records = BTreeMap<u64, (Option<Bytes>, Option<Bytes>)>;

pub(super) const TOMBSTONE_RETENTION_MS: i64 = 60_000;

/// Small segments, compacted as soon as they may be.
pub(super) fn compacted() -> LogConfig {
    LogConfig {
        segment_bytes: 1_000,
        compaction: Some(CompactionConfig {
            min_lag: Duration::ZERO,
            tombstone_retention: Duration::from_millis(TOMBSTONE_RETENTION_MS as u64),
        }),
        ..small()
    }
}

pub(super) fn key(k: u32) -> Vec<u8> {
    format!("key-{k}").into_bytes()
}

pub(super) fn text(n: u32) -> Vec<u8> {
    format!("value {n} {}", "abc".repeat(10)).into_bytes()
}

pub(super) fn keyed(
    compression: Compression,
    producer: ProducerStamp,
    records: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
) -> Bytes {
    let mut builder = BatchBuilder::new(compression).with_producer(producer);
    for (key, value) in records {
        builder.push(&NewRecord {
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
            timestamp_ms: 1_000,
        });
    }
    builder.build().expect("records")
}

/// A batch that says it is compressed, and does not decompress. Its checksum is right: a producer sent it so.
pub(super) fn unreadable() -> Bytes {
    let records = (0..3).map(|_| (key(1), Some(vec![b'x'; 200])));
    let batch = keyed(Compression::Zstd, ProducerStamp::NONE, records);
    let mut batch = batch.to_vec();
    let body = &mut batch[61..];
    body.fill(0xff);
    // Numbers that are the same, so that the checksum is made again.
    taffrail_record::with_producer(&batch, ProducerStamp::NONE)
}

pub(super) struct Fixture {
    pub(super) disk: SimDisk,
    pub(super) place: OnDisk,
    pub(super) config: LogConfig,
    pub(super) log: PartitionLog,
    pub(super) epoch: u32,
    pub(super) now_ms: i64,
}

impl Fixture {
    pub(super) fn new(config: LogConfig) -> Self {
        let disk = SimDisk::new(7);
        let place = OnDisk::on(Arc::new(disk.clone()));
        Self {
            log: place.create(config.clone()),
            disk,
            place,
            config,
            epoch: 1,
            now_ms: 1_000_000,
        }
    }

    pub(super) fn append(
        &mut self,
        compression: Compression,
        records: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) {
        self.append_batch(keyed(compression, ProducerStamp::NONE, records));
    }

    pub(super) fn append_batch(&mut self, batch: Bytes) {
        try_append(&mut self.log, &[batch], self.epoch, self.now_ms).expect("append");
    }

    /// Everything is durable, committed and noted as such.
    pub(super) fn settle(&mut self) {
        sync(&mut self.log);
        self.log
            .checkpoint(self.log.durable_end())
            .expect("checkpoint");
    }

    pub(super) fn compact(&mut self) -> Option<Compacted> {
        self.compact_with(1 << 20, |_| true)
    }

    pub(super) fn compact_with(
        &mut self,
        map_bytes: usize,
        pace: impl FnMut(u64) -> bool,
    ) -> Option<Compacted> {
        self.try_compact(map_bytes, pace).expect("compaction")
    }

    /// `None`: no pass is due, or it was stopped.
    pub(super) fn try_compact(
        &mut self,
        map_bytes: usize,
        pace: impl FnMut(u64) -> bool,
    ) -> Result<Option<Compacted>, LogError> {
        let Some(pass) = self.log.plan_compaction(self.now_ms, Offset(u64::MAX))? else {
            return Ok(None);
        };
        let result = pass.run(map_bytes, pace);
        self.log.compaction_done(pass, result)
    }

    pub(super) fn records(&self) -> Records {
        records_of(&self.log)
    }

    /// Below `cleaned_to` there is of each key what is its last record there, and nothing else; above it everything.
    pub(super) fn check_kept(&self, before: &Records, cleaned_to: Offset) {
        let last: BTreeMap<_, _> = before
            .range(..cleaned_to.0)
            .map(|(offset, (key, _))| (key.clone(), *offset))
            .collect();
        let expected: Records = before
            .iter()
            .filter(|(offset, (key, _))| {
                **offset >= cleaned_to.0 || key.is_none() || last[key] == **offset
            })
            .map(|(offset, record)| (*offset, record.clone()))
            .collect();
        assert_eq!(self.records(), expected);
    }

    /// Nothing is invented, moved or changed, and the newest value of every key is there.
    pub(super) fn check_is_subset_of(&self, before: &Records) {
        let after = self.records();
        for (offset, record) in &after {
            assert_eq!(before.get(offset), Some(record), "offset {offset}");
        }
        assert_eq!(newest(&after), newest(before));
    }

    /// Files of compaction that no segment has.
    pub(super) fn left_over(&self) -> Vec<String> {
        let mut names = self.place.disk.list(&self.place.dir).expect("list");
        let is_ours = |name: &str| [".clean", ".swap"].iter().any(|end| name.ends_with(end));
        names.retain(|name| is_ours(name));
        names
    }

    pub(super) fn log_path(&self, base: Offset) -> PathBuf {
        self.place.dir.join(format!("{:020}.log", base.0))
    }

    pub(super) fn remove_file(&self, name: &str) {
        let path = self.place.dir.join(name);
        self.place.disk.remove(&path).expect("remove");
    }

    /// Closes the log and opens it again; what is there is sound.
    pub(super) fn reopen(&mut self) {
        let elsewhere = OnDisk::on(Arc::new(SimDisk::new(0)));
        let log = std::mem::replace(&mut self.log, elsewhere.create(self.config.clone()));
        let end = log.log_end();
        log.close(end).expect("close");
        self.open();
    }

    pub(super) fn open_as_it_is(&mut self) {
        self.log = self.place.open(self.config.clone()).expect("open").log;
    }

    pub(super) fn open(&mut self) {
        self.open_as_it_is();
        let disk = Arc::new(self.disk.clone());
        let verified = inspect::verify(disk, &self.place.dir).expect("verify");
        assert_eq!(verified.findings, []);
        assert_eq!(self.left_over(), Vec::<String>::new());
    }
}

/// Every record, in batches without gaps.
pub(super) fn records_of(log: &PartitionLog) -> Records {
    let reader = log.reader();
    let mut all = Records::new();
    let mut at = reader.log_start();
    while at < reader.log_end() {
        let read = reader.read(at, 1_500, Offset(u64::MAX)).expect("read");
        assert!(read.next_offset > at, "a read goes on");
        for batch in read.chunks.iter().flat_map(split) {
            let (header, batch) = batch.expect("whole batches");
            taffrail_record::verify(&batch).expect("sound batches");
            assert_eq!(header.base_offset, at, "offsets have no gaps");
            at = header.next_offset();
            let Ok(records) = records(batch, 1 << 20) else {
                continue;
            };
            for record in records {
                let record = record.expect("sound records");
                all.insert(record.offset.0, (record.key, record.value));
            }
        }
        assert_eq!(at, read.next_offset);
    }
    all
}

/// The last value of each key that has one.
pub(super) fn newest(records: &Records) -> BTreeMap<Bytes, Bytes> {
    let mut newest = BTreeMap::new();
    for (key, value) in records.values() {
        match (key, value) {
            (Some(key), Some(value)) => {
                newest.insert(key.clone(), value.clone());
            }
            (Some(key), None) => {
                newest.remove(key);
            }
            (None, _) => {}
        }
    }
    newest
}
