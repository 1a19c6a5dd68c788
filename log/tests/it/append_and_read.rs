//! Append, roll, read.

use bytes::Bytes;
use taffrail_core::{LeaderEpoch, Offset};
use taffrail_log::LogError;
use taffrail_record::{BatchError, verify};

use crate::common::{OnDisk, append, batch, batch_at, headers_from, small, sync, try_append};

#[test]
fn what_was_appended_is_read_in_order_over_many_segments() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for i in 0..100 {
        let appended = append(&mut log, batch(3, 100), i);
        assert_eq!(appended.base_offset, Offset(3 * i as u64));
        assert_eq!(appended.next_offset, Offset(3 * i as u64 + 3));
        if i % 7 == 0 {
            sync(&mut log);
        }
    }
    assert!(log.reader().segments().len() > 8);
    let headers = headers_from(&log, Offset::ZERO);
    let offsets: Vec<u64> = headers.iter().map(|h| h.base_offset.0).collect();
    assert_eq!(offsets, (0..100).map(|i| i * 3).collect::<Vec<_>>());
    assert!(headers.iter().all(|h| h.leader_epoch == 1));
    sync(&mut log);
    assert_eq!(headers_from(&log, Offset(150)).len(), 50);
    assert_eq!(
        headers_from(&log, Offset(151)).len(),
        50,
        "a batch is not cut"
    );
}

#[test]
fn a_large_read_is_mapped_and_a_held_chunk_survives_everything() {
    let place = OnDisk::std();
    let mut log = place.create(taffrail_log::LogConfig {
        segment_bytes: 1 << 20,
        ..small()
    });
    for i in 0..30 {
        append(&mut log, batch(10, 10_000), i);
    }
    sync(&mut log);
    let reader = log.reader();
    let first = reader
        .read(Offset::ZERO, 500_000, Offset(u64::MAX))
        .expect("read");
    assert!(first.bytes() > 400_000 && first.bytes() <= 500_000);
    let last = reader
        .read(Offset(250), 500_000, Offset(u64::MAX))
        .expect("read");
    let copy: Vec<u8> = last.chunks.concat();
    log.truncate(Offset(200)).expect("truncate");
    log.delete().expect("delete");
    assert_eq!(last.chunks.concat(), copy);
    taffrail_record::split(&first.chunks[0]).for_each(|b| {
        verify(&b.expect("batch").1).expect("sound");
    });
}

#[test]
fn nothing_beyond_the_bound_is_read() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for i in 0..10 {
        append(&mut log, batch(2, 10), i);
    }
    let reader = log.reader();
    let read = reader.read(Offset::ZERO, 1 << 20, Offset(7)).expect("read");
    assert_eq!(
        read.next_offset,
        Offset(6),
        "the batch of 6 and 7 ends after the bound"
    );
    let none = reader.read(Offset(6), 1 << 20, Offset(7)).expect("read");
    assert!(none.chunks.is_empty());
    assert_eq!(none.next_offset, Offset(6));
}

#[test]
fn at_least_one_batch_is_given_however_small_the_limit() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    append(&mut log, batch(1, 2000), 0);
    append(&mut log, batch(1, 2000), 0);
    let read = log
        .reader()
        .read(Offset::ZERO, 10, Offset(9))
        .expect("read");
    assert_eq!(read.next_offset, Offset(1));
}

#[test]
fn an_offset_out_of_range_is_told_the_range() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    append(&mut log, batch(5, 10), 0);
    let error = log
        .reader()
        .read(Offset(6), 10, Offset(9))
        .expect_err("beyond the end");
    assert!(error.to_string().contains("0 to 5"), "{error}");
    assert!(
        log.reader()
            .read(Offset(5), 10, Offset(9))
            .expect("the end")
            .chunks
            .is_empty()
    );
}

#[test]
fn an_append_of_an_older_epoch_is_refused() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    try_append(&mut log, &[batch(1, 1)], 5, 0).expect("append");
    let error = try_append(&mut log, &[batch(1, 1)], 4, 0).expect_err("older");
    assert!(matches!(
        error,
        LogError::StaleEpoch {
            given: LeaderEpoch(4),
            last: LeaderEpoch(5)
        }
    ));
    assert_eq!(log.log_end(), Offset(1));
}

#[test]
fn several_batches_are_appended_at_once() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    let batches: Vec<_> = (1..40).map(|i| batch(i, 5)).collect();
    let appended = try_append(&mut log, &batches, 1, 0).expect("append");
    assert_eq!(appended.next_offset, Offset((1..40).sum::<u32>().into()));
    assert_eq!(headers_from(&log, Offset::ZERO).len(), 39);
}

#[test]
fn a_segment_is_rolled_by_age() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    append(&mut log, batch(1, 1), 1_000);
    append(&mut log, batch(1, 1), 3_600_999);
    assert_eq!(log.reader().segments().len(), 1);
    append(&mut log, batch(1, 1), 3_601_000);
    assert_eq!(log.reader().segments().len(), 2);
}

#[test]
fn record_times_are_looked_up_exactly() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    // Out of order: 200 batches whose times jump back and forth.
    let times: Vec<i64> = (0..200).map(|i| 10_000 + (i * 37 % 101) * 10).collect();
    for (i, time) in times.iter().enumerate() {
        append(&mut log, batch_at(*time, 2, 30), i as i64);
    }
    let check = |log: &taffrail_log::PartitionLog| {
        for ts in (9_990..11_020).step_by(3) {
            let expected = times.iter().enumerate().find_map(|(i, t)| {
                let within = (0..2).find(|r| t + r >= ts)?;
                Some((Offset(2 * i as u64 + within as u64), t + within))
            });
            assert_eq!(
                log.reader().offset_for_timestamp(ts).expect("lookup"),
                expected,
                "{ts}"
            );
        }
    };
    check(&log);
    sync(&mut log);
    check(&log);
    log.close(Offset(400)).expect("close");
    check(&place.open(small()).expect("open").log);
}

#[test]
fn records_that_cannot_be_read_are_no_damage_to_a_lookup_by_time() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    append(&mut log, batch_at(1_000, 2, 30), 0);
    append(&mut log, unreadable(5_000), 0);
    append(&mut log, batch_at(9_000, 2, 30), 0);
    let lookup = |ts| log.reader().offset_for_timestamp(ts).expect("lookup");
    assert_eq!(lookup(1_001), Some((Offset(1), 1_001)));
    assert_eq!(lookup(2_000), Some((Offset(2), 5_000)), "by its header");
    assert_eq!(lookup(5_001), Some((Offset(4), 9_000)), "behind it");
}

/// Two records' count, none of their bytes; the checksum holds.
fn unreadable(time_ms: i64) -> Bytes {
    let mut bytes = batch_at(time_ms, 2, 30).to_vec();
    bytes[61..].fill(0xff);
    bytes[27..35].copy_from_slice(&time_ms.to_be_bytes());
    bytes[35..43].copy_from_slice(&time_ms.to_be_bytes());
    if let Err(BatchError::Crc { actual, .. }) = verify(&bytes) {
        bytes[17..21].copy_from_slice(&actual.to_be_bytes());
    }
    bytes.into()
}

#[test]
fn append_time_never_goes_back_and_is_found_by_offset() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    assert_eq!(append(&mut log, batch(1, 1000), 500).append_time_ms, 500);
    assert_eq!(append(&mut log, batch(1, 1000), 400).append_time_ms, 500);
    assert_eq!(append(&mut log, batch(1, 1000), 900).append_time_ms, 900);
    let time = |o| log.reader().append_time_ms(Offset(o)).expect("lookup");
    assert_eq!(
        [time(0), time(1), time(2), time(3)],
        [Some(500), Some(500), Some(900), None]
    );
    assert_eq!(log.oldest_append_time_ms(), Some(500));
}
