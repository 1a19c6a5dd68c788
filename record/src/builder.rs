//! Records to one batch, straight into one buffer.

use bytes::{Bytes, BytesMut};
use taffrail_core::Offset;

use crate::{
    Attributes, BatchHeader, Compression, HEADER_BYTES, Header, LENGTH_PREFIX_BYTES,
    header::{ATTRIBUTES_AT, CRC_AT},
    varint::{self, VARINT_BYTES_MAX, VARLONG_BYTES_MAX},
};

/// Everything of a record before its key, and the length of its value.
const RECORD_PREFIX_BYTES_MAX: usize = 4 * VARINT_BYTES_MAX + 1 + VARLONG_BYTES_MAX;

/// A record to be pushed. Borrowed: the builder copies it once, into the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Decides the partition; compaction keeps the last record of a key.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// In this order.
    pub headers: &'a [Header],
    /// Record time.
    pub timestamp_ms: i64,
}

/// Who produced a batch, for idempotence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// The producer is not idempotent.
    pub const NONE: Self = Self {
        id: -1,
        epoch: -1,
        base_sequence: -1,
    };
}

/// Builds one batch after the other. No allocation for each record; the buffer is used again once nobody holds the batch built from it.
///
/// Invariants: while `count > 0`, `buffer` starts with room for a header; `last_offset_delta == count - 1`.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: BytesMut,
    compression: Compression,
    producer: ProducerStamp,
    count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// The varint fields of a record, worked out once for measuring and writing.
struct Measured {
    length: usize,
    timestamp_delta: i64,
}

impl BatchBuilder {
    /// An empty batch. Base offset 0 and leader epoch -1 until a broker sets them.
    pub fn new(compression: Compression) -> Self {
        Self {
            buffer: BytesMut::new(),
            compression,
            producer: ProducerStamp::NONE,
            count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
        }
    }

    /// The same, from an idempotent producer.
    #[must_use]
    pub fn with_producer(mut self, producer: ProducerStamp) -> Self {
        self.producer = producer;
        self
    }

    /// Whose batches it builds from now on, that of the records so far included.
    pub const fn set_producer(&mut self, producer: ProducerStamp) {
        self.producer = producer;
    }

    /// The same, building the first batch in `buffer`, whose contents are dropped: for buffers that are used again.
    #[must_use]
    pub fn with_buffer(mut self, mut buffer: BytesMut) -> Self {
        buffer.clear();
        self.buffer = buffer;
        self
    }

    /// Makes room for `bytes` more at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If the batch would exceed the format's 2 GiB: bound it with [`Self::push_within`].
    pub fn push(&mut self, record: &NewRecord<'_>) {
        assert!(
            self.push_within(record, i32::MAX as usize),
            "a batch has less than 2 GiB"
        );
    }

    /// Adds a record, if the batch with it has at most `limit_bytes` bytes before compression; says whether it did.
    #[inline]
    pub fn push_within(&mut self, record: &NewRecord<'_>, limit_bytes: usize) -> bool {
        if self.count == 0 {
            self.base_timestamp_ms = record.timestamp_ms;
            self.max_timestamp_ms = record.timestamp_ms;
        }
        let measured = self.measure(record);
        let bytes = varint::len(measured.length as i64) + measured.length;
        if self.len_bytes() + bytes > limit_bytes.min(i32::MAX as usize) {
            return false;
        }
        if self.count == 0 {
            self.buffer.clear();
            self.buffer.reserve(HEADER_BYTES + bytes);
            self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
        }
        self.write(record, &measured);
        self.count += 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        true
    }

    /// Bytes of the batch so far, header included, before compression.
    pub fn len_bytes(&self) -> usize {
        if self.count == 0 {
            HEADER_BYTES
        } else {
            self.buffer.len()
        }
    }

    /// Records so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// No record yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The most bytes that `record` can take in any batch, for a check before there is one.
    pub fn record_bytes_max(record: &NewRecord<'_>) -> usize {
        RECORD_PREFIX_BYTES_MAX
            + VARINT_BYTES_MAX
            + record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + headers_len(record.headers)
    }

    /// The batch, with its checksum. The builder is empty again. `None` if there was no record.
    ///
    /// Records that do not become smaller by compression are stored as they are, as the format allows.
    pub fn build(&mut self) -> Option<Bytes> {
        if self.count == 0 {
            return None;
        }
        let mut batch = self.buffer.split();
        let mut compression = Compression::None;
        if let Some(packed) = self.compression.compress(&batch[HEADER_BYTES..])
            && packed.len() < batch.len() - HEADER_BYTES
        {
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&packed);
            compression = self.compression;
        }
        let header = self.header(compression, batch.len());
        batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
        batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        self.count = 0;
        Some(batch.freeze())
    }

    fn header(&self, compression: Compression, total_bytes: usize) -> BatchHeader {
        BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: (total_bytes - LENGTH_PREFIX_BYTES) as u32,
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes::new(compression),
            last_offset_delta: self.count - 1,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.producer.base_sequence,
            record_count: self.count,
        }
    }

    fn measure(&self, record: &NewRecord<'_>) -> Measured {
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let length = 1
            + varint::len(timestamp_delta)
            + varint::len(i64::from(self.count))
            + bytes_field_len(record.key)
            + bytes_field_len(record.value)
            + headers_len(record.headers);
        Measured {
            length,
            timestamp_delta,
        }
    }

    fn write(&mut self, record: &NewRecord<'_>, measured: &Measured) {
        let mut prefix = [0; RECORD_PREFIX_BYTES_MAX];
        let mut end = varint::write(&mut prefix, 0, measured.length as i64);
        end += 1; // record attributes: always 0
        end = varint::write(&mut prefix, end, measured.timestamp_delta);
        end = varint::write(&mut prefix, end, i64::from(self.count));
        end = varint::write(&mut prefix, end, field_length(record.key));
        if let Some(key) = record.key {
            self.buffer.extend_from_slice(&prefix[..end]);
            self.buffer.extend_from_slice(key);
            end = 0;
        }
        end = varint::write(&mut prefix, end, field_length(record.value));
        self.buffer.extend_from_slice(&prefix[..end]);
        if let Some(value) = record.value {
            self.buffer.extend_from_slice(value);
        }
        self.write_varint(record.headers.len() as i64);
        for header in record.headers {
            self.write_bytes_field(Some(header.key.as_bytes()));
            self.write_bytes_field(header.value.as_deref());
        }
    }

    fn write_varint(&mut self, value: i64) {
        let mut out = [0; VARINT_BYTES_MAX];
        let end = varint::write(&mut out, 0, value);
        self.buffer.extend_from_slice(&out[..end]);
    }

    fn write_bytes_field(&mut self, field: Option<&[u8]>) {
        self.write_varint(field_length(field));
        if let Some(bytes) = field {
            self.buffer.extend_from_slice(bytes);
        }
    }
}

/// -1 stands for null.
fn field_length(field: Option<&[u8]>) -> i64 {
    field.map_or(-1, |bytes| bytes.len() as i64)
}

fn bytes_field_len(field: Option<&[u8]>) -> usize {
    varint::len(field_length(field)) + field.map_or(0, <[u8]>::len)
}

fn headers_len(headers: &[Header]) -> usize {
    let each =
        |h: &Header| bytes_field_len(Some(h.key.as_bytes())) + bytes_field_len(h.value.as_deref());
    varint::len(headers.len() as i64) + headers.iter().map(each).sum::<usize>()
}
