//! Batches of earlier releases and of other writers, kept as bytes for ever: they must stay readable, and what we write must stay the same.
//!
//! `kafka-clients-4.3.1-*` hold the same records as written by `MemoryRecords.withRecords` of Apache Kafka's Java client 4.3.1, which also
//! read all of ours; without compression its bytes and ours are the same, so that one file stands for both.
//!
//! `UPDATE_FIXTURES=1 cargo test -p taffrail-record golden` writes those of ours that are missing; it never changes one.

use std::{env, fs, path::PathBuf};

use bytes::Bytes;
use taffrail_record::{Compression, Header, verify};

use crate::made_up::{Sent, build, read};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn fixture(name: &str) -> Bytes {
    let path = path(name);
    fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

/// What every fixture holds: keys, nulls, empty values, headers, times out of order, something long.
fn records() -> Vec<Sent> {
    let header = |key: &str, value: Option<&'static [u8]>| Header {
        key: key.to_owned(),
        value: value.map(Bytes::from_static),
    };
    let sent = |key: Option<&'static str>, value: Option<String>, headers, timestamp_ms| Sent {
        key: key.map(Bytes::from),
        value: value.map(Bytes::from),
        headers,
        timestamp_ms,
    };
    vec![
        sent(
            Some("N14228"),
            Some("EWR,IAH,1400".to_owned()),
            vec![],
            1_357_034_400_000,
        ),
        sent(
            None,
            Some(String::new()),
            vec![header("trace", Some(b"abc")), header("none", None)],
            1_357_034_399_000,
        ),
        sent(
            Some(""),
            None,
            vec![header("", Some(b""))],
            1_357_120_800_000,
        ),
        sent(
            Some("N39463"),
            Some("late ".repeat(14_000)),
            vec![],
            1_357_034_400_001,
        ),
    ]
}

fn ours(compression: Compression) -> String {
    format!("taffrail-0.1.0-{compression}.batch")
}

#[test]
fn batches_of_every_release_are_read() {
    for compression in Compression::ALL {
        let batch = fixture(&ours(compression));
        let header = verify(&batch).expect("sound");
        assert_eq!(header.attributes.compression(), compression);
        let back: Vec<Sent> = read(&batch).into_iter().map(Sent::from).collect();
        assert_eq!(back, records(), "{compression}");
    }
}

#[test]
fn batches_of_kafkas_java_client_are_read() {
    for compression in &Compression::ALL[1..] {
        let batch = fixture(&format!("kafka-clients-4.3.1-{compression}.batch"));
        let header = verify(&batch).expect("sound");
        assert_eq!(header.attributes.compression(), *compression);
        let back: Vec<Sent> = read(&batch).into_iter().map(Sent::from).collect();
        assert_eq!(back, records(), "{compression}");
    }
}

#[test]
fn a_batch_without_compression_is_written_as_in_every_release() {
    if env::var_os("UPDATE_FIXTURES").is_some() {
        write_missing();
    }
    let batch = build(Compression::None, &records());
    assert!(
        batch == fixture(&ours(Compression::None)),
        "the bytes changed"
    );
}

fn write_missing() {
    for compression in Compression::ALL {
        let path = path(&ours(compression));
        if !path.exists() {
            fs::write(&path, build(compression, &records())).expect("the fixture can be written");
        }
    }
}
