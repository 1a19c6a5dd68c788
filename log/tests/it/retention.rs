//! Expiry and truncation.

use std::{sync::Arc, time::Duration};

use taffrail_core::{LeaderEpoch, Offset};
use taffrail_log::{
    LogConfig, LogError,
    sim::{Fault, Loss, Operation, SimDisk},
};

use crate::common::{OnDisk, append, batch, batch_at, headers_from, small, sync, try_append};

fn an_hour() -> LogConfig {
    LogConfig {
        retention: Some(Duration::from_hours(1)),
        ..small()
    }
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn old_segments_go_by_append_time_whatever_the_record_time() {
    let place = OnDisk::std();
    let mut log = place.create(an_hour());
    // Records of 1970, appended now.
    for i in 0..60 {
        append(&mut log, batch_at(5, 1, 300), HOUR_MS + i * 1000);
    }
    sync(&mut log);
    let kept = log.expire(2 * HOUR_MS, Offset(60)).expect("expire");
    assert_eq!(kept.segments, 0, "nothing is an hour old");
    let expired = log
        .expire(2 * HOUR_MS + 30_000, Offset(60))
        .expect("expire");
    assert!(expired.segments >= 2 && expired.bytes > 0);
    assert!(expired.new_log_start > Offset(15) && expired.new_log_start <= Offset(30));
    assert_eq!(log.log_start(), expired.new_log_start);
    let error = log
        .reader()
        .read(Offset(3), 10, Offset(60))
        .expect_err("gone");
    assert!(
        matches!(error, LogError::OffsetOutOfRange { start, .. } if start == expired.new_log_start)
    );
    assert_eq!(
        log.oldest_append_time_ms(),
        Some(HOUR_MS + 1000 * expired.new_log_start.0 as i64)
    );
}

#[test]
fn a_clock_that_goes_back_ages_no_record() {
    let place = OnDisk::std();
    let mut log = place.create(an_hour());
    append(&mut log, batch_at(5, 1, 300), 2 * HOUR_MS);
    for _ in 0..30 {
        append(&mut log, batch_at(5, 1, 300), 0);
    }
    sync(&mut log);
    for now_ms in [0, 2 * HOUR_MS + 1_000] {
        let kept = log.expire(now_ms, Offset(31)).expect("expire");
        assert_eq!(kept.segments, 0, "nothing is an hour old");
    }
}

#[test]
fn the_active_segment_expires_too_and_offsets_go_on() {
    let place = OnDisk::std();
    let mut log = place.create(an_hour());
    try_append(&mut log, &[batch(7, 10)], 3, 0).expect("append");
    sync(&mut log);
    log.expire(2 * HOUR_MS, Offset(7)).expect("expire");
    assert_eq!((log.log_start(), log.log_end()), (Offset(7), Offset(7)));
    assert_eq!(log.oldest_append_time_ms(), None);
    drop(log);
    let mut log = place.open(an_hour()).expect("open").log;
    assert_eq!((log.log_start(), log.log_end()), (Offset(7), Offset(7)));
    assert_eq!(
        log.last_epoch(),
        Some(LeaderEpoch(3)),
        "the epoch is not forgotten with the records"
    );
    assert_eq!(append_epoch(&mut log, 3), Offset(7));
}

fn append_epoch(log: &mut taffrail_log::PartitionLog, epoch: u32) -> Offset {
    let appended = try_append(log, &[batch(1, 1)], epoch, 0);
    appended.expect("append").base_offset
}

#[test]
fn size_retention_keeps_at_least_what_was_asked_for() {
    let place = OnDisk::std();
    let mut log = place.create(LogConfig {
        retention_bytes: Some(10_000),
        ..small()
    });
    for i in 0..100 {
        append(&mut log, batch(1, 500), i);
    }
    sync(&mut log);
    log.expire(0, Offset(100)).expect("expire");
    assert!(
        (10_000..10_000 + 2 * 4096).contains(&log.bytes()),
        "{}",
        log.bytes()
    );
}

#[test]
fn nothing_above_the_high_watermark_expires() {
    let place = OnDisk::std();
    let mut log = place.create(an_hour());
    for i in 0..60 {
        append(&mut log, batch(1, 300), i);
    }
    sync(&mut log);
    let expired = log.expire(9 * HOUR_MS, Offset(20)).expect("expire");
    assert!(expired.new_log_start <= Offset(20) && expired.segments > 0);
}

#[test]
fn the_log_start_never_moves_back() {
    // A crash between the checkpoint and the removal of the files.
    let disk = SimDisk::new(3);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(an_hour());
    for i in 0..60 {
        append(&mut log, batch(1, 300), i);
    }
    sync(&mut log);
    disk.inject(Fault::on(Operation::Remove, ".log"));
    assert!(log.expire(9 * HOUR_MS, Offset(40)).is_err());
    let start = log.log_start();
    assert!(start > Offset::ZERO);
    drop(log);
    disk.crash(Loss::Everything);
    let log = place.open(an_hour()).expect("open").log;
    assert_eq!(log.log_start(), start);
    let names = place.disk.list(&place.dir).expect("list");
    assert!(!names.contains(&"00000000000000000000.log".to_owned()));
}

#[test]
fn a_held_read_outlives_its_segment() {
    let place = OnDisk::std();
    let mut log = place.create(an_hour());
    for i in 0..60 {
        append(&mut log, batch(1, 300), i);
    }
    sync(&mut log);
    let read = log
        .reader()
        .read(Offset::ZERO, 4000, Offset(60))
        .expect("read");
    let copy = read.chunks.concat();
    log.expire(9 * HOUR_MS, Offset(60)).expect("expire");
    assert_eq!(read.chunks.concat(), copy);
}

#[test]
fn a_truncated_log_forgets_batches_epochs_and_times() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for epoch in 1..=6 {
        for i in 0..10 {
            try_append(
                &mut log,
                &[batch_at(i64::from(epoch) * 1000, 2, 100)],
                epoch,
                i,
            )
            .expect("append");
        }
    }
    sync(&mut log);
    assert_eq!(
        log.truncate(Offset(51)).expect("truncate"),
        Offset(50),
        "a batch goes as a whole"
    );
    assert_eq!(log.log_end(), Offset(50));
    assert_eq!(log.durable_end(), Offset(50));
    assert_eq!(log.last_epoch(), Some(LeaderEpoch(3)));
    assert_eq!(
        log.reader().offset_for_timestamp(4000).expect("lookup"),
        None
    );
    assert_eq!(log.reader().log_end(), Offset(50));
    assert_eq!(append_epoch(&mut log, 4), Offset(50));
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 26);
    log.close(Offset(50)).expect("close");
    let log = place.open(small()).expect("open").log;
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 26);
}

#[test]
fn a_crash_in_the_middle_of_a_truncation_leaves_the_old_or_the_new_end() {
    for fail_after in 0..12 {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let place = OnDisk::on(Arc::new(disk.clone()));
            let mut log = place.create(small());
            for i in 0..60 {
                append(&mut log, batch(1, 300), i);
            }
            sync(&mut log);
            log.checkpoint(Offset(20)).expect("checkpoint");
            for operation in [Operation::Remove, Operation::Rename, Operation::Sync] {
                disk.inject(Fault::on(operation, "").after(fail_after));
            }
            let done = log.truncate(Offset(25)).is_ok();
            drop(log);
            disk.crash(Loss::Tails);
            let log = place.open(small()).expect("open").log;
            let end = log.log_end().0;
            assert!((25..=60).contains(&end), "{end}");
            assert!(!done || end == 25);
            assert_eq!(headers_from(&log, Offset::ZERO).len() as u64, end);
        }
    }
}

#[test]
fn a_sync_from_before_a_truncation_counts_for_nothing() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for i in 0..10 {
        append(&mut log, batch(1, 100), i);
    }
    let stale = log.sync_token();
    log.truncate(Offset(4)).expect("truncate");
    append(&mut log, batch(1, 100), 0);
    stale.sync().expect("nothing to do");
    log.synced(&stale).expect("ignored");
    assert_eq!(log.durable_end(), Offset(4));
}
