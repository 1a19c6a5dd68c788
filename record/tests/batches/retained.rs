//! Batches with fewer of their records.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::{
    BatchBuilder, BatchError, BatchHeader, Compression, HEADER_BYTES, Keep, ProducerStamp, Record,
    RecordRef, Retained, Retainer, empty, records, stamp, verify, verify_records, visit,
};

use crate::made_up::{LIMIT_BYTES, compression, read, record};

const PRODUCER: ProducerStamp = ProducerStamp {
    id: 7,
    epoch: 2,
    base_sequence: 90,
};

fn stored(compression: Compression, sent: &[crate::made_up::Sent]) -> Bytes {
    let mut builder = BatchBuilder::new(compression).with_producer(PRODUCER);
    for record in sent {
        builder.push(&record.as_new());
    }
    let mut batch = builder.build().expect("records").to_vec();
    stamp(&mut batch, Offset(1_000), LeaderEpoch(4));
    batch.into()
}

fn retain(batch: &Bytes, keep: &[bool]) -> Option<Bytes> {
    let header = verify(batch).expect("sound");
    let mut retainer = Retainer::default();
    let base = header.base_offset.0;
    let kept = retainer.retain(&header, batch, LIMIT_BYTES, &mut |record: &RecordRef<
        '_,
    >| {
        keep[(record.offset.0 - base) as usize]
    });
    match kept.expect("readable") {
        Retained::All => Some(batch.clone()),
        Retained::Some(bytes) => Some(Bytes::copy_from_slice(bytes)),
        Retained::None => None,
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_as_it_was(
        sent in vec(record(), 1..20),
        compression in compression(),
        first in vec(any::<bool>(), 20),
        second in vec(any::<bool>(), 20),
    ) {
        let batch = stored(compression, &sent);
        let before = verify(&batch).expect("sound");
        let all = read(&batch);
        let kept_of = |keep: &[bool]| -> Vec<Record> {
            all.iter().zip(keep).filter(|(_, keep)| **keep).map(|(r, _)| r.clone()).collect()
        };
        let once = retain(&batch, &first);
        prop_assert_eq!(once.is_none(), kept_of(&first).is_empty());
        let Some(once) = once else { return Ok(()) };
        prop_assert_eq!(read(&once), kept_of(&first));
        // What was left is a batch like others, of which some can be taken again.
        let both: Vec<bool> = first.iter().zip(&second).map(|(a, b)| *a && *b).collect();
        let Some(twice) = retain(&once, &both) else {
            prop_assert!(kept_of(&both).is_empty());
            return Ok(());
        };
        prop_assert_eq!(read(&twice), kept_of(&both));
        let after = verify(&twice).expect("sound");
        prop_assert_eq!(after.record_count as usize, kept_of(&both).len());
        let same = BatchHeader {
            record_count: before.record_count,
            batch_length: before.batch_length,
            crc: before.crc,
            attributes: before.attributes,
            ..after
        };
        prop_assert_eq!(same, before, "offsets, times, epoch and producer stay");
        let mut seen = Vec::new();
        visit(&after, &twice, LIMIT_BYTES, |record| seen.push(record.offset)).expect("readable");
        prop_assert_eq!(seen, read(&twice).iter().map(|r| r.offset).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_that_loses_nothing_is_not_written_again() {
    let batch = stored(Compression::Zstd, &[a_record(), a_record()]);
    let header = verify(&batch).expect("sound");
    let mut retainer = Retainer::default();
    let kept = retainer.retain(&header, &batch, LIMIT_BYTES, &mut |_: &RecordRef<'_>| true);
    assert_eq!(kept, Ok(Retained::All));
}

#[test]
fn a_batch_without_records_is_a_batch_that_is_passed_over() {
    let batch = Bytes::copy_from_slice(&empty(Offset(5), Offset(5_000), 3, PRODUCER));
    let header = verify(&batch).expect("sound");
    assert_eq!(batch.len(), HEADER_BYTES);
    assert_eq!(header.next_offset(), Offset(5_001));
    assert_eq!((header.record_count, header.offsets()), (0, 4_996));
    assert_eq!((header.leader_epoch, header.producer_id), (3, 7));
    assert_eq!(
        records(batch.clone(), 0).expect("nothing to read").count(),
        0
    );
    let refused = verify_records(&header, &batch, LIMIT_BYTES);
    assert!(
        matches!(refused, Err(BatchError::Count { .. })),
        "no producer sends it"
    );
}

#[test]
fn reading_begins_at_the_first_record_that_is_left() {
    let batch = stored(Compression::None, &vec![a_record(); 6]);
    let batch = retain(&batch, &[true, false, false, true, false, true]).expect("some");
    for (from, expected) in [
        (1_000, 1_000),
        (1_001, 1_003),
        (1_003, 1_003),
        (1_004, 1_005),
    ] {
        let mut records = records(batch.clone(), LIMIT_BYTES).expect("sound");
        records.skip_before(Offset(from)).expect("sound");
        let next = records.next().expect("one is left").expect("sound");
        assert_eq!(next.offset, Offset(expected), "from {from}");
    }
    let mut records = records(batch, LIMIT_BYTES).expect("sound");
    records.skip_before(Offset(1_006)).expect("sound");
    assert_eq!(records.next(), None);
}

#[test]
fn records_beyond_the_limit_are_not_looked_at() {
    for compression in Compression::ALL {
        let batch = stored(compression, &vec![a_record(); 50]);
        let header = verify(&batch).expect("sound");
        let mut retainer = Retainer::default();
        let refused = retainer.retain(&header, &batch, 100, &mut |_: &RecordRef<'_>| false);
        let too_large = BatchError::DecompressedTooLarge { limit_bytes: 100 };
        assert_eq!(refused, Err(too_large), "{compression}");
    }
}

#[test]
fn records_of_one_offset_are_no_batch() {
    let mut batch = stored(Compression::None, &vec![a_record(); 3]).to_vec();
    let header = verify(&batch).expect("sound");
    // Length, attributes, timestamp, offset: the third record says that it is the second one.
    let record_bytes = (batch.len() - HEADER_BYTES) / 3;
    batch[HEADER_BYTES + 2 * record_bytes + 3] = 2;
    let read = visit(&header, &batch, LIMIT_BYTES, |_| ());
    assert!(
        matches!(read, Err(BatchError::Record { index: 2, .. })),
        "{read:?}"
    );
}

fn a_record() -> crate::made_up::Sent {
    crate::made_up::Sent {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value value value value")),
        headers: Vec::new(),
        timestamp_ms: 50,
    }
}

/// Only the last record of a batch stays.
#[derive(Default)]
struct Last(Offset);

impl Keep for Last {
    fn look(&mut self, record: &RecordRef<'_>) {
        self.0 = record.offset;
    }

    fn keep(&mut self, record: &RecordRef<'_>) -> bool {
        record.offset == self.0
    }
}

#[test]
fn all_records_are_shown_before_the_first_one_is_decided_on() {
    let batch = stored(Compression::Lz4, &[a_record(), a_record(), a_record()]);
    let header = verify(&batch).expect("sound");
    let mut retainer = Retainer::default();
    let kept = retainer.retain(&header, &batch, LIMIT_BYTES, &mut Last::default());
    let Ok(Retained::Some(kept)) = kept else {
        panic!("{kept:?}");
    };
    let left = read(&Bytes::copy_from_slice(kept));
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].offset, Offset(1_002));
}
