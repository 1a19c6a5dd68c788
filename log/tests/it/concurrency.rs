//! Readers and syncs beside the writer, on real files.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use taffrail_core::Offset;
use taffrail_log::{LogConfig, LogError, LogReader};

use crate::common::{OnDisk, append, batch, seal, small, sync};

/// Reads from the log start to the end, over and over, and checks every byte.
fn read_all(reader: &LogReader, over: &AtomicBool) -> u64 {
    let mut read_bytes = 0;
    let mut at = Offset::ZERO;
    while !over.load(Ordering::Acquire) || at < reader.log_end() {
        match reader.read(at, 50_000, Offset(u64::MAX)) {
            Ok(read) => {
                let mut expected = None;
                for (header, bytes) in read
                    .chunks
                    .iter()
                    .flat_map(taffrail_record::split)
                    .map(|batch| batch.expect("whole batches"))
                {
                    taffrail_record::verify(&bytes).expect("sound batches");
                    assert!(expected.is_none_or(|e| e == header.base_offset));
                    expected = Some(header.next_offset());
                    read_bytes += bytes.len() as u64;
                }
                at = read.next_offset;
            }
            Err(LogError::OffsetOutOfRange { start, .. }) => at = start,
            Err(error) => panic!("{error}"),
        }
    }
    read_bytes
}

#[test]
fn readers_see_whole_batches_while_segments_roll_seal_and_expire() {
    let place = OnDisk::std();
    let mut log = place.create(LogConfig {
        segment_bytes: 300_000,
        retention_bytes: Some(1_000_000),
        ..small()
    });
    let over = AtomicBool::new(false);
    let durable = AtomicU64::new(0);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = log.reader();
                scope.spawn(|| read_all(&{ reader }, &over))
            })
            .collect();
        let (tokens, synced) = std::sync::mpsc::channel();
        let (to_sync, jobs) = std::sync::mpsc::sync_channel(4);
        scope.spawn(move || {
            for token in jobs {
                let token: taffrail_log::SyncToken = token;
                token.sync().expect("sync");
                tokens.send(token).expect("the writer waits");
            }
        });
        let (upkeeps, kept_up) = std::sync::mpsc::channel();
        let (to_keep_up, planned) = std::sync::mpsc::sync_channel(1);
        scope.spawn(move || {
            for upkeep in planned {
                let upkeep: taffrail_log::Upkeep = upkeep;
                let result = upkeep.run();
                upkeeps.send((upkeep, result)).expect("the writer waits");
            }
        });
        for i in 0..600 {
            append(&mut log, batch(1 + i as u32 % 50, 200), i);
            if i % 10 == 0 {
                to_sync.send(log.sync_token()).expect("the syncer runs");
            }
            for token in synced.try_iter() {
                log.synced(&token).expect("synced");
                durable.store(log.durable_end().0, Ordering::Release);
            }
            let end = log.durable_end();
            let mut due = match i % 3 {
                0 => log.plan_expiry(i, end).expect("plan"),
                1 => log.plan_checkpoint(end).expect("plan"),
                _ => log.plan_seal(),
            };
            for (upkeep, result) in kept_up.try_iter() {
                let done = log.upkeep_done(upkeep, result).expect("sound disk");
                due = due.or(done.map(|(_, removal)| removal));
            }
            if let Some(upkeep) = due {
                to_keep_up.send(upkeep).expect("the thread runs");
            }
        }
        drop((to_sync, to_keep_up));
        for (upkeep, result) in kept_up {
            let _ = log.upkeep_done(upkeep, result).expect("sound disk");
        }
        for token in synced {
            log.synced(&token).expect("synced");
        }
        over.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("reader") > 0);
        }
    });
    // What the threads did not come to: there are no more segments than this.
    for _ in 0..20 {
        sync(&mut log);
        let end = log.durable_end();
        let mut due = log.plan_expiry(600, end).expect("plan");
        while let Some(upkeep) = due {
            let result = upkeep.run();
            let done = log.upkeep_done(upkeep, result).expect("sound disk");
            due = done.map(|(_, removal)| removal);
        }
    }
    assert!(log.log_start() > Offset::ZERO);
    let end = log.log_end();
    log.close(end).expect("close");
    assert_eq!(place.open(small()).expect("open").log.log_end(), end);
}

#[test]
fn tokens_of_one_log_may_be_synced_on_several_threads() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    let tokens: Vec<_> = (0..40)
        .map(|i| {
            append(&mut log, batch(1, 500), i);
            log.sync_token()
        })
        .collect();
    thread::scope(|scope| {
        for token in &tokens {
            scope.spawn(|| token.sync().expect("sync"));
        }
    });
    for token in tokens.iter().rev() {
        log.synced(token).expect("synced");
        assert_eq!(
            log.durable_end(),
            Offset(40),
            "a later token stands for the earlier ones"
        );
    }
    seal(&mut log).expect("seals");
    assert_eq!(log.unsealed_segments(), 0);
}

#[test]
fn a_file_that_somebody_shortened_is_an_error_and_no_crash() {
    let place = OnDisk::std();
    let mut log = place.create(LogConfig {
        segment_bytes: 1 << 20,
        ..small()
    });
    for i in 0..40 {
        append(&mut log, batch(10, 10_000), i);
    }
    log.close(Offset::ZERO).expect("close");
    let log = place.open(small()).expect("open").log;
    let reader = log.reader();
    assert!(reader.read(Offset::ZERO, 100_000, Offset(u64::MAX)).is_ok());
    let path = place.dir.join("00000000000000000000.log");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("open");
    file.set_len(300_000).expect("cut");
    // Touching the mapping there would be a SIGBUS.
    let error = reader
        .read(Offset(50), 200_000, Offset(u64::MAX))
        .expect_err("gone");
    assert!(matches!(error, LogError::Io { op: "read", .. }), "{error}");
}

#[test]
fn opening_a_large_log_reads_none_of_it() {
    let place = OnDisk::std();
    let mut log = place.create(LogConfig {
        segment_bytes: 2 << 20,
        ..small()
    });
    let large = batch(100, 10_000);
    for i in 0..40 {
        append(&mut log, large.clone(), i);
    }
    let end = log.log_end();
    log.close(end).expect("close");
    let bytes_read = || {
        let io = std::fs::read_to_string("/proc/thread-self/io").expect("procfs");
        let line = io
            .lines()
            .find_map(|l| l.strip_prefix("rchar: "))
            .expect("rchar");
        line.parse::<u64>().expect("a number")
    };
    let before = bytes_read();
    let opened = place.open(small()).expect("open");
    let read = bytes_read() - before;
    assert!(opened.recovery.clean_stop);
    assert!(read < 100_000, "{read} bytes of 40 MB were read");
    assert_eq!(opened.log.log_end(), end);
}
