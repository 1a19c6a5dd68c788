//! The `kafka-protocol` crate reads what we write, and we read what it writes, in all compressions.

use crate::made_up::{Sent, build, compression, read, some_records};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    protocol::StrBytes,
    records::{
        Compression as TheirCompression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
        NO_PRODUCER_ID, NO_SEQUENCE, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
        RecordEncodeOptions, TimestampType,
    },
};
use proptest::prelude::*;
use taffrail_record::{Compression, Header, verify};

fn to_theirs(offset: i64, sent: &Sent) -> TheirRecord {
    let headers: IndexMap<StrBytes, Option<Bytes>> = sent
        .headers
        .iter()
        .map(|h| (StrBytes::from_string(h.key.clone()), h.value.clone()))
        .collect();
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        // Their encoder starts a new batch where offset and sequence part.
        sequence: NO_SEQUENCE.wrapping_add(offset as i32),
        timestamp: sent.timestamp_ms,
        key: sent.key.clone(),
        value: sent.value.clone(),
        headers,
    }
}

fn from_theirs(record: TheirRecord) -> Sent {
    Sent {
        key: record.key,
        value: record.value,
        headers: record
            .headers
            .into_iter()
            .map(|(key, value)| Header {
                key: key.to_string(),
                value,
            })
            .collect(),
        timestamp_ms: record.timestamp,
    }
}

fn their_compression(compression: Compression) -> TheirCompression {
    match compression {
        Compression::None => TheirCompression::None,
        Compression::Gzip => TheirCompression::Gzip,
        Compression::Snappy => TheirCompression::Snappy,
        Compression::Lz4 => TheirCompression::Lz4,
        Compression::Zstd => TheirCompression::Zstd,
    }
}

proptest! {
    #[test]
    fn they_read_what_we_write(sent in some_records(), compression in compression()) {
        let mut batch = build(compression, &sent);
        let theirs = RecordBatchDecoder::decode(&mut batch).expect("they can read it");
        let offsets: Vec<i64> = theirs.records.iter().map(|r| r.offset).collect();
        let expected: Vec<i64> = (0..sent.len() as i64).collect();
        prop_assert_eq!(offsets, expected);
        let back: Vec<Sent> = theirs.records.into_iter().map(from_theirs).collect();
        prop_assert_eq!(back, sent);
    }

    #[test]
    fn we_read_what_they_write(sent in some_records(), compression in compression()) {
        let theirs: Vec<TheirRecord> =
            sent.iter().enumerate().map(|(i, s)| to_theirs(i as i64, s)).collect();
        let mut out = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: their_compression(compression) };
        RecordBatchEncoder::encode(&mut out, &theirs, &options).expect("they can write it");
        let batch = out.freeze();
        let header = verify(&batch).expect("one sound batch");
        prop_assert_eq!(header.attributes.compression(), compression);
        let back: Vec<Sent> = read(&batch).into_iter().map(Sent::from).collect();
        prop_assert_eq!(back, sent);
    }
}

/// Long repetitions, so that no compression is given up because it does not pay.
#[test]
fn they_read_our_large_batches_in_every_compression() {
    let sent: Vec<Sent> = (0..2000)
        .map(|i| Sent {
            key: Some(Bytes::from(format!("key-{}", i % 7))),
            value: Some(Bytes::from("flight ".repeat(40))),
            headers: vec![],
            timestamp_ms: i,
        })
        .collect();
    for compression in Compression::ALL {
        let mut batch = build(compression, &sent);
        let header = verify(&batch).expect("sound");
        assert_eq!(header.attributes.compression(), compression);
        let theirs = RecordBatchDecoder::decode(&mut batch).expect("they can read it");
        assert_eq!(theirs.compression, their_compression(compression));
        let back: Vec<Sent> = theirs.records.into_iter().map(from_theirs).collect();
        assert_eq!(back, sent, "{compression}");
    }
}
