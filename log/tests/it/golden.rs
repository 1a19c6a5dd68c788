//! The bytes of the released format, kept for ever. `TAFFRAIL_WRITE_FIXTURES=1 cargo test -p taffrail-log golden` writes them for a new one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use taffrail_core::{LeaderEpoch, Offset, replica::EpochStart};
use taffrail_log::{
    CompactionConfig, LogConfig, PartitionLog,
    inspect::{self, Verified},
    read_identity,
    sim::SimDisk,
};
use taffrail_record::{BatchBuilder, Compression, NewRecord, ProducerStamp};

use crate::common::{OnDisk, batch_at, headers_from, identity, small, sync, try_append};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        ..small()
    }
}

/// `v1`; `v1-compacted`: the same after a pass of compaction; `v2-compacted`: as that is written now, with a delete horizon in `cleaned`.
fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(name)
}

/// Three segments, two epochs, times out of order; cleanly stopped.
fn written_now() -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new(0);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(config());
    for (i, epoch) in [1, 1, 1, 2, 2, 2, 2].into_iter().enumerate() {
        let time_ms = 1_357_000_000_000 - i as i64 * 60_000;
        let batch = batch_at(time_ms, 2, 100);
        let now_ms = 1_760_000_000_000 + i as i64 * 1000;
        try_append(&mut log, &[batch], epoch, now_ms).expect("append");
    }
    sync(&mut log);
    log.close(Offset(12)).expect("close");
    files(&disk, &place)
}

/// Three producers, of which two keys are left, a tombstone, and offsets without records.
fn compacted_now() -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new(0);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(compacting());
    for i in 0..20_i32 {
        let producer = ProducerStamp {
            id: 1 + i64::from(i % 3),
            epoch: 0,
            base_sequence: i / 3 * 2,
        };
        let producer = if i < 12 {
            producer
        } else {
            ProducerStamp::NONE
        };
        let mut builder = BatchBuilder::new(Compression::None).with_producer(producer);
        for key in [i % 2, 2 + i % 5] {
            builder.push(&NewRecord {
                key: Some(&[b'a' + key as u8]),
                value: (key != 4 || i < 12).then_some(&[b'x'; 60]),
                timestamp_ms: 1_357_000_000_000 + i64::from(i),
                ..NewRecord::default()
            });
        }
        let batch = builder.build().expect("records");
        let now_ms = 1_760_000_000_000 + i64::from(i) * 1000;
        try_append(&mut log, &[batch], 1 + (i / 8).cast_unsigned(), now_ms).expect("append");
    }
    sync(&mut log);
    log.checkpoint(Offset(40)).expect("checkpoint");
    let pass = log
        .plan_compaction(1_760_000_100_000, Offset(u64::MAX))
        .expect("sound");
    let pass = pass.expect("due");
    let result = pass.run(1 << 20, |_| true);
    log.compaction_done(pass, result).expect("compacted");
    log.close(Offset(40)).expect("close");
    files(&disk, &place)
}

fn compacting() -> LogConfig {
    LogConfig {
        compaction: Some(CompactionConfig {
            min_lag: Duration::ZERO,
            tombstone_retention: Duration::from_hours(1),
        }),
        ..config()
    }
}

fn files(disk: &SimDisk, place: &OnDisk) -> BTreeMap<String, Vec<u8>> {
    let names = place.disk.list(&place.dir).expect("list");
    let content = |name: String| {
        let bytes = disk.content(&place.dir.join(&name));
        (name, bytes)
    };
    names.into_iter().map(content).collect()
}

#[test]
fn the_bytes_that_are_written_are_those_of_the_golden_directory() {
    check_golden("v1", &written_now());
}

#[test]
fn the_bytes_that_compaction_writes_are_those_of_the_golden_directory() {
    check_golden("v2-compacted", &compacted_now());
}

fn check_golden(name: &str, written: &BTreeMap<String, Vec<u8>>) {
    let fixture = fixture(name);
    if std::env::var_os("TAFFRAIL_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(&fixture).expect("fixture directory");
        for (name, bytes) in written {
            fs::write(fixture.join(name), bytes).expect("write");
        }
    }
    let names = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let listed = fs::read_dir(&fixture).expect("the golden directory");
    let mut golden: Vec<String> = listed.map(|e| names(e.expect("entry"))).collect();
    golden.sort();
    assert_eq!(golden, written.keys().cloned().collect::<Vec<_>>());
    for (name, bytes) in written {
        let kept = fs::read(fixture.join(name)).expect("read");
        assert!(
            kept == *bytes,
            "{name} changed: a new format needs a new version"
        );
    }
}

/// A copy of a golden directory, which is sound.
fn copied(name: &str) -> (OnDisk, Verified) {
    let place = OnDisk::std();
    fs::create_dir_all(&place.dir).expect("directory");
    for entry in fs::read_dir(fixture(name)).expect("the golden directory") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, place.dir.join(name)).expect("copy");
    }
    let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
    assert_eq!(verified.findings, []);
    (place, verified)
}

#[test]
fn the_golden_directory_of_a_compacted_log_is_read() {
    check_compacted("v2-compacted", Offset(0));
}

/// It does not say which tombstones went: any may have that was clean.
#[test]
fn the_golden_directory_of_a_compacted_log_without_a_delete_horizon_is_read() {
    check_compacted("v1-compacted", Offset(36));
}

fn check_compacted(name: &str, delete_horizon: Offset) {
    let (place, verified) = copied(name);
    assert_eq!(verified.log_end, Offset(40));
    assert!(verified.records < 20, "of 40: {}", verified.records);
    let mut log = place.open(compacting()).expect("open").log;
    assert_eq!(log.epochs().len(), 3);
    assert_eq!(log.producers().remembered().count(), 12);
    assert_eq!(log.delete_horizon(), delete_horizon);
    let headers = headers_from(&log, Offset::ZERO);
    assert!(
        headers
            .iter()
            .any(|h| h.record_count == 0 && h.producer_id < 0)
    );
    let due = |log: &mut PartitionLog, now_ms| {
        log.plan_compaction(now_ms, Offset(u64::MAX))
            .expect("sound")
            .is_some()
    };
    let done_ms = 1_760_000_100_000;
    assert!(
        !due(&mut log, done_ms + 3_600_000),
        "it knows what is clean"
    );
    assert!(
        due(&mut log, done_ms + 3_600_001),
        "and that there is a tombstone"
    );
}

#[test]
fn the_golden_directory_is_read() {
    let (place, verified) = copied("v1");
    assert_eq!(
        (verified.segments, verified.sealed, verified.records),
        (4, 3, 14)
    );
    assert_eq!(
        read_identity(&*place.disk, &place.dir).expect("identity"),
        identity()
    );
    let opened = place.open(config()).expect("open");
    assert!(opened.recovery.clean_stop);
    let log = opened.log;
    let start = |epoch, start| EpochStart {
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    };
    assert_eq!(log.epochs(), [start(1, 0), start(2, 6)]);
    assert_eq!(log.high_watermark(), Offset(12));
    assert_eq!(log.oldest_append_time_ms(), Some(1_760_000_000_000));
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 7);
    assert!(log.reader().verify_segment(Offset::ZERO).expect("sound"));
    let found = log
        .reader()
        .offset_for_timestamp(1_357_000_000_001)
        .expect("lookup");
    assert_eq!(found, Some((Offset(1), 1_357_000_000_001)));
}
