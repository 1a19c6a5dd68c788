//! Of each key the last record stays. One scenario per test.

mod crash;
mod exchange;
mod fixture;
mod followers;
mod histories;
mod producers;
mod tombstones;

use std::time::Duration;

use bytes::Bytes;
use taffrail_core::Offset;
use taffrail_log::{CompactionConfig, LogConfig, LogError, inspect};
use taffrail_record::{Compression, ProducerStamp, with_producer};

use self::fixture::{Fixture, compacted, key, keyed, text};
use crate::common::{OnDisk, batch, headers_from, sync};

#[test]
fn of_each_key_the_last_record_stays_at_its_offset() {
    for compression in Compression::ALL {
        let mut fixture = Fixture::new(compacted());
        for round in 0..20 {
            let records = (0..10).map(|k| (key(k * (round % 3 + 1)), Some(text(round))));
            fixture.append(compression, records);
        }
        fixture.settle();
        let before = fixture.records();
        let done = fixture.compact().expect("a pass is due");
        assert!(done.records_removed > 0 && done.bytes_after < done.bytes_before);
        fixture.check_kept(&before, done.cleaned_to);
        assert!(fixture.compact().is_none(), "nothing is dirty any more");
    }
}

#[test]
fn where_nothing_is_left_there_is_one_empty_batch_that_readers_pass_over() {
    let mut fixture = Fixture::new(compacted());
    for round in 0..30 {
        fixture.append(Compression::None, [(key(1), Some(text(round)))]);
    }
    fixture.settle();
    let done = fixture.compact().expect("due");
    let mut headers = headers_from(&fixture.log, Offset(0));
    headers.retain(|header| header.base_offset < done.cleaned_to);
    let records: u32 = headers.iter().map(|h| h.record_count).sum();
    let segments = fixture.log.reader().segments().len();
    assert_eq!(
        (records, headers.len()),
        (1, segments),
        "one for each but the active one, and the record"
    );
    assert_eq!(
        (headers[0].base_offset, headers[0].record_count),
        (Offset(0), 0)
    );
    let reader = fixture.log.reader();
    for from in 0..reader.log_end().0 {
        let read = reader
            .read(Offset(from), 1, Offset(u64::MAX))
            .expect("read");
        assert!(
            read.next_offset > Offset(from),
            "a read goes on from {from}"
        );
        let header = taffrail_record::verify(&read.chunks[0]).expect("one batch");
        assert!(header.base_offset <= Offset(from) && header.next_offset() > Offset(from));
    }
    // The time of what is gone is found where the next record is.
    let first = fixture.records().into_keys().next().map(Offset);
    let found = reader.offset_for_timestamp(0).expect("lookup");
    assert_eq!(found, first.map(|first| (first, 1_000)));
}

#[test]
fn the_epochs_are_those_of_the_batches_when_most_are_gone() {
    let mut fixture = Fixture::new(compacted());
    for epoch in 1..=6 {
        fixture.epoch = epoch;
        for _ in 0..4 {
            fixture.append(Compression::None, [(key(1), Some(text(epoch)))]);
        }
    }
    fixture.settle();
    let epochs = fixture.log.epochs().to_vec();
    fixture.compact().expect("due");
    fixture.remove_file("epochs");
    fixture.reopen();
    assert_eq!(fixture.log.epochs(), epochs);
}

#[test]
fn what_is_young_above_the_high_watermark_or_active_is_not_touched() {
    let config = LogConfig {
        compaction: Some(CompactionConfig {
            min_lag: Duration::from_secs(10),
            ..compacted().compaction.expect("compacted")
        }),
        ..compacted()
    };
    let mut fixture = Fixture::new(config);
    for round in 0..12 {
        fixture.append(Compression::None, [(key(1), Some(vec![b'x'; 300]))]);
        fixture.now_ms += if round == 5 { 20_000 } else { 0 };
    }
    let all = fixture.records();
    sync(&mut fixture.log);
    fixture.log.checkpoint(Offset(4)).expect("checkpoint");
    fixture.now_ms += 5_000;
    let done = fixture.compact().expect("due");
    assert!(
        done.cleaned_to <= Offset(4),
        "below the high watermark: {done:?}"
    );
    fixture.settle();
    let done = fixture.compact().expect("due");
    assert!(done.cleaned_to <= Offset(6), "old enough: {done:?}");
    fixture.now_ms += 60_000;
    let done = fixture.compact().expect("due");
    let segments = fixture.log.reader().segments();
    let active = segments.last().expect("an active segment").base_offset;
    assert_eq!(done.cleaned_to, active);
    fixture.check_kept(&all, active);
    let untouched = all.range(active.0..).count();
    assert_eq!(fixture.records().range(active.0..).count(), untouched);
}

#[test]
fn a_map_that_is_too_small_means_more_passes_and_the_same_end() {
    let mut fixture = Fixture::new(compacted());
    for round in 0..10 {
        for k in 0..40 {
            fixture.append(Compression::None, [(key(k), Some(text(round)))]);
        }
    }
    fixture.settle();
    let before = fixture.records();
    let mut passes = 0;
    let mut cleaned_to = Offset(0);
    // The smallest map there is: twelve keys.
    while let Some(done) = fixture.compact_with(0, |_| true) {
        assert!(done.cleaned_to > cleaned_to, "each pass comes further");
        cleaned_to = done.cleaned_to;
        passes += 1;
        fixture.now_ms += Duration::from_hours(25).as_millis() as i64;
    }
    assert!(passes > 10, "{passes}");
    fixture.check_is_subset_of(&before);
}

#[test]
fn records_without_a_key_and_batches_that_nobody_can_read_stay() {
    let mut fixture = Fixture::new(compacted());
    for _ in 0..10 {
        fixture.append_batch(batch(2, 100));
        fixture.append_batch(fixture::unreadable());
        fixture.append(Compression::None, [(key(1), Some(text(1)))]);
    }
    fixture.settle();
    let crcs = |fixture: &Fixture| -> Vec<u32> {
        let headers = headers_from(&fixture.log, Offset(0));
        headers
            .iter()
            .filter(|h| h.record_count > 1)
            .map(|h| h.crc)
            .collect()
    };
    let before = crcs(&fixture);
    let done = fixture.compact().expect("due");
    assert!(done.records_removed > 0);
    assert_eq!(crcs(&fixture), before);
}

/// The same batch, with these flags among its attributes.
fn flagged(batch: &[u8], flags: u8) -> Bytes {
    let mut batch = batch.to_vec();
    batch[22] |= flags;
    // Numbers that are the same, so that the checksum is made again.
    with_producer(&batch, ProducerStamp::NONE)
}

#[test]
fn what_ends_a_transaction_stays_and_takes_no_records_place() {
    const CONTROL: u8 = 0b11_0000;
    let mut fixture = Fixture::new(compacted());
    let none = ProducerStamp::NONE;
    fixture.append(Compression::None, [(key(2), Some(text(2)))]);
    for round in 0..12 {
        let end = keyed(
            Compression::None,
            none,
            [1, 2].map(|k| (key(k), Some(text(round)))),
        );
        fixture.append_batch(flagged(&end, CONTROL));
        fixture.append(Compression::None, [(key(1), Some(text(round)))]);
    }
    fixture.settle();
    let ends = |fixture: &Fixture| -> Vec<(Offset, u32)> {
        let mut headers = headers_from(&fixture.log, Offset(0));
        headers.retain(|header| header.attributes.is_control());
        headers.iter().map(|h| (h.base_offset, h.crc)).collect()
    };
    let before = ends(&fixture);
    let done = fixture.compact().expect("due");
    assert!(done.records_removed > 5);
    assert_eq!((ends(&fixture), before.len()), (before, 12));
    let first = fixture.records().remove(&0);
    assert!(first.is_some(), "no other record has its key");
}

/// Before there are transactions this has to end at the first that is open: a pending offset must not take the place of one that counts.
#[test]
fn a_record_of_a_transaction_is_one_like_others() {
    const TRANSACTIONAL: u8 = 0b1_0000;
    let mut fixture = Fixture::new(compacted());
    for round in 0..20 {
        let records = keyed(
            Compression::None,
            ProducerStamp::NONE,
            [(key(1), Some(text(round)))],
        );
        fixture.append_batch(flagged(&records, TRANSACTIONAL));
    }
    fixture.settle();
    let before = fixture.records();
    let done = fixture.compact().expect("due");
    fixture.check_kept(&before, done.cleaned_to);
}

#[test]
fn small_neighbours_become_one_segment_and_none_is_larger_than_it_may_be() {
    let mut fixture = Fixture::new(compacted());
    for round in 0..200 {
        fixture.append(Compression::None, [(key(round % 3), Some(vec![b'x'; 500]))]);
    }
    fixture.settle();
    let many = fixture.log.reader().segments().len();
    fixture.compact().expect("due");
    for round in 0..200 {
        fixture.append(Compression::None, [(key(round % 3), Some(vec![b'x'; 500]))]);
    }
    fixture.settle();
    let done = fixture.compact().expect("due");
    let segments = fixture.log.reader().segments();
    assert!(
        segments.len() < many + many / 4,
        "{many}, then {}",
        segments.len()
    );
    let limit = compacted().segment_bytes;
    assert!(
        segments.iter().all(|segment| segment.bytes <= limit),
        "{segments:?}"
    );
    let logs = inspect::segments(&*fixture.place.disk, &fixture.place.dir).expect("list");
    assert_eq!(logs.len(), segments.len(), "no file is left of the others");
    assert_eq!(fixture.records().range(..done.cleaned_to.0).count(), 3);
    fixture.reopen();
    assert_eq!(fixture.records().range(..done.cleaned_to.0).count(), 3);
}

#[test]
fn a_damaged_batch_ends_the_pass_and_its_segment_stays_as_it_is() {
    let mut fixture = Fixture::new(compacted());
    for round in 0..30 {
        fixture.append(Compression::None, [(key(1), Some(text(round)))]);
    }
    fixture.settle();
    let path = fixture.log_path(Offset(0));
    fixture.disk.flip_bit(&path, 100);
    let damaged = fixture.disk.content(&path);
    let failed = fixture.try_compact(1 << 20, |_| true);
    assert!(
        matches!(failed, Err(LogError::Damaged { .. })),
        "{failed:?}"
    );
    assert_eq!(fixture.disk.content(&path), damaged);
    assert_eq!(fixture.left_over(), Vec::<String>::new());
}

#[test]
fn a_pass_that_is_told_to_stop_stops_and_leaves_no_file() {
    let mut fixture = Fixture::new(compacted());
    for round in 0..60 {
        fixture.append(Compression::None, [(key(round % 9), Some(text(round)))]);
    }
    fixture.settle();
    let before = fixture.records();
    for calls in 0.. {
        let mut left = calls;
        let go_on = |_| {
            left -= 1;
            left >= 0
        };
        let stopped = fixture.try_compact(1 << 20, go_on).expect("no error");
        assert_eq!(fixture.left_over(), Vec::<String>::new());
        fixture.check_is_subset_of(&before);
        if let Some(done) = stopped {
            assert!(calls > 4, "it asks often: {calls}");
            fixture.check_kept(&before, done.cleaned_to);
            break;
        }
    }
}

#[test]
fn expiry_goes_by_the_times_at_which_records_were_appended() {
    let config = LogConfig {
        retention: Some(Duration::from_secs(100)),
        ..compacted()
    };
    let mut fixture = Fixture::new(config);
    for round in 0..40 {
        fixture.append(Compression::None, [(key(round % 2), Some(vec![b'x'; 300]))]);
        fixture.now_ms += 1_000;
    }
    fixture.settle();
    let times = |fixture: &Fixture| -> Vec<Option<i64>> {
        let segments = fixture.log.reader().segments();
        segments
            .iter()
            .map(|segment| segment.last_append_time_ms)
            .collect()
    };
    let before = times(&fixture);
    fixture.compact().expect("due");
    assert_eq!(
        times(&fixture),
        before,
        "segments that may expire stay apart"
    );
    fixture.reopen();
    assert_eq!(times(&fixture), before);
    fixture.now_ms = before[2].expect("appended") + 100_001;
    let high_watermark = fixture.log.durable_end();
    let expired = fixture.log.expire(fixture.now_ms, high_watermark);
    assert_eq!(expired.expect("expire").segments, 3);
}

#[test]
fn a_log_of_real_files_is_compacted_under_its_readers() {
    let place = OnDisk::std();
    let mut log = place.create(compacted());
    for round in 0..100 {
        let batch = keyed(
            Compression::Lz4,
            ProducerStamp::NONE,
            [(key(round % 5), Some(vec![b'x'; 400]))],
        );
        crate::common::append(&mut log, batch, 1_000 + i64::from(round));
    }
    sync(&mut log);
    log.checkpoint(Offset(100)).expect("checkpoint");
    let reader = log.reader();
    let held = reader
        .read(Offset(0), 1 << 20, Offset(u64::MAX))
        .expect("read");
    let copy: Vec<Vec<u8>> = held.chunks.iter().map(|c| c.to_vec()).collect();
    let pass = log
        .plan_compaction(10_000, Offset(u64::MAX))
        .expect("sound")
        .expect("due");
    let result = pass.run(1 << 20, |_| true);
    let done = log
        .compaction_done(pass, result)
        .expect("done")
        .expect("whole");
    assert!(done.records_removed > 50);
    assert_eq!(held.chunks, copy, "what readers hold stays");
    let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
    assert_eq!(verified.findings, []);
    assert_eq!(verified.log_end, Offset(100));
    log.close(Offset(100)).expect("close");
    let opened = place.open(compacted()).expect("open");
    assert_eq!(
        headers_from(&opened.log, Offset(0))
            .iter()
            .map(|h| u64::from(h.offsets()))
            .sum::<u64>(),
        100
    );
}
