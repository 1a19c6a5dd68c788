//! What is built is read back.

use crate::made_up::{LIMIT_BYTES, Sent, build, compression, read, some_records};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use taffrail_core::{ErrorCode, LeaderEpoch, Offset};
use taffrail_record::{
    BatchBuilder, BatchError, BatchHeader, Compression, HEADER_BYTES, NewRecord, ProducerStamp,
    records, split, stamp, stamped_prefix, verify,
};

proptest! {
    #[test]
    fn records_come_back_as_they_were_sent(sent in some_records(), compression in compression()) {
        let batch = build(compression, &sent);
        let header = verify(&batch).expect("sound");
        prop_assert_eq!(header.record_count as usize, sent.len());
        prop_assert_eq!(header.base_timestamp_ms, sent[0].timestamp_ms);
        prop_assert_eq!(header.max_timestamp_ms, sent.iter().map(|s| s.timestamp_ms).max().expect("some"));
        let back: Vec<Sent> = read(&batch).into_iter().map(Sent::from).collect();
        prop_assert_eq!(back, sent);
    }

    #[test]
    fn borrowed_records_are_the_owned_ones(sent in some_records(), compression in compression()) {
        let batch = build(compression, &sent);
        let mut borrowed = records(batch.clone(), LIMIT_BYTES).expect("sound");
        for owned in read(&batch) {
            let record = borrowed.next_ref().expect("as many").expect("sound");
            prop_assert_eq!(record.offset, owned.offset);
            prop_assert_eq!(record.timestamp_ms, owned.timestamp_ms);
            prop_assert_eq!(record.key, owned.key.as_deref());
            prop_assert_eq!(record.value, owned.value.as_deref());
            let headers: Vec<_> = record.headers().collect();
            let expected: Vec<_> = owned.headers.iter().map(|h| (h.key.as_bytes(), h.value.as_deref())).collect();
            prop_assert_eq!(headers, expected);
        }
        prop_assert!(borrowed.next_ref().is_none());
    }

    #[test]
    fn a_stamped_batch_is_sound_and_its_records_have_the_brokers_offsets(
        sent in some_records(), base in 0..1u64 << 62, epoch in 0..1u32 << 30,
    ) {
        let batch = build(Compression::None, &sent);
        let mut stamped = BytesMut::from(&batch[..]);
        stamp(&mut stamped, Offset(base), LeaderEpoch(epoch));
        let prefix = stamped_prefix(&batch, Offset(base), LeaderEpoch(epoch));
        prop_assert_eq!(&stamped[..16], &prefix[..]);
        prop_assert_eq!(&stamped[16..], &batch[16..]);
        let header = verify(&stamped).expect("the checksum does not cover what the broker sets");
        prop_assert_eq!(header.leader_epoch, epoch as i32);
        prop_assert_eq!(header.next_offset(), Offset(base + sent.len() as u64));
        let offsets: Vec<u64> = read(&stamped.freeze()).iter().map(|r| r.offset.0).collect();
        let expected: Vec<u64> = (base..base + sent.len() as u64).collect();
        prop_assert_eq!(offsets, expected);
    }

    #[test]
    fn a_batch_is_as_long_as_its_builder_foretold(sent in some_records()) {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in &sent {
            let before = builder.len_bytes();
            builder.push(&record.as_new());
            prop_assert!(builder.len_bytes() - before <= BatchBuilder::record_bytes_max(&record.as_new()));
        }
        let foretold = builder.len_bytes();
        prop_assert_eq!(builder.build().expect("records").len(), foretold);
    }

    #[test]
    fn batches_that_lie_back_to_back_are_told_apart(runs in proptest::collection::vec(some_records(), 0..4)) {
        let batches: Vec<Bytes> = runs.iter().map(|sent| build(Compression::None, sent)).collect();
        let together = Bytes::from(batches.concat());
        let apart: Vec<Bytes> = split(&together).map(|b| b.expect("sound").1).collect();
        prop_assert_eq!(apart, batches);
    }
}

#[test]
fn an_empty_builder_builds_nothing() {
    assert_eq!(BatchBuilder::new(Compression::Zstd).build(), None);
}

#[test]
fn a_builder_is_used_again_for_the_next_batch() {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in [&b"first"[..], b"second"] {
        builder.push(&NewRecord {
            value: Some(value),
            ..NewRecord::default()
        });
        let batch = builder.build().expect("one record");
        let read = read(&batch);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value.as_deref(), Some(value));
        assert!(builder.is_empty());
    }
}

#[test]
fn a_record_that_does_not_fit_is_left_out_and_the_batch_stays_whole() {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        value: Some(&[7; 100]),
        timestamp_ms: 5,
        ..NewRecord::default()
    };
    assert!(!builder.push_within(&record, 100));
    assert!(builder.is_empty());
    assert!(builder.push_within(&record, 200));
    assert!(!builder.push_within(&record, 200));
    assert_eq!(read(&builder.build().expect("one")).len(), 1);
}

#[test]
fn a_batch_that_does_not_shrink_is_stored_as_it_is() {
    let sent = [Sent {
        key: None,
        value: Some(Bytes::from_static(b"x")),
        headers: vec![],
        timestamp_ms: 1,
    }];
    for compression in Compression::ALL {
        let header = verify(&build(compression, &sent)).expect("sound");
        assert_eq!(header.attributes.compression(), Compression::None);
    }
}

#[test]
fn the_producer_is_in_the_header() {
    let stamp = ProducerStamp {
        id: 77,
        epoch: 3,
        base_sequence: 1000,
    };
    let mut builder = BatchBuilder::new(Compression::None).with_producer(stamp);
    builder.push(&NewRecord::default());
    let header = verify(&builder.build().expect("one")).expect("sound");
    assert_eq!(
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        ),
        (77, 3, 1000)
    );
}

#[test]
fn a_flipped_bit_anywhere_after_the_checksum_is_found() {
    let batch = build(
        Compression::None,
        &[Sent {
            key: Some(Bytes::from_static(b"N12345")),
            value: Some(Bytes::from_static(b"EWR,IAH,1400")),
            headers: vec![],
            timestamp_ms: 1,
        }],
    );
    for at in 21..batch.len() {
        for bit in 0..8 {
            let mut damaged = batch.to_vec();
            damaged[at] ^= 1 << bit;
            assert!(verify(&damaged).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn each_thing_that_can_be_wrong_has_its_own_error() {
    let batch = build(
        Compression::None,
        &[Sent {
            key: None,
            value: None,
            headers: vec![],
            timestamp_ms: 1,
        }],
    );
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = batch.to_vec();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        verify(&damaged).expect_err("damaged")
    };
    let total = batch.len();
    assert_eq!(with(16, &[1]), BatchError::Magic(1));
    assert_eq!(with(8, &48i32.to_be_bytes()), BatchError::Length(48));
    assert_eq!(with(8, &(-1i32).to_be_bytes()), BatchError::Length(-1));
    assert_eq!(
        with(8, &1000i32.to_be_bytes()),
        BatchError::Truncated {
            needed: 1012,
            available: total
        }
    );
    assert_eq!(
        with(8, &50i32.to_be_bytes()),
        BatchError::LengthMismatch {
            declared: 62,
            actual: total
        }
    );
    assert_eq!(with(0, &[0xff]), BatchError::NegativeBaseOffset(0xff << 56));
    assert_eq!(with(22, &[5]), BatchError::UnknownCompression(5));
    assert_eq!(with(22, &[5]).code(), ErrorCode::UnsupportedCompression);
    assert_eq!(
        with(57, &2i32.to_be_bytes()),
        BatchError::Count {
            count: 2,
            last_offset_delta: 0
        }
    );
    assert_eq!(
        with(57, &(-1i32).to_be_bytes()),
        BatchError::Count {
            count: -1,
            last_offset_delta: 0
        }
    );
    assert!(matches!(
        with(17, &[0; 4]),
        BatchError::Crc { expected: 0, .. }
    ));
    assert_eq!(with(17, &[0; 4]).code(), ErrorCode::CorruptBatch);
    assert_eq!(
        BatchHeader::parse(&batch[..HEADER_BYTES - 1]),
        Err(BatchError::Truncated {
            needed: 61,
            available: 60
        })
    );
}

#[test]
fn a_tail_that_is_cut_short_is_an_error_and_the_end() {
    let batch = build(
        Compression::None,
        &[Sent {
            key: None,
            value: None,
            headers: vec![],
            timestamp_ms: 1,
        }],
    );
    let bytes = Bytes::from([&batch[..], &batch[..batch.len() - 1]].concat());
    let items: Vec<_> = split(&bytes).collect();
    assert_eq!(items.len(), 2);
    assert!(items[0].is_ok());
    assert!(matches!(items[1], Err(BatchError::Truncated { .. })));
}

#[test]
fn a_decompression_bomb_is_refused_at_the_limit() {
    let sent = [Sent {
        key: None,
        value: Some(Bytes::from(vec![0; 4 << 20])),
        headers: vec![],
        timestamp_ms: 1,
    }];
    for compression in &Compression::ALL[1..] {
        let batch = build(*compression, &sent);
        assert!(batch.len() < 1 << 20, "{compression} packs zeros");
        let error = records(batch.clone(), 1 << 20).expect_err("too large");
        assert_eq!(
            error,
            BatchError::DecompressedTooLarge {
                limit_bytes: 1 << 20
            },
            "{compression}"
        );
        assert_eq!(read(&batch).len(), 1, "{compression}");
    }
}
