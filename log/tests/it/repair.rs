//! Giving up what is damaged, where there is no other copy.

use std::{path::Path, sync::Arc};

use taffrail_core::Offset;
use taffrail_log::{
    Disk, LogError, PartitionLog,
    repair::{self, Cut},
    sim::{Loss, SimDisk},
};

use crate::common::{OnDisk, append, batch, headers_from, small, sync};

const FIRST: &str = "/data/p/00000000000000000000.log";

/// A log of several sealed segments, and its end.
fn sealed(disk: &SimDisk) -> (OnDisk, Vec<Offset>, Offset) {
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(small());
    while log.reader().segments().len() < 4 {
        append(&mut log, batch(1, 100), 5_000);
        sync(&mut log);
    }
    let (end, segments) = (log.log_end(), log.reader().segments());
    log.close(end).expect("close");
    let bases = segments.iter().map(|s| s.base_offset).collect();
    (place, bases, end)
}

fn plan(disk: &SimDisk, place: &OnDisk) -> Option<Cut> {
    repair::plan(Arc::new(disk.clone()), &place.dir).expect("the disk is fine")
}

/// Cuts, and gives the log that is left.
fn cut(disk: &SimDisk, place: &OnDisk, planned: &Cut) -> PartitionLog {
    let aside = Path::new("/data/quarantine/p.1");
    repair::cut(Arc::new(disk.clone()), &place.dir, planned, aside).expect("cut");
    disk.crash(Loss::Everything);
    assert_eq!(plan(disk, place), None, "it is sound");
    let log = place.open(small()).expect("open").log;
    assert_eq!(
        (log.log_start(), log.log_end()),
        (planned.log_start, planned.log_end)
    );
    let kept = headers_from(&log, planned.log_start);
    let count: u64 = kept.iter().map(|h| u64::from(h.record_count)).sum();
    assert_eq!(count, planned.log_end.0 - planned.log_start.0);
    log
}

#[test]
fn a_sound_log_needs_no_repair() {
    let disk = SimDisk::new(1);
    let (place, ..) = sealed(&disk);
    assert_eq!(plan(&disk, &place), None);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_costs_what_follows_and_the_damaged_files_are_kept() {
    let disk = SimDisk::new(1);
    let (place, bases, end) = sealed(&disk);
    disk.flip_bit(Path::new(FIRST), 700);
    let damaged = disk.content(Path::new(FIRST));
    let planned = plan(&disk, &place).expect("damaged");
    let from = planned.log_end;
    assert!(from > Offset(0) && from < bases[1], "{planned:?}");
    assert_eq!(planned.lost, [from..end]);
    let mut log = cut(&disk, &place, &planned);
    append(&mut log, batch(1, 10), 6_000);
    assert_eq!(log.log_end(), from.plus(1));
    let kept = disk.content(Path::new("/data/quarantine/p.1/00000000000000000000.log"));
    assert!(kept == damaged);
    for base in &bases[1..] {
        let name = format!("/data/quarantine/p.1/{:020}.log", base.0);
        assert!(!disk.content(Path::new(&name)).is_empty());
    }
}

#[test]
fn a_missing_segment_costs_what_it_had_and_what_follows() {
    let disk = SimDisk::new(1);
    let (place, bases, end) = sealed(&disk);
    let name = format!("/data/p/{:020}.log", bases[2].0);
    disk.remove(Path::new(&name)).expect("removed");
    let planned = plan(&disk, &place).expect("damaged");
    assert_eq!(planned.lost, [bases[2]..end]);
    cut(&disk, &place, &planned);
}

#[test]
fn a_missing_beginning_costs_only_that() {
    let disk = SimDisk::new(1);
    let (place, bases, end) = sealed(&disk);
    disk.remove(Path::new(FIRST)).expect("removed");
    let planned = plan(&disk, &place).expect("damaged");
    assert_eq!(planned.lost, [Offset(0)..bases[1]]);
    assert_eq!((planned.log_start, planned.log_end), (bases[1], end));
    cut(&disk, &place, &planned);
}

#[test]
fn an_end_that_was_durable_and_is_gone_is_given_up() {
    let disk = SimDisk::new(1);
    let (place, bases, end) = sealed(&disk);
    let last = format!("/data/p/{:020}.log", bases[3].0);
    disk.remove(Path::new(&last)).expect("removed");
    assert!(matches!(place.open(small()), Err(LogError::Damaged { .. })));
    let planned = plan(&disk, &place).expect("damaged");
    assert_eq!(planned.lost, [bases[3]..end]);
    cut(&disk, &place, &planned);
}

#[test]
fn a_torn_tail_is_left_to_the_broker() {
    let disk = SimDisk::new(1);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(small());
    append(&mut log, batch(1, 100), 0);
    sync(&mut log);
    append(&mut log, batch(1, 100), 0);
    drop(log);
    disk.flip_bit(Path::new(FIRST), 250);
    assert_eq!(plan(&disk, &place), None);
    assert_eq!(place.open(small()).expect("open").log.log_end(), Offset(1));
}

#[test]
fn a_repair_that_was_interrupted_goes_on_when_it_is_repeated() {
    for after in 0..40 {
        let disk = SimDisk::new(after);
        let (place, _, end) = sealed(&disk);
        disk.flip_bit(Path::new(FIRST), 700);
        let planned = plan(&disk, &place).expect("damaged");
        interrupted(&disk, &place, &planned, after as u32);
        disk.crash(Loss::Tails);
        if let Some(again) = plan(&disk, &place) {
            assert_eq!(again.log_end, planned.log_end, "after {after}");
            let aside = Path::new("/data/quarantine/p.2");
            repair::cut(Arc::new(disk.clone()), &place.dir, &again, aside).expect("cut");
        }
        let log = place.open(small()).expect("open").log;
        assert!(log.log_end() == planned.log_end && end > log.log_end());
    }
}

/// The disk fails at the `after`th step.
fn interrupted(disk: &SimDisk, place: &OnDisk, planned: &Cut, after: u32) {
    use taffrail_log::sim::{Fault, Operation};
    for operation in [Operation::Rename, Operation::Write, Operation::Sync] {
        disk.inject(Fault::on(operation, "/data").after(after));
    }
    let aside = Path::new("/data/quarantine/p.1");
    // It may have been done before.
    let _ = repair::cut(Arc::new(disk.clone()), &place.dir, planned, aside);
}
