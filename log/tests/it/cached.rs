//! Reads that do not wait for the disk.

use std::{path::Path, sync::Arc};

use taffrail_core::Offset;
use taffrail_log::{
    LogConfig, MappedMax, PartitionLog, StdDisk,
    disk::{Disk as _, OpenMode},
    sim::SimDisk,
};

use crate::common::{OnDisk, append, batch, identity, small, sync};

const ALL: Offset = Offset(u64::MAX);

fn large() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 20,
        ..small()
    }
}

#[test]
fn pages_that_left_the_cache_are_read_by_those_who_may_wait_only() {
    // Not where temporary files are: that may be a file system without a medium.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("directory");
    let dir = dir.path().join("p");
    let disk = Arc::new(StdDisk::default());
    let mut log = PartitionLog::create(disk.clone(), &dir, &identity(), large()).expect("create");
    for i in 0..20 {
        append(&mut log, batch(10, 50_000), i);
    }
    sync(&mut log);
    let reader = log.reader();
    let first = reader.read(Offset::ZERO, 500_000, ALL).expect("read");
    let next = first.next_offset;
    let warm = reader.read_cached(next, 500_000, ALL).expect("read");
    assert!(warm.is_some(), "just written, and it follows a read");

    let file = dir.join("00000000000000000000.log");
    let file = disk.open(&file, OpenMode::Read).expect("open");
    file.forget_cached(0..u64::MAX).expect("forgotten");
    let next = warm.expect("read").next_offset;
    assert_eq!(reader.read_cached(next, 500_000, ALL).expect("read"), None);
    let waited = reader.read(next, 500_000, ALL).expect("read");
    assert!(!waited.chunks.is_empty());
    let again = reader.read_cached(next, 500_000, ALL).expect("read");
    assert_eq!(again, Some(waited), "it is in the cache now");
}

#[test]
fn what_nobody_reads_leaves_the_cache_once_it_is_durable_but_for_its_end() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("directory");
    let dir = dir.path().join("p");
    let disk = Arc::new(StdDisk::default());
    let config = LogConfig {
        segment_bytes: 4 << 20,
        ..small()
    };
    let mut log = PartitionLog::create(disk.clone(), &dir, &identity(), config).expect("create");
    while log.reader().segments().len() < 2 {
        append(&mut log, batch(10, 50_000), 0);
    }
    for _ in 0..4 {
        append(&mut log, batch(10, 50_000), 0);
    }
    let segments = log.reader().segments();
    let is_cached = |segment: usize, position| {
        let name = format!("{:020}.log", segments[segment].base_offset.0);
        let file = disk.open(&dir.join(name), OpenMode::Read).expect("open");
        let read = file.read_cached_at(&mut [0; 100], position).expect("read");
        read.is_some()
    };
    let token = log.sync_token();
    token.forget_cached(0);
    assert!(is_cached(0, 0) && is_cached(1, 0), "not written yet");
    token.sync().expect("synced");
    token.forget_cached(600_000);
    assert!(!is_cached(0, 0), "a whole segment");
    assert!(!is_cached(1, 0), "the start of the active one");
    assert!(is_cached(1, 1_900_000), "its end");
    log.synced(&token).expect("synced");
    let read = log.reader().read(Offset::ZERO, 1_000_000, ALL);
    assert!(!read.expect("read").chunks.is_empty(), "from the disk");
}

#[test]
fn small_reads_ask_the_cache_too() {
    let disk = SimDisk::new(1);
    let mut log = OnDisk::on(Arc::new(disk.clone())).create(small());
    append(&mut log, batch(2, 10), 0);
    append(&mut log, batch(2, 10), 0);
    let reader = log.reader();
    disk.set_uncached(Some(".log"));
    assert_eq!(
        reader.read_cached(Offset::ZERO, 9_999, ALL).expect("read"),
        None
    );
    disk.set_uncached(None);
    disk.set_short_io(true);
    let cached = reader.read_cached(Offset::ZERO, 9_999, ALL).expect("read");
    let waited = reader.read(Offset::ZERO, 9_999, ALL).expect("read");
    assert_eq!(cached.expect("cached"), waited);
    assert_eq!(waited.next_offset, Offset(4));
}

#[test]
fn whoever_may_not_wait_opens_no_file_and_searches_none() {
    let disk = SimDisk::new(1);
    let mut log = OnDisk::on(Arc::new(disk.clone())).create(small());
    while log.reader().segments().len() < 3 {
        append(&mut log, batch(1, 100), 0);
    }
    sync(&mut log);
    let reader = log.reader();
    let sealed = reader.read_cached(Offset::ZERO, 9_999, ALL).expect("read");
    assert_eq!(sealed, None, "a sealed file is not open");
    let active = reader.segments().last().expect("one").base_offset;
    assert_eq!(active.0 + 1, reader.log_end().0, "one batch");
    append(&mut log, batch(1, 100), 0);
    let within = Offset(active.0 + 1);
    assert_eq!(reader.read_cached(within, 9_999, ALL).expect("read"), None);
    let read = reader.read_cached(active, 1, ALL).expect("read");
    assert_eq!(read.expect("cached").next_offset, within);
    let read = reader.read_cached(within, 9_999, ALL).expect("read");
    assert!(read.is_some(), "it is known from the read before");
}

#[test]
fn more_than_two_megabytes_are_for_those_who_may_wait() {
    let mut log = OnDisk::std().create(large());
    append(&mut log, batch(50, 50_000), 0);
    let reader = log.reader();
    assert!(reader.read(Offset::ZERO, 1, ALL).is_ok());
    assert_eq!(
        reader.read_cached(Offset::ZERO, 1, ALL).expect("read"),
        None,
        "one batch"
    );
}

/// How many files below `dir` are mapped.
fn mapped(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let dir = dir.to_string_lossy();
    maps.lines().filter(|line| line.contains(&*dir)).count()
}

#[test]
fn the_mappings_of_all_logs_are_few_in_number_and_size() {
    let dir = tempfile::tempdir().expect("directory");
    let disk = Arc::new(StdDisk::new(MappedMax {
        files: 8,
        bytes: 1 << 30,
    }));
    let logs = ["a", "b", "c"].map(|name| {
        let dir = dir.path().join(name);
        let mut log =
            PartitionLog::create(disk.clone(), &dir, &identity(), small()).expect("create");
        while log.reader().segments().len() < 20 {
            append(&mut log, batch(1, 1_000), 0);
        }
        sync(&mut log);
        log
    });
    let first = logs[0].reader().read(Offset::ZERO, 1, ALL).expect("read");
    let copy = first.chunks[0].to_vec();
    for log in &logs {
        let read = log.reader().read(Offset::ZERO, 1 << 20, ALL).expect("read");
        assert_eq!(read.next_offset, log.log_end());
        drop(read);
        // What was read is still held for one of them.
        let mapped = mapped(dir.path());
        assert!((7..=9).contains(&mapped), "{mapped} files");
    }
    assert_eq!(first.chunks[0], copy, "what a reader holds stays good");
    drop((logs, first));
    assert_eq!(mapped(dir.path()), 0, "nothing outlives its log");
}

#[test]
fn files_of_which_much_was_read_are_unmapped_sooner() {
    let dir = tempfile::tempdir().expect("directory");
    let disk = Arc::new(StdDisk::new(MappedMax {
        files: 1_000,
        bytes: 20_000,
    }));
    let mut log = PartitionLog::create(disk, dir.path(), &identity(), small()).expect("create");
    while log.reader().segments().len() < 20 {
        append(&mut log, batch(1, 1_000), 0);
    }
    sync(&mut log);
    drop(log.reader().read(Offset::ZERO, 1 << 20, ALL).expect("read"));
    let mapped = mapped(dir.path());
    assert!((4..=8).contains(&mapped), "{mapped} files of 4 KB");
}
