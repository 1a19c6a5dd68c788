//! What opening does after a clean stop, a crash, damage.

use std::{path::PathBuf, sync::Arc};

use taffrail_core::{LeaderEpoch, Offset, PartitionFault, replica::EpochStart};
use taffrail_log::{
    Disk, LogError, PartitionLog, Torn, delete_dir, inspect, read_identity,
    sim::{Loss, SimDisk},
};

use crate::common::{OnDisk, append, batch, headers_from, identity, small, sync, try_append};

fn sim() -> (SimDisk, OnDisk) {
    let disk = SimDisk::new(7);
    let place = OnDisk::on(Arc::new(disk.clone()));
    (disk, place)
}

fn file(place: &OnDisk, name: &str) -> PathBuf {
    place.dir.join(name)
}

const FIRST_LOG: &str = "00000000000000000000.log";

/// Ten batches in one segment: `durable` of them synced and checkpointed, the others in the page cache only.
fn ten_batches(place: &OnDisk, durable: usize) -> PartitionLog {
    let mut log = place.create(small());
    for i in 0..10 {
        append(&mut log, batch(1, 100), 1_000 + i);
        if i + 1 == durable as i64 {
            sync(&mut log);
            log.checkpoint(log.durable_end()).expect("checkpoint");
        }
    }
    log
}

fn batch_bytes() -> u64 {
    batch(1, 100).len() as u64
}

#[test]
fn a_clean_stop_is_opened_without_a_scan() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for i in 0..100 {
        append(&mut log, batch(3, 100), i);
    }
    log.close(Offset(300)).expect("close");
    let opened = place.open(small()).expect("open");
    assert!(opened.recovery.clean_stop);
    assert_eq!(opened.recovery.scanned_bytes, 0);
    assert_eq!(opened.log.high_watermark(), Offset(300));
    assert_eq!(opened.log.durable_end(), Offset(300));
    assert_eq!(opened.log.last_epoch(), Some(LeaderEpoch(1)));
    assert_eq!(headers_from(&opened.log, Offset::ZERO).len(), 100);
}

#[test]
fn after_a_kill_only_what_follows_the_last_seal_is_scanned() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    while log.reader().segments().len() < 6 {
        append(&mut log, batch(3, 100), 0);
    }
    sync(&mut log);
    for _ in 0..3 {
        append(&mut log, batch(3, 100), 0);
    }
    let end = log.log_end();
    drop(log);
    let opened = place.open(small()).expect("open");
    assert!(!opened.recovery.clean_stop);
    assert_eq!(
        opened.recovery.scanned_bytes,
        4 * batch(3, 100).len() as u64
    );
    assert_eq!(opened.recovery.torn, None, "reserved room is no torn tail");
    assert_eq!(opened.log.log_end(), end);
}

#[test]
fn appends_after_a_clean_stop_take_its_mark_away() {
    let place = OnDisk::std();
    ten_batches(&place, 10).close(Offset(10)).expect("close");
    let mut log = place.open(small()).expect("open").log;
    append(&mut log, batch(1, 100), 0);
    drop(log);
    let opened = place.open(small()).expect("open");
    assert!(!opened.recovery.clean_stop);
    assert_eq!(opened.recovery.scanned_bytes, batch_bytes());
    assert_eq!(opened.log.log_end(), Offset(11));
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let (disk, place) = sim();
    let log = ten_batches(&place, 4);
    let path = file(&place, FIRST_LOG);
    drop(log);
    // Half of the last batch was written.
    let whole = disk
        .open(&path, taffrail_log::disk::OpenMode::ReadWrite)
        .expect("open");
    whole.set_len(9 * batch_bytes() + 80).expect("cut");
    let opened = place.open(small()).expect("open");
    let torn = Torn {
        offset: Offset(9),
        bytes: 80,
    };
    assert_eq!(opened.recovery.torn, Some(torn));
    assert_eq!(opened.log.log_end(), Offset(9));
    assert_eq!(disk.content(&path).len() as u64, 9 * batch_bytes());
    assert_eq!(headers_from(&opened.log, Offset::ZERO).len(), 9);
}

#[test]
fn a_flipped_bit_in_the_middle_is_damage_and_nothing_is_cut() {
    let (disk, place) = sim();
    drop(ten_batches(&place, 4));
    let path = file(&place, FIRST_LOG);
    disk.flip_bit(&path, 6 * batch_bytes() + 80);
    let before = disk.content(&path);
    let error = place.open(small()).expect_err("damaged");
    let LogError::Damaged {
        position, offset, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*position, *offset), (6 * batch_bytes(), Offset(6)));
    assert_eq!(error.fault(), Some(PartitionFault::Damaged));
    assert!(disk.content(&path) == before);
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_a_torn_tail_only_above_the_durable_end() {
    let (disk, place) = sim();
    drop(ten_batches(&place, 9));
    let path = file(&place, FIRST_LOG);
    disk.flip_bit(&path, 9 * batch_bytes() + 80);
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.torn.map(|t| t.offset), Some(Offset(9)));
}

#[test]
fn a_log_that_ends_below_its_durable_end_is_damaged() {
    let (disk, place) = sim();
    drop(ten_batches(&place, 9));
    let path = file(&place, FIRST_LOG);
    let whole = disk
        .open(&path, taffrail_log::disk::OpenMode::ReadWrite)
        .expect("open");
    whole.set_len(8 * batch_bytes()).expect("cut");
    let error = place.open(small()).expect_err("damaged");
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert_eq!(disk.content(&path).len() as u64, 8 * batch_bytes());
}

#[test]
fn a_missing_segment_is_damage() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    while log.reader().segments().len() < 4 {
        append(&mut log, batch(3, 100), 0);
    }
    let second = log.reader().segments()[1].base_offset;
    log.close(Offset::ZERO).expect("close");
    place
        .disk
        .remove(&file(&place, &format!("{:020}.log", second.0)))
        .expect("remove");
    let error = place.open(small()).expect_err("a hole");
    assert!(
        matches!(error, LogError::Damaged { offset, .. } if offset == second),
        "{error}"
    );
}

#[test]
fn damage_at_rest_in_a_sealed_segment_is_not_served_and_the_scrubber_finds_it() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    while log.reader().segments().len() < 4 {
        append(&mut log, batch(1, 100), 0);
    }
    log.close(Offset::ZERO).expect("close");
    let path = file(&place, FIRST_LOG);
    disk.flip_bit(&path, 5 * batch_bytes() + 90);
    let log = place.open(small()).expect("open does not read it").log;
    let reader = log.reader();
    let good = reader
        .read(Offset(0), 2 * batch_bytes() as usize, Offset(99))
        .expect("good part");
    assert_eq!(good.next_offset, Offset(2));
    let error = reader
        .read(Offset(5), 4096, Offset(99))
        .expect_err("never served");
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    let error = reader.verify_segment(Offset::ZERO).expect_err("scrubbed");
    assert!(
        matches!(
            error,
            LogError::Damaged {
                offset: Offset(5),
                ..
            }
        ),
        "{error}"
    );
    let second = reader.segments()[1].base_offset;
    assert!(reader.verify_segment(second).expect("the others are sound"));
    assert!(reader.read(second, 4096, Offset(99)).is_ok());
    let verified = inspect::verify(Arc::new(disk), &place.dir).expect("verify");
    assert!(verified.findings.iter().any(|f| f.path == path));
}

#[test]
fn deleted_indexes_are_built_again() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    while log.reader().segments().len() < 4 {
        append(&mut log, batch(1, 100), 5_000);
    }
    let segments = log.reader().segments();
    log.close(Offset::ZERO).expect("close");
    for segment in &segments {
        for extension in ["index", "timeindex"] {
            let path = file(
                &place,
                &format!("{:020}.{extension}", segment.base_offset.0),
            );
            disk.remove(&path).expect("remove");
        }
    }
    let opened = place.open(small()).expect("open");
    assert_eq!(opened.recovery.indexes_rebuilt, 4);
    let log = opened.log;
    assert_eq!(
        headers_from(&log, Offset(17)).len() as u64,
        log.log_end().0 - 17
    );
    assert_eq!(
        log.reader().append_time_ms(Offset(3)).expect("time"),
        Some(5_000)
    );
    log.close(Offset::ZERO).expect("close");
    let verified = inspect::verify(Arc::new(disk), &place.dir).expect("verify");
    assert_eq!(verified.findings, []);
}

#[test]
fn a_damaged_index_is_noticed_when_it_is_used_and_built_again() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    while log.reader().segments().len() < 3 {
        append(&mut log, batch(1, 100), 5_000);
    }
    log.close(Offset::ZERO).expect("close");
    let index = file(&place, "00000000000000000000.index");
    let sound = disk.content(&index);
    for entry in 0..sound.len() / 12 {
        disk.flip_bit(&index, 12 * entry as u64 + 5);
    }
    let log = place.open(small()).expect("open").log;
    let reader = log.reader();
    for offset in [3, 17, 9] {
        let read = reader.read(Offset(offset), 1, Offset(99)).expect("read");
        assert_eq!(read.next_offset, Offset(offset + 1));
    }
    assert_eq!(reader.index_rebuilds(), 1);
    assert!(!disk.content(&index).is_empty());
}

#[test]
fn a_missing_checkpoint_is_rebuilt_from_a_sound_log_only() {
    for torn in [false, true] {
        let (disk, place) = sim();
        drop(ten_batches(&place, 10));
        disk.remove(&file(&place, "checkpoint")).expect("remove");
        if torn {
            let path = file(&place, FIRST_LOG);
            disk.flip_bit(&path, 9 * batch_bytes() + 80);
            let error = place
                .open(small())
                .expect_err("nobody knows what was acknowledged");
            assert!(matches!(error, LogError::Damaged { .. }), "{error}");
        } else {
            let opened = place.open(small()).expect("open");
            assert!(opened.recovery.checkpoint_rebuilt);
            assert_eq!(opened.recovery.scanned_bytes, 10 * batch_bytes());
            assert_eq!(opened.log.log_end(), Offset(10));
            drop(opened.log);
            assert!(
                !place
                    .open(small())
                    .expect("open")
                    .recovery
                    .checkpoint_rebuilt
            );
        }
    }
}

#[test]
fn a_damaged_checkpoint_does_not_move_the_log_start_to_zero() {
    let (disk, place) = sim();
    let mut log = place.create(taffrail_log::LogConfig {
        retention_bytes: Some(4096),
        ..small()
    });
    while log.reader().segments().len() < 5 {
        append(&mut log, batch(1, 100), 0);
    }
    sync(&mut log);
    let start = log.expire(0, log.log_end()).expect("expire").new_log_start;
    assert!(start > Offset::ZERO);
    log.close(Offset::ZERO).expect("close");
    disk.flip_bit(&file(&place, "checkpoint"), 25);
    let opened = place.open(small()).expect("open");
    assert!(opened.recovery.checkpoint_rebuilt);
    assert_eq!(opened.log.log_start(), start);
}

#[test]
fn epochs_are_derived_from_the_batches_when_their_file_is_wrong() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    for epoch in [1, 1, 4, 4, 4, 9] {
        for _ in 0..10 {
            try_append(&mut log, &[batch(1, 100)], epoch, 0).expect("append");
        }
    }
    let expected = log.epochs().to_vec();
    assert_eq!(
        expected[1],
        EpochStart {
            epoch: LeaderEpoch(4),
            start: Offset(20)
        }
    );
    log.close(Offset::ZERO).expect("close");
    let path = file(&place, "epochs");
    disk.flip_bit(&path, 20);
    let opened = place.open(small()).expect("open");
    assert!(opened.recovery.epochs_rebuilt && opened.recovery.clean_stop);
    assert_eq!(opened.log.epochs(), expected);
    drop(opened.log);
    assert!(
        !place.open(small()).expect("open").recovery.epochs_rebuilt,
        "it was written again"
    );
}

#[test]
fn a_lost_epochs_file_and_a_crash_with_unsealed_segments_are_survived_together() {
    let (disk, place) = sim();
    let mut log = place.create(small());
    disk.inject(taffrail_log::sim::Fault::on(
        taffrail_log::sim::Operation::Rename,
        ".seal",
    ));
    for i in 0..60 {
        try_append(&mut log, &[batch(1, 100)], 1 + i / 7, 0).expect("append");
        if i == 10 {
            sync(&mut log);
            log.checkpoint(Offset(11)).expect("checkpoint");
        }
    }
    sync(&mut log);
    let expected = log.epochs().to_vec();
    disk.crash(Loss::Nothing);
    disk.remove(&file(&place, "epochs")).expect("remove");
    let opened = place.open(small()).expect("open");
    assert!(opened.recovery.epochs_rebuilt && opened.recovery.segments_sealed > 0);
    assert_eq!(opened.log.epochs(), expected);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, place) = sim();
    drop(ten_batches(&place, 10));
    let path = file(&place, "identity");
    let mut bytes = disk.content(&path);
    bytes[13] = 2;
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    let file = disk
        .open(&path, taffrail_log::disk::OpenMode::ReadWrite)
        .expect("open");
    file.write_at(&[std::io::IoSlice::new(&bytes)], 0)
        .expect("write");
    let error = place.open(small()).expect_err("newer");
    assert!(matches!(
        error,
        LogError::NewerFormat {
            found: 2,
            supported: 1,
            ..
        }
    ));
    assert_eq!(error.fault(), Some(PartitionFault::NewerFormat));
}

#[test]
fn identity_says_whose_directory_it_is() {
    let (disk, place) = sim();
    drop(ten_batches(&place, 10));
    assert_eq!(
        read_identity(&disk, &place.dir).expect("identity"),
        identity()
    );
    let error = PartitionLog::create(place.disk.clone(), &place.dir, &identity(), small());
    assert!(matches!(error, Err(LogError::AlreadyExists { .. })));
    disk.remove(&file(&place, "identity")).expect("remove");
    let error = place.open(small()).expect_err("nobody's");
    assert!(matches!(error, LogError::NoIdentity { .. }));
    let error = PartitionLog::create(place.disk.clone(), &place.dir, &identity(), small());
    assert!(
        matches!(error, Err(LogError::NoIdentity { .. })),
        "there are records, whoever's"
    );
}

#[test]
fn a_crash_at_any_moment_of_creation_can_be_created_over() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let place = OnDisk::on(Arc::new(disk.clone()));
        let fault = taffrail_log::sim::Fault::on(taffrail_log::sim::Operation::Sync, "");
        disk.inject(fault.after(seed as u32 % 8));
        drop(PartitionLog::create(
            place.disk.clone(),
            &place.dir,
            &identity(),
            small(),
        ));
        disk.crash(Loss::Tails);
        let log = match place.open(small()) {
            Ok(opened) => opened.log,
            Err(LogError::NoIdentity { .. }) => place.create(small()),
            Err(error) => panic!("seed {seed}: {error}"),
        };
        assert_eq!(log.log_end(), Offset::ZERO);
    }
}

#[test]
fn a_deleted_partition_is_gone_and_deleting_again_is_no_error() {
    let (disk, place) = sim();
    ten_batches(&place, 10).delete().expect("delete");
    assert!(disk.list(&place.dir).is_err());
    delete_dir(&disk, &place.dir).expect("nothing to do");
    disk.crash(Loss::Everything);
    assert!(matches!(
        place.open(small()),
        Err(LogError::NoIdentity { .. })
    ));
}
