//! What producers do not wait for: seals, checkpoints and removals beside appends, and crashes in their middle.

use std::sync::Arc;

use taffrail_core::Offset;
use taffrail_log::{
    LogConfig, PartitionLog, inspect,
    sim::{Fault, Loss, Operation, SimDisk},
};

use crate::common::{OnDisk, append, batch, headers_from, seal, small, sync};

fn sim(seed: u64) -> (SimDisk, OnDisk) {
    let disk = SimDisk::new(seed);
    let place = OnDisk::on(Arc::new(disk.clone()));
    (disk, place)
}

/// A log of `segments` segments, all but the last one rolled since the last sync.
fn rolled(place: &OnDisk, segments: usize) -> PartitionLog {
    let mut log = place.create(small());
    while log.reader().segments().len() < segments {
        append(&mut log, batch(1, 400), 0);
    }
    log
}

/// Durable and answered, not sealed.
fn acknowledge(log: &mut PartitionLog) -> Offset {
    let token = log.sync_token();
    token.sync().expect("sync");
    log.synced(&token).expect("synced");
    log.log_end()
}

#[test]
fn an_acknowledgement_after_a_roll_syncs_the_records_and_nothing_else() {
    let (disk, place) = sim(1);
    let mut log = rolled(&place, 2);
    let before = disk.data_syncs();
    let end = acknowledge(&mut log);
    assert_eq!(
        disk.data_syncs() - before,
        2,
        "the segment that was rolled and the new one"
    );
    assert_eq!(log.durable_end(), end);
    assert_eq!(log.unsealed_segments(), 1);
    seal(&mut log).expect("seals");
    assert_eq!(log.unsealed_segments(), 0);
}

#[test]
fn what_was_acknowledged_and_not_sealed_is_found_after_a_crash_and_sealed_then() {
    for loss in [Loss::Nothing, Loss::Everything, Loss::Tails, Loss::Anything] {
        let (disk, place) = sim(2);
        let mut log = rolled(&place, 4);
        let end = acknowledge(&mut log);
        // The recovery point is in a later segment than those without a seal.
        log.checkpoint(end).expect("checkpoint");
        drop(log);
        disk.crash(loss);
        let opened = place.open(small()).expect("open");
        assert_eq!(opened.recovery.segments_sealed, 3, "{loss:?}");
        assert_eq!(opened.log.log_end(), end);
        assert_eq!(headers_from(&opened.log, Offset::ZERO).len() as u64, end.0);
        let verified = inspect::verify(Arc::clone(&place.disk), &place.dir).expect("verify");
        assert_eq!((verified.findings, verified.sealed), (vec![], 3));
    }
}

#[test]
fn a_crash_at_any_point_of_sealing_loses_nothing_acknowledged() {
    let operations = [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
    ];
    let mut failed = 0;
    for (seed, loss) in [Loss::Nothing, Loss::Everything, Loss::Tails, Loss::Anything]
        .into_iter()
        .enumerate()
    {
        for operation in operations {
            for after in 0..10 {
                let (disk, place) = sim(seed as u64);
                let mut log = rolled(&place, 4);
                let end = acknowledge(&mut log);
                disk.inject(Fault::on(operation, "").after(after));
                failed += usize::from(seal(&mut log).is_err());
                drop(log);
                disk.heal();
                disk.crash(loss);
                let opened = place.open(small()).expect("open");
                assert_eq!(opened.log.log_end(), end, "{operation:?} {after} {loss:?}");
                assert_eq!(headers_from(&opened.log, Offset::ZERO).len() as u64, end.0);
                let verified = inspect::verify(Arc::clone(&place.disk), &place.dir);
                assert_eq!(verified.expect("verify").findings, []);
            }
        }
    }
    assert!(failed > 50, "{failed} crashes in the middle");
}

#[test]
fn readers_see_the_new_log_start_once_it_is_durable_and_files_go_after_that() {
    let (disk, place) = sim(3);
    let mut log = rolled(&place, 4);
    sync(&mut log);
    log.configure(LogConfig {
        retention_bytes: Some(0),
        ..small()
    });
    let end = log.log_end();
    let first = place.dir.join("00000000000000000000.log");
    let planned = log
        .plan_expiry(0, end)
        .expect("plan")
        .expect("something goes");
    assert!(
        log.plan_checkpoint(end).expect("plan").is_none(),
        "one at a time"
    );
    planned.run().expect("checkpoint");
    assert_eq!(log.log_start(), Offset::ZERO);
    append(&mut log, batch(1, 10), 0);
    let done = log.upkeep_done(planned, Ok(())).expect("done");
    let (expired, removal) = done.expect("expired");
    assert_eq!(log.log_start(), expired.new_log_start);
    assert!(!disk.content(&first).is_empty(), "its file is still there");
    removal.run().expect("remove");
    assert!(log.upkeep_done(removal, Ok(())).expect("done").is_none());
    assert!(place.disk.stat(&first).is_err());
    drop(log);
    disk.crash(Loss::Everything);
    let log = place.open(small()).expect("open").log;
    assert_eq!(
        (log.log_start(), log.log_end()),
        (expired.new_log_start, end)
    );
}

#[test]
fn an_upkeep_that_the_log_was_cut_under_counts_for_nothing() {
    let (disk, place) = sim(4);
    let mut log = rolled(&place, 3);
    sync(&mut log);
    let planned = log.plan_checkpoint(log.log_end()).expect("plan");
    let planned = planned.expect("something to note");
    log.truncate(Offset(2)).expect("truncate");
    let result = planned.run();
    assert!(log.upkeep_done(planned, result).expect("ignored").is_none());
    drop(log);
    disk.crash(Loss::Everything);
    assert_eq!(
        place.open(small()).expect("no damage").log.log_end(),
        Offset(2)
    );
}

#[test]
fn an_upkeep_of_a_deleted_log_brings_nothing_back() {
    let (_, place) = sim(5);
    let mut log = rolled(&place, 3);
    let token = log.sync_token();
    sync(&mut log);
    append(&mut log, batch(1, 10), 0);
    let late = log.sync_token();
    let planned = log.plan_checkpoint(log.log_end()).expect("plan");
    log.delete().expect("delete");
    planned
        .expect("something to note")
        .run()
        .expect("nothing to do");
    assert!(token.sync().is_ok() && late.sync().is_ok());
    assert!(place.disk.list(&place.dir).is_err(), "no directory");
}

#[test]
fn a_removal_of_a_deleted_log_takes_nothing_of_the_next_in_its_place() {
    let (_, place) = sim(6);
    let mut log = rolled(&place, 4);
    sync(&mut log);
    log.configure(LogConfig {
        retention_bytes: Some(0),
        ..small()
    });
    let end = log.log_end();
    let planned = log.plan_expiry(0, end).expect("plan");
    let planned = planned.expect("something goes");
    planned.run().expect("checkpoint");
    let done = log.upkeep_done(planned, Ok(())).expect("done");
    let (_, removal) = done.expect("expired");
    log.delete().expect("delete");
    let _again = rolled(&place, 2);
    removal.run().expect("nothing to do");
    let first = place.dir.join("00000000000000000000.log");
    assert!(place.disk.stat(&first).is_ok(), "it is the next log's");
}
