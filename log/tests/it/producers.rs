//! Who sent what survives every way to stop, and follows the log wherever it is cut.

use std::{path::PathBuf, sync::Arc};

use taffrail_core::{
    Offset,
    producers::{BATCHES_REMEMBERED, ProducerTable, SequenceCheck, SequencedBatch},
};
use taffrail_log::{
    Disk, LogConfig, PartitionLog,
    disk::OpenMode,
    sim::{Fault, Loss, Operation, SimDisk},
};
use taffrail_record::ProducerStamp;

use crate::common::{OnDisk, append, batch, batch_of, small, sync};

const PRODUCER: i64 = 77;

fn sim() -> (SimDisk, OnDisk) {
    let disk = SimDisk::new(7);
    let place = OnDisk::on(Arc::new(disk.clone()));
    (disk, place)
}

/// The producer's batches of one record, by their sequence numbers; the offsets are the same.
fn produce(log: &mut PartitionLog, sequences: std::ops::Range<i32>) {
    for base_sequence in sequences {
        let stamp = ProducerStamp {
            id: PRODUCER,
            epoch: 0,
            base_sequence,
        };
        append(log, batch_of(stamp, 0, 1, 100), 1_000);
    }
}

fn check(log: &PartitionLog, base_sequence: i32) -> SequenceCheck {
    let batch = SequencedBatch {
        producer_id: PRODUCER,
        epoch: 0,
        base_sequence,
        records: 1,
    };
    log.producers().check(&batch, 1_000)
}

/// The log ends after the batch before `next`, and knows the last ones.
fn assert_next(log: &PartitionLog, next: i32) {
    assert_eq!(check(log, next), SequenceCheck::New);
    let remembered = (BATCHES_REMEMBERED as i32).min(next);
    for sequence in next - remembered..next {
        match check(log, sequence) {
            SequenceCheck::Duplicate(stored) => {
                let expected = (Offset(sequence as u64), Offset(sequence as u64 + 1));
                assert_eq!((stored.base_offset, stored.end), expected);
                assert_eq!(stored.append_time_ms, 1_000);
            }
            other => panic!("{sequence}: {other:?}"),
        }
    }
    let expected = SequenceCheck::OutOfOrder { expected: next };
    assert_eq!(check(log, next + 1), expected);
}

fn snapshots(place: &OnDisk) -> Vec<PathBuf> {
    let mut names = place.disk.list(&place.dir).expect("list");
    names.retain(|name| name.ends_with(".producers"));
    names.sort();
    names.iter().map(|name| place.dir.join(name)).collect()
}

#[test]
fn after_a_clean_stop_no_batch_is_read() {
    let (_, place) = sim();
    let mut log = place.create(small());
    produce(&mut log, 0..100);
    log.close(Offset(100)).expect("close");
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.producer_batches_read, 0);
    assert_next(&opened.log, 100);
}

#[test]
fn after_a_crash_the_batches_since_the_last_roll_are_read_once() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    produce(&mut log, 0..100);
    sync(&mut log);
    // Makes the names of the snapshots durable, too.
    log.checkpoint(Offset(100)).expect("checkpoint");
    let in_active = 100 - log.reader().segments().last().expect("some").base_offset.0;
    drop(log);
    disk.crash(Loss::Everything);
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.producer_batches_read, in_active);
    assert_next(&opened.log, 100);
    drop(opened);
    disk.crash(Loss::Everything);
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.producer_batches_read, 0);
    assert_next(&opened.log, 100);
}

#[test]
fn in_a_long_segment_checkpoints_bound_what_is_read_after_a_crash() {
    let (disk, place) = sim();
    let mut log = place.create(LogConfig::default());
    produce(&mut log, 0..10);
    for _ in 0..17 {
        append(&mut log, batch(1, 1 << 20), 1_000);
    }
    sync(&mut log);
    log.checkpoint(log.durable_end()).expect("checkpoint");
    for _ in 0..3 {
        append(&mut log, batch(1, 1 << 20), 1_000);
    }
    sync(&mut log);
    log.checkpoint(log.durable_end()).expect("checkpoint");
    drop(log);
    disk.crash(Loss::Everything);
    let opened = place.open(LogConfig::default()).expect("open");
    assert_eq!(opened.recovery.producer_batches_read, 3);
    assert_next(&opened.log, 10);
}

#[test]
fn snapshots_that_are_lost_torn_or_damaged_cost_time_only() {
    for keep in 0..3 {
        for damage in ["lost", "torn", "flipped"] {
            let (disk, place) = sim();
            let mut log = place.create(small());
            produce(&mut log, 0..100);
            sync(&mut log);
            log.close(Offset(100)).expect("close");
            let all = snapshots(&place);
            assert!(all.len() >= 3, "{all:?}");
            for path in &all[keep..] {
                let file = disk.open(path, OpenMode::ReadWrite).expect("open");
                match damage {
                    "lost" => disk.remove(path).expect("remove"),
                    "torn" => file.set_len(file.len().expect("length") / 2).expect("cut"),
                    _ => disk.flip_bit(path, 30),
                }
            }
            let opened = place.open(small()).expect("open");
            assert!(opened.recovery.producer_batches_read > 0);
            assert_next(&opened.log, 100);
        }
    }
}

#[test]
fn what_is_cut_off_is_new_again_and_what_was_before_it_is_remembered() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    produce(&mut log, 0..100);
    sync(&mut log);
    // In the active segment, at its base, and in one that is sealed.
    let base = log.reader().segments().last().expect("some").base_offset.0;
    for to in [98, base, 40] {
        log.truncate(Offset(to)).expect("truncate");
        assert_next(&log, to as i32);
    }
    produce(&mut log, 40..60);
    sync(&mut log);
    drop(log);
    disk.crash(Loss::Everything);
    assert_next(&place.open(small()).expect("open").log, 60);
}

#[test]
fn a_snapshot_of_more_than_the_log_has_goes_before_the_log_grows_again() {
    let (disk, place) = sim();
    let mut log = place.create(LogConfig::default());
    produce(&mut log, 0..30);
    log.close(Offset(10)).expect("close");
    let path = snapshots(&place).pop().expect("one");
    let late = disk.content(&path);
    let mut log = place.open(LogConfig::default()).expect("open").log;
    log.truncate(Offset(20)).expect("truncate");
    assert_eq!(snapshots(&place), [] as [PathBuf; 0]);
    drop(log);
    // A crash brings its name back.
    let file = disk.open(&path, OpenMode::Create).expect("create");
    file.write_at(&[std::io::IoSlice::new(&late)], 0)
        .expect("write");
    file.sync_data().expect("sync");
    disk.sync_dir(&place.dir).expect("sync");
    let mut log = place.open(LogConfig::default()).expect("open").log;
    assert_next(&log, 20);
    for _ in 0..20 {
        append(&mut log, batch(1, 100), 1_000);
    }
    sync(&mut log);
    drop(log);
    disk.crash(Loss::Everything);
    assert_next(&place.open(LogConfig::default()).expect("open").log, 20);
}

#[test]
fn a_producer_is_known_after_its_batches_expired_and_snapshots_go_with_their_segments() {
    let (disk, place) = sim();
    let config = LogConfig {
        retention_bytes: Some(4_096),
        ..small()
    };
    let mut log = place.create(config.clone());
    produce(&mut log, 0..5);
    for _ in 0..200 {
        append(&mut log, batch(1, 100), 1_000);
    }
    sync(&mut log);
    let before = snapshots(&place).len();
    log.expire(1_000, Offset(205)).expect("expire");
    assert!(log.log_start() > Offset(5));
    assert!(snapshots(&place).len() < before);
    assert_next(&log, 5);
    drop(log);
    disk.crash(Loss::Everything);
    assert_next(&place.open(config).expect("open").log, 5);
}

/// Nobody else knows of these: the batches are nowhere any more.
#[test]
fn a_cut_forgets_no_producer_whose_batches_expired() {
    let (disk, place) = sim();
    let config = LogConfig {
        retention_bytes: Some(0),
        ..small()
    };
    let mut log = place.create(config.clone());
    produce(&mut log, 0..5);
    while log.reader().segments().len() == 1 {
        append(&mut log, batch(1, 400), 1_000);
    }
    sync(&mut log);
    let base = log.log_end();
    log.expire(1_000, base).expect("expire");
    let start = log.log_start();
    assert!(start > Offset(4), "{start}");
    produce(&mut log, 5..10);
    sync(&mut log);
    // Its snapshot has all ten, in place of the one that had five.
    let end = log.log_end();
    log.close(end).expect("close");
    let mut log = place.open(config.clone()).expect("open").log;
    assert_eq!(check(&log, 10), SequenceCheck::New);
    log.truncate(Offset(base.0 + 2)).expect("cut");
    assert_eq!(check(&log, 7), SequenceCheck::New);
    assert!(matches!(check(&log, 5), SequenceCheck::Duplicate(_)));
    log.truncate(start).expect("cut");
    let knows_five = |log: &PartitionLog| {
        assert_eq!(check(log, 5), SequenceCheck::New);
        assert!(matches!(check(log, 4), SequenceCheck::Duplicate(_)));
    };
    knows_five(&log);
    drop(log);
    disk.crash(Loss::Everything);
    knows_five(&place.open(config).expect("open").log);
}

#[test]
fn a_log_that_begins_anew_knows_whom_it_is_told_of_even_if_it_crashes() {
    let mut outcomes = [0, 0];
    for fail_after in 0..48 {
        for seed in 0..4 {
            let disk = SimDisk::new(seed);
            let place = OnDisk::on(Arc::new(disk.clone()));
            let mut log = place.create(small());
            produce(&mut log, 0..30);
            sync(&mut log);
            let table = log.producers().before(Offset(20));
            for operation in [Operation::Remove, Operation::Rename, Operation::Sync] {
                disk.inject(Fault::on(operation, "").after(fail_after));
            }
            let is_done = log.restart(Offset(90), table, Offset::ZERO).is_ok();
            drop(log);
            disk.crash(Loss::Tails);
            disk.heal();
            let log = place.open(small()).expect("open").log;
            if log.log_start() == Offset(90) {
                assert_eq!(check(&log, 20), SequenceCheck::New);
                assert!(matches!(check(&log, 19), SequenceCheck::Duplicate(_)));
            } else {
                assert_eq!(check(&log, log.log_end().0 as i32), SequenceCheck::New);
            }
            outcomes[usize::from(is_done)] += 1;
        }
    }
    assert!(outcomes.iter().all(|times| *times > 0), "{outcomes:?}");
}

#[test]
fn a_log_that_begins_anew_knows_nobody_and_a_followers_log_knows_whom_its_leader_does() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    produce(&mut log, 0..100);
    sync(&mut log);
    let leaders = log.reader().read(Offset(90), 1 << 20, Offset(100));
    let leaders = leaders.expect("read").chunks.concat();
    log.restart(Offset(90), ProducerTable::default(), Offset::ZERO)
        .expect("restart");
    assert_eq!(check(&log, 90), SequenceCheck::Unknown);
    let (headers, batches): (Vec<_>, Vec<_>) = taffrail_record::split(&leaders.into())
        .map(|batch| batch.expect("whole"))
        .unzip();
    log.append_replicated(&batches, &headers, 1_000)
        .expect("follows");
    sync(&mut log);
    drop(log);
    disk.crash(Loss::Everything);
    let log = place.open(small()).expect("open").log;
    assert_eq!(check(&log, 100), SequenceCheck::New);
    assert!(matches!(check(&log, 90), SequenceCheck::Duplicate(_)));
    assert!(matches!(check(&log, 89), SequenceCheck::OutOfOrder { .. }));
}

#[test]
fn without_room_for_a_snapshot_the_log_goes_on() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    produce(&mut log, 0..100);
    disk.inject(Fault::on(Operation::Open, ".producers").no_space());
    sync(&mut log);
    produce(&mut log, 100..110);
    sync(&mut log);
    assert_eq!(snapshots(&place), [] as [PathBuf; 0]);
    log.close(Offset(110)).expect("close");
    disk.heal();
    let opened = place.open(small()).expect("open");
    assert!(opened.recovery.clean_stop);
    assert_next(&opened.log, 110);
}
