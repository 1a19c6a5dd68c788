//! What a log knows of its producers, its batches say, also when their records are gone.

use taffrail_core::{Offset, producers::ProducerTable};
use taffrail_record::{Compression, ProducerStamp};

use super::fixture::{Fixture, compacted, key, keyed, text};
use crate::common::headers_from;

fn append(fixture: &mut Fixture, id: i64, epoch: i16, base_sequence: i32, records: u32) {
    let producer = ProducerStamp {
        id,
        epoch,
        base_sequence,
    };
    let records = (0..records).map(|k| (key(k), Some(text(k))));
    fixture.append_batch(keyed(Compression::None, producer, records));
}

/// Three producers of very different zeal, one of them with a new epoch.
fn history(fixture: &mut Fixture) {
    for id in [1, 2] {
        append(fixture, id, 0, 0, 3);
    }
    for n in 0..40 {
        append(fixture, 3, 0, n * 2, 2);
        fixture.append(Compression::None, [(key(9), Some(text(9)))]);
    }
    append(fixture, 2, 1, 0, 4);
    append(fixture, 2, 1, 4, 1);
    for _ in 0..4 {
        fixture.append(Compression::None, [(key(9), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
}

fn remove_snapshots(fixture: &Fixture) {
    let names = fixture.place.disk.list(&fixture.place.dir).expect("list");
    for name in names.iter().filter(|name| name.ends_with(".producers")) {
        fixture.remove_file(name);
    }
}

/// The batches that it remembers.
fn said_of(table: &ProducerTable) -> Vec<u64> {
    let mut remembered: Vec<u64> = table.remembered().map(|offset| offset.0).collect();
    remembered.sort_unstable();
    remembered
}

#[test]
fn the_producers_of_a_compacted_log_are_those_of_the_whole_one() {
    let mut fixture = Fixture::new(compacted());
    history(&mut fixture);
    let before = fixture.log.producers().clone();
    let done = fixture.compact().expect("due");
    assert!(done.records_removed > 80);
    fixture.reopen();
    assert_eq!(said_of(fixture.log.producers()), said_of(&before));
    remove_snapshots(&fixture);
    fixture.open_after_kill();
    assert_eq!(said_of(fixture.log.producers()), said_of(&before));
}

#[test]
fn a_producers_batches_are_kept_only_as_long_as_they_say_something() {
    let mut fixture = Fixture::new(compacted());
    history(&mut fixture);
    fixture.compact().expect("due");
    let of_the_zealous = |fixture: &Fixture| {
        let headers = headers_from(&fixture.log, Offset(0)).into_iter();
        headers.filter(|h| h.producer_id == 3).count()
    };
    assert_eq!(of_the_zealous(&fixture), 16, "as many as are remembered");
    for n in 40..80 {
        append(&mut fixture, 3, 0, n * 2, 2);
    }
    fixture.settle();
    let before = fixture.log.producers().clone();
    fixture.compact().expect("due");
    assert!(of_the_zealous(&fixture) < 40);
    remove_snapshots(&fixture);
    fixture.open_after_kill();
    assert_eq!(said_of(fixture.log.producers()), said_of(&before));
}

#[test]
fn a_snapshot_within_a_segment_stays_good() {
    let mut fixture = Fixture::new(compacted());
    append(&mut fixture, 1, 0, 0, 2);
    // A clean stop leaves a snapshot of the middle of the segment.
    fixture.reopen();
    for n in 1..30 {
        append(&mut fixture, 1, 0, n * 2, 2);
    }
    fixture.settle();
    let before = fixture.log.producers().clone();
    fixture.compact().expect("due");
    let headers = headers_from(&fixture.log, Offset(0));
    assert!(
        headers.iter().any(|h| h.base_offset == Offset(2)),
        "a batch begins there"
    );
    fixture.reopen();
    assert_eq!(said_of(fixture.log.producers()), said_of(&before));
}
