//! The bytes of the released format, kept for ever. `TAFFRAIL_WRITE_FIXTURES=1 cargo test -p taffrail-log golden` writes them for a new one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_core::{LeaderEpoch, Offset, replica::EpochStart};
use taffrail_log::{LogConfig, inspect, read_identity, sim::SimDisk};

use crate::common::{OnDisk, batch_at, headers_from, identity, small, sync, try_append};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        ..small()
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
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
    let names = place.disk.list(&place.dir).expect("list");
    let content = |name: String| {
        let bytes = disk.content(&place.dir.join(&name));
        (name, bytes)
    };
    names.into_iter().map(content).collect()
}

#[test]
fn the_bytes_that_are_written_are_those_of_the_golden_directory() {
    let written = written_now();
    if std::env::var_os("TAFFRAIL_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(fixture()).expect("fixture directory");
        for (name, bytes) in &written {
            fs::write(fixture().join(name), bytes).expect("write");
        }
    }
    let names = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let listed = fs::read_dir(fixture()).expect("the golden directory");
    let mut golden: Vec<String> = listed.map(|e| names(e.expect("entry"))).collect();
    golden.sort();
    assert_eq!(golden, written.keys().cloned().collect::<Vec<_>>());
    for (name, bytes) in &written {
        let kept = fs::read(fixture().join(name)).expect("read");
        assert!(
            kept == *bytes,
            "{name} changed: a new format needs a new version"
        );
    }
}

#[test]
fn the_golden_directory_is_read() {
    let place = OnDisk::std();
    fs::create_dir_all(&place.dir).expect("directory");
    for entry in fs::read_dir(fixture()).expect("the golden directory") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, place.dir.join(name)).expect("copy");
    }
    let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
    assert_eq!(verified.findings, []);
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
