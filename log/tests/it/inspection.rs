//! The offline look into a directory.

use std::sync::Arc;

use taffrail_core::Offset;
use taffrail_log::{LogError, inspect, sim::SimDisk};

use crate::common::{OnDisk, append, batch, identity, small, sync};

#[test]
fn every_batch_is_listed_with_its_place() {
    let disk = SimDisk::new(1);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(small());
    for i in 0..50 {
        append(&mut log, batch(2, 100), i);
    }
    sync(&mut log);
    let bases = inspect::segments(&disk, &place.dir).expect("segments");
    let mut next = Offset::ZERO;
    for base in &bases {
        let mut position = 0;
        let batches = inspect::batches(place.disk.clone(), &place.dir, *base).expect("batches");
        for batch in batches {
            let batch = batch.expect("sound");
            assert_eq!((batch.header.base_offset, batch.position), (next, position));
            position += batch.bytes.len() as u64;
            next = batch.header.next_offset();
        }
    }
    assert_eq!(next, Offset(100));
    assert!(bases.len() > 2);
}

#[test]
fn a_sound_log_is_counted_and_has_no_findings_even_while_it_is_open() {
    let place = OnDisk::std();
    let mut log = place.create(small());
    for i in 0..50 {
        append(&mut log, batch(2, 100), i);
    }
    sync(&mut log);
    let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
    assert_eq!(verified.findings, []);
    assert_eq!(verified.identity, Some(identity()));
    assert_eq!((verified.batches, verified.records), (50, 100));
    assert_eq!(
        (verified.log_start, verified.log_end),
        (Offset::ZERO, Offset(100))
    );
    assert_eq!(verified.sealed + 1, verified.segments);
    assert_eq!(verified.torn_bytes, 0, "reserved room is nothing torn");
}

#[test]
fn a_torn_tail_is_told_apart_from_damage_and_nothing_is_changed() {
    for (flipped, torn) in [(9, true), (4, false)] {
        let disk = SimDisk::new(1);
        let place = OnDisk::on(Arc::new(disk.clone()));
        let mut log = place.create(small());
        for i in 0..10 {
            append(&mut log, batch(1, 100), i);
        }
        drop(log);
        let path = place.dir.join("00000000000000000000.log");
        disk.flip_bit(&path, flipped * batch(1, 100).len() as u64 + 70);
        let before = disk.content(&path);
        let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
        assert!(disk.content(&path) == before);
        assert_eq!(verified.findings.is_empty(), torn);
        assert_eq!(verified.torn_bytes > 0, torn);
        let last = inspect::batches(place.disk.clone(), &place.dir, Offset::ZERO)
            .expect("batches")
            .last()
            .expect("batches");
        assert!(matches!(last, Err(LogError::Damaged { offset, .. }) if offset.0 == flipped));
    }
}

#[test]
fn a_wrong_index_entry_is_a_finding() {
    let disk = SimDisk::new(1);
    let place = OnDisk::on(Arc::new(disk.clone()));
    let mut log = place.create(small());
    for i in 0..60 {
        append(&mut log, batch(1, 100), i);
    }
    log.close(Offset::ZERO).expect("close");
    // A good checksum over a wrong position: a bug, not a decayed bit.
    let path = place.dir.join("00000000000000000000.index");
    let bytes = disk.content(&path);
    let mut entry = bytes[12..24].to_vec();
    entry[7] ^= 1;
    let crc = crc32fast::hash(&[&0u64.to_be_bytes()[..], &entry[..8]].concat());
    entry[8..].copy_from_slice(&crc.to_be_bytes());
    let file = place
        .disk
        .open(&path, taffrail_log::disk::OpenMode::ReadWrite)
        .expect("open");
    file.write_at(&[std::io::IoSlice::new(&entry)], 12)
        .expect("write");
    let verified = inspect::verify(place.disk.clone(), &place.dir).expect("verify");
    assert_eq!(verified.findings.len(), 1);
    assert_eq!(verified.findings[0].path, path);
}
