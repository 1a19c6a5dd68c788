//! What a follower does to its log: batches as the leader has them, and beginning anew.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use taffrail_core::{
    LeaderEpoch, Offset,
    producers::ProducerTable,
    replica::{EpochStart, SyncPoint},
};
use taffrail_log::{
    LogError, PartitionLog,
    sim::{Fault, Loss, Operation, SimDisk},
};
use taffrail_record::{BatchHeader, stamp};

use crate::common::{OnDisk, batch, headers_from, small, sync, try_append};

/// A batch as a leader has it.
fn led(base: u64, epoch: u32) -> Bytes {
    let mut bytes = batch(2, 100).to_vec();
    stamp(&mut bytes, Offset(base), LeaderEpoch(epoch));
    bytes.into()
}

fn replicate(log: &mut PartitionLog, batches: &[Bytes], now_ms: i64) -> Result<(), LogError> {
    let parsed = batches
        .iter()
        .map(|b| BatchHeader::parse(b).expect("a batch"));
    let headers: Vec<_> = parsed.collect();
    log.append_replicated(batches, &headers, now_ms).map(drop)
}

fn start(epoch: u32, start: u64) -> EpochStart {
    EpochStart {
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    }
}

#[test]
fn replicated_batches_keep_offsets_epochs_and_append_times() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    let batches = [led(0, 3), led(2, 3), led(4, 7)];
    replicate(&mut log, &batches, 9_000).expect("they follow");
    assert_eq!(log.oldest_append_time_ms(), Some(9_000));
    sync(&mut log);
    drop(log);
    let log = place.open(small()).expect("opens").log;
    let found = headers_from(&log, Offset::ZERO);
    let sent: Vec<_> = batches
        .iter()
        .map(|b| BatchHeader::parse(b).expect("a batch"))
        .collect();
    assert_eq!(found, sent);
    assert_eq!(log.epochs(), [start(3, 0), start(7, 4)]);
}

#[test]
fn batches_that_do_not_follow_are_refused_whole() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    replicate(&mut log, &[led(0, 3)], 0).expect("they follow");
    for (bad, case) in [
        ([led(2, 3), led(5, 3)], "a gap"),
        ([led(2, 3), led(2, 3)], "an overlap"),
        ([led(2, 4), led(4, 3)], "epochs that fall"),
        ([led(2, 2), led(4, 3)], "an epoch below the log's"),
    ] {
        let refused = replicate(&mut log, &bad, 0);
        assert!(matches!(refused, Err(LogError::NotNext { .. })), "{case}");
        assert_eq!(log.log_end(), Offset(2), "{case}");
    }
}

#[test]
fn a_log_begins_anew_anywhere_and_forgets_its_epochs() {
    for begins_at in [0, 1, 6, 1_000] {
        let place = OnDisk::std();
        let mut log = place.create(small());
        replicate(&mut log, &[led(0, 9), led(2, 9), led(4, 9)], 0).expect("they follow");
        let before = log.sync_token();
        let generation = log.state().generation;
        log.restart(Offset(begins_at), ProducerTable::default(), Offset::ZERO)
            .expect("begins");
        assert_eq!(
            log.state().sync_point(),
            SyncPoint {
                generation: generation + 1,
                end: Offset(begins_at)
            }
        );
        before.sync().expect("covered");
        log.synced(&before).expect("of another log");
        assert_eq!(log.durable_end(), Offset(begins_at));
        // Of a lower epoch than what was there.
        replicate(&mut log, &[led(begins_at, 4)], 0).expect("they follow");
        sync(&mut log);
        drop(log);
        let log = place.open(small()).expect("opens").log;
        assert_eq!(
            (log.log_start(), log.log_end()),
            (Offset(begins_at), Offset(begins_at + 2))
        );
        assert_eq!(log.epochs(), [start(4, begins_at)]);
    }
}

#[test]
fn an_empty_log_begins_anew_too() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    log.restart(Offset::ZERO, ProducerTable::default(), Offset::ZERO)
        .expect("begins");
    log.restart(Offset(7), ProducerTable::default(), Offset::ZERO)
        .expect("begins");
    assert_eq!(log.state().generation, 2);
    assert_eq!((log.log_start(), log.log_end()), (Offset(7), Offset(7)));
}

#[test]
fn a_crash_while_a_log_begins_anew_leaves_a_log_that_opens() {
    let mut outcomes = BTreeSet::new();
    for fail_after in 0..48 {
        for seed in 0..10 {
            let disk = SimDisk::new(seed);
            let place = OnDisk::on(Arc::new(disk.clone()));
            let mut log = place.create(small());
            for epoch in 1..4 {
                for _ in 0..10 {
                    try_append(&mut log, &[batch(1, 400)], epoch, 0).expect("append");
                }
            }
            sync(&mut log);
            log.checkpoint(Offset(30)).expect("checkpoint");
            for operation in [Operation::Remove, Operation::Rename, Operation::Sync] {
                disk.inject(Fault::on(operation, "").after(fail_after));
            }
            let is_done = log
                .restart(Offset(100), ProducerTable::default(), Offset::ZERO)
                .is_ok();
            drop(log);
            disk.crash(Loss::Tails);
            let log = place.open(small()).expect("opens").log;
            let (from, to) = (log.log_start().0, log.log_end().0);
            assert!(
                from == 0 && to <= 30 && !is_done || (from, to) == (100, 100),
                "{from}..{to}"
            );
            if from == to {
                assert_eq!(log.epochs(), [], "an empty log has none");
            }
            outcomes.insert((from, to));
        }
    }
    assert!(
        outcomes.contains(&(0, 0)) && outcomes.contains(&(100, 100)),
        "{outcomes:?}"
    );
}
