//! Logs that go out of the way with all that they have.

use std::{path::Path, sync::Arc};

use taffrail_core::Offset;
use taffrail_log::{
    Disk, LogError, PartitionLog, set_aside_dir,
    sim::{Loss, SimDisk},
};

use crate::common::{OnDisk, append, batch, small, sync};

fn filled(disk: &SimDisk) -> (OnDisk, PartitionLog) {
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(small());
    for _ in 0..60 {
        append(&mut log, batch(1, 100), 0);
    }
    sync(&mut log);
    (place, log)
}

#[test]
fn a_log_that_was_set_aside_is_whole_there_and_another_begins_in_its_place() {
    let disk = SimDisk::new(1);
    let (place, mut log) = filled(&disk);
    let end = log.log_end();
    let late = log.plan_checkpoint(end).expect("plan").expect("due");
    let aside = Path::new("/quarantine/it.1");
    log.set_aside(aside).expect("moved");
    let again = place.create(small());
    // It is of the former log.
    late.run().expect("nothing to do");
    drop(again);
    disk.crash(Loss::Everything);
    assert_eq!(place.open(small()).expect("open").log.log_end(), Offset(0));
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let kept = PartitionLog::open(disk, aside, small()).expect("open").log;
    assert_eq!(kept.log_end(), end);
}

#[test]
fn a_crash_leaves_it_where_it_was_or_where_it_goes() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (place, log) = filled(&disk);
        let end = log.log_end();
        drop(log);
        let aside = Path::new("/quarantine/it.1");
        disk.create_dir(Path::new("/quarantine")).expect("made");
        disk.rename(&place.dir, aside).expect("moved");
        disk.crash(Loss::Tails);
        let here = place.open(small());
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let there = PartitionLog::open(disk, aside, small());
        let whole = match (here, there) {
            (Ok(whole), Err(LogError::NoIdentity { .. }))
            | (Err(LogError::NoIdentity { .. }), Ok(whole)) => whole,
            other => panic!("seed {seed}: {other:?}"),
        };
        assert_eq!(whole.log.log_end(), end, "seed {seed}");
    }
}

#[test]
fn setting_aside_what_is_not_there_is_no_error() {
    let disk = SimDisk::new(1);
    set_aside_dir(&disk, Path::new("/none"), Path::new("/quarantine/none")).expect("nothing to do");
}
