//! Records that tests make up.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use taffrail_record::{BatchBuilder, Compression, Header, NewRecord, Record, records};

/// More than any batch of these tests has.
pub(crate) const LIMIT_BYTES: usize = 16 << 20;

/// What a producer would send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
    pub(crate) timestamp_ms: i64,
}

impl Sent {
    pub(crate) fn as_new(&self) -> NewRecord<'_> {
        NewRecord {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
            timestamp_ms: self.timestamp_ms,
        }
    }
}

impl From<Record> for Sent {
    fn from(record: Record) -> Self {
        Self {
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms,
        }
    }
}

pub(crate) fn build(compression: Compression, sent: &[Sent]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for record in sent {
        builder.push(&record.as_new());
    }
    builder.build().expect("there are records")
}

pub(crate) fn read(batch: &Bytes) -> Vec<Record> {
    records(batch.clone(), LIMIT_BYTES)
        .expect("a sound batch")
        .collect::<Result<_, _>>()
        .expect("sound records")
}

/// Bytes that compress somewhat, so that compression is kept.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        (any::<u8>(), 0..5000usize).prop_map(|(byte, n)| Bytes::from(vec![byte; n])),
    ]
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let header =
        ("[a-z]{0,8}", option::of(payload())).prop_map(|(key, value)| Header { key, value });
    vec(header, 0..4).prop_map(|mut headers| {
        // The crate that we are compared with keeps one header of a name only.
        let mut seen = std::collections::HashSet::new();
        headers.retain(|h| seen.insert(h.key.clone()));
        headers
    })
}

prop_compose! {
    pub(crate) fn record()(
        key in option::of(payload()),
        value in option::of(payload()),
        headers in headers(),
        timestamp_ms in 0..4_000_000_000_000i64,
    ) -> Sent {
        Sent { key, value, headers, timestamp_ms }
    }
}

pub(crate) fn some_records() -> impl Strategy<Value = Vec<Sent>> {
    vec(record(), 1..30)
}

pub(crate) fn compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(Compression::ALL.to_vec())
}
