//! Disks that fail.

use std::sync::Arc;

use taffrail_core::{ErrorCode, Offset};
use taffrail_log::{
    LogConfig, LogError, PartitionLog,
    sim::{Fault, Loss, Operation, SimDisk, end_on_medium},
};

use crate::common::{OnDisk, append, batch, headers_from, small, sync, try_append};

fn sim() -> (SimDisk, OnDisk) {
    let disk = SimDisk::new(11);
    let place = OnDisk::on(Arc::new(disk.clone()));
    (disk, place)
}

fn is_poisoned(log: &mut PartitionLog) -> bool {
    let error = try_append(log, &[batch(1, 1)], 1, 0);
    matches!(error, Err(LogError::Poisoned { .. }))
}

#[test]
fn a_failed_sync_poisons_and_is_never_retried_as_if_nothing_had_happened() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    append(&mut log, batch(1, 10), 0);
    sync(&mut log);
    append(&mut log, batch(1, 10), 0);
    let (first, second) = (log.sync_token(), log.sync_token());
    disk.inject(Fault::on(Operation::Sync, ".log").once());
    assert!(matches!(first.sync(), Err(LogError::Io { .. })));
    // The disk would say yes now, but what it lost stays lost.
    assert!(matches!(second.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(
        log.synced(&second),
        Err(LogError::Poisoned { .. })
    ));
    assert_eq!(log.durable_end(), Offset(1));
    assert!(is_poisoned(&mut log));
    assert!(log.checkpoint(Offset(1)).is_err());
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 2, "readers go on");
    assert!(log.close(Offset(1)).is_err());
    disk.crash(Loss::Everything);
    assert_eq!(place.open(small()).expect("open").log.log_end(), Offset(1));
}

#[test]
fn what_a_failed_sync_lost_is_not_believed_after_a_restart() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    append(&mut log, batch(1, 10), 0);
    sync(&mut log);
    log.checkpoint(Offset(1)).expect("checkpoint");
    append(&mut log, batch(1, 10), 0);
    disk.inject(Fault::on(Operation::Sync, ".log").once());
    assert!(log.sync_token().sync().is_err());
    assert_eq!(
        headers_from(&log, Offset::ZERO).len(),
        2,
        "the cache still has it"
    );
    drop(log);
    // The process was killed; the machine, and its cache, went on.
    disk.crash(Loss::Nothing);
    let log = place.open(small()).expect("open").log;
    assert_eq!(log.log_end(), Offset(1));
}

#[test]
fn a_failed_write_poisons_and_leaves_nothing_half_written() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    append(&mut log, batch(1, 10), 0);
    disk.inject(Fault::on(Operation::Write, ".log"));
    assert!(matches!(
        try_append(&mut log, &[batch(1, 10)], 1, 0),
        Err(LogError::Io { .. })
    ));
    disk.heal();
    assert!(is_poisoned(&mut log));
    assert_eq!(log.reader().log_end(), Offset(1));
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers_by_itself() {
    let (disk, place) = sim();
    let mut log = place.create(LogConfig {
        retention_bytes: Some(4096),
        ..small()
    });
    for _ in 0..40 {
        append(&mut log, batch(1, 200), 0);
    }
    sync(&mut log);
    let end = log.log_end();
    disk.set_capacity(Some(0));
    let mut refused = 0;
    for _ in 0..40 {
        // Reserved room may take the first ones.
        match try_append(&mut log, &[batch(1, 200), batch(2, 300)], 1, 0) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::DiskFull);
                assert_eq!(error.fault(), None);
                refused += 1;
            }
        }
    }
    assert!(refused > 30);
    let full_end = log.log_end();
    assert_eq!(
        headers_from(&log, Offset::ZERO)
            .last()
            .expect("batches")
            .next_offset(),
        full_end
    );
    disk.set_capacity(Some(1 << 20));
    sync(&mut log);
    log.expire(0, full_end).expect("expire");
    let appended = append(&mut log, batch(1, 200), 0);
    assert_eq!(appended.base_offset, full_end);
    assert!(full_end >= end);
    sync(&mut log);
    disk.crash(Loss::Everything);
    assert_eq!(
        place.open(small()).expect("open").log.log_end(),
        appended.next_offset
    );
}

#[test]
fn after_a_crash_a_log_opens_on_a_full_disk() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    append(&mut log, batch(1, 10), 0);
    sync(&mut log);
    drop(log);
    disk.crash(Loss::Nothing);
    disk.set_capacity(Some(0));
    let mut log = place.open(small()).expect("serves what it has").log;
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 1);
    disk.set_capacity(None);
    append(&mut log, batch(1, 10), 0);
    sync(&mut log);
    log.checkpoint(Offset(2)).expect("there is room again");
    drop(log);
    disk.crash(Loss::Everything);
    assert_eq!(place.open(small()).expect("open").log.log_end(), Offset(2));
}

#[test]
fn a_full_disk_in_the_middle_of_an_append_takes_all_of_it_back() {
    for room in (0..3200).step_by(61) {
        let (disk, place) = sim();
        let large = LogConfig {
            segment_bytes: 1 << 20,
            ..small()
        };
        let mut log = place.create(large.clone());
        // So much that no room is reserved ahead.
        append(&mut log, batch(1, 40_000), 0);
        sync(&mut log);
        log.checkpoint(Offset(1)).expect("checkpoint");
        let used = 1_000_000 - disk_available(&disk);
        disk.set_capacity(Some(used + room));
        let batches = [batch(1, 3000), batch(1, 10), batch(1, 10)];
        let _ = try_append(&mut log, &batches, 1, 0).expect_err("no room");
        disk.set_capacity(None);
        append(&mut log, batch(1, 20), 0);
        drop(log);
        disk.crash(Loss::Nothing);
        let opened = place.open(large).expect("open");
        assert_eq!(opened.log.log_end(), Offset(2), "room {room}");
    }
}

fn disk_available(disk: &SimDisk) -> u64 {
    use taffrail_log::Disk;
    disk.set_capacity(Some(1_000_000));
    let space = disk.space(std::path::Path::new("/")).expect("space");
    disk.set_capacity(None);
    space.available_bytes
}

#[test]
fn a_segment_whose_index_cannot_be_written_is_sealed_by_a_later_sync() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    disk.inject(Fault::on(Operation::Write, "index").no_space());
    while log.reader().segments().len() < 3 {
        append(&mut log, batch(1, 200), 0);
    }
    sync(&mut log);
    assert_eq!(
        log.durable_end(),
        log.log_end(),
        "the records themselves are durable"
    );
    assert_eq!(log.unsealed_segments(), 2);
    disk.heal();
    sync(&mut log);
    assert_eq!(log.unsealed_segments(), 0);
    assert!(log.reader().segments()[0].crc32.is_some());
}

#[test]
fn segments_that_were_not_sealed_before_a_crash_are_sealed_on_opening() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    disk.inject(Fault::on(Operation::Rename, ".seal"));
    while log.reader().segments().len() < 4 {
        append(&mut log, batch(1, 200), 0);
    }
    sync(&mut log);
    let end = log.log_end();
    drop(log);
    disk.crash(Loss::Everything);
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.segments_sealed, 3);
    assert_eq!(opened.log.log_end(), end);
    assert!(
        opened
            .log
            .reader()
            .verify_segment(Offset::ZERO)
            .expect("sound")
    );
}

#[test]
fn a_read_error_is_an_error_of_that_read_only() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    append(&mut log, batch(1, 10), 0);
    disk.inject(Fault::on(Operation::Read, ".log").once());
    let reader = log.reader();
    let error = reader.read(Offset::ZERO, 100, Offset(1)).expect_err("EIO");
    assert!(
        error
            .to_string()
            .contains("cannot read /data/p/00000000000000000000.log"),
        "{error}"
    );
    assert!(reader.read(Offset::ZERO, 100, Offset(1)).is_ok());
    append(&mut log, batch(1, 10), 0);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
    ] {
        let (disk, place) = sim();
        let mut log = place.create(small());
        for _ in 0..5 {
            append(&mut log, batch(1, 10), 0);
        }
        sync(&mut log);
        log.checkpoint(Offset(5)).expect("checkpoint");
        append(&mut log, batch(1, 10), 0);
        sync(&mut log);
        disk.inject(Fault::on(operation, "checkpoint"));
        assert!(log.checkpoint(Offset(6)).is_err(), "{operation:?}");
        disk.heal();
        append(&mut log, batch(1, 10), 0);
        disk.crash(Loss::Everything);
        let opened = place.open(small()).expect("open");
        assert_eq!(opened.log.high_watermark(), Offset(5));
        assert_eq!(opened.log.log_end(), Offset(6));
    }
}

#[test]
fn a_poisoned_log_tells_why() {
    let (_, place) = sim();
    let mut log = place.create(small());
    log.poison("the volume went away");
    let error = try_append(&mut log, &[batch(1, 1)], 1, 0).expect_err("poisoned");
    assert!(error.to_string().contains("the volume went away"));
    assert_eq!(error.code(), ErrorCode::PartitionOffline);
}

#[test]
fn the_end_on_the_medium_moves_with_what_was_synced_and_with_nothing_else() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    let end = |from| end_on_medium(&disk, &place.dir, from).expect("no fault strikes");
    append(&mut log, batch(1, 10), 0);
    assert_eq!(end(Offset(0)), Offset(0), "it is in the cache");
    sync(&mut log);
    assert_eq!(end(Offset(0)), Offset(1));
    // Over several segments, from the first and from a later one.
    for _ in 0..20 {
        append(&mut log, batch(1, 300), 0);
    }
    sync(&mut log);
    append(&mut log, batch(1, 10), 0);
    for from in [0, 1, 20] {
        assert_eq!(end(Offset(from)), Offset(21), "from {from}");
    }
    log.truncate(Offset(7)).expect("truncate");
    assert_eq!(end(Offset(3)), Offset(7));
}
