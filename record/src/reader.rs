//! One batch to its records, without copies where the batch is not compressed.

use std::iter::FusedIterator;

use bytes::Bytes;
use taffrail_core::Offset;

use crate::{BatchError, BatchHeader, HEADER_BYTES, varint};

/// A name and a value beside the record's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// May occur several times.
    pub key: String,
    /// `None` is told apart from empty.
    pub value: Option<Bytes>,
}

/// A record of a batch. Key, value and header values are slices of the batch (or of its decompressed records) and keep it alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in the partition.
    pub offset: Offset,
    /// Record time.
    pub timestamp_ms: i64,
    /// Decides the partition.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// In the producer's order.
    pub headers: Vec<Header>,
}

/// A record as it lies in its batch: the cheapest way to look at many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Position in the partition.
    pub offset: Offset,
    /// Record time.
    pub timestamp_ms: i64,
    /// Decides the partition.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    header_count: u32,
    headers: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Names and values in the producer's order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.headers;
        // Walked over once when the record was parsed.
        (0..self.header_count).map_while(move |_| {
            let key = read_field(&mut rest)??;
            Some((key, read_field(&mut rest)?))
        })
    }
}

/// Opens a batch for reading. Checks the structure; whether the checksum is right, [`crate::verify`] says.
///
/// `limit_bytes` bounds what the records may decompress to.
///
/// # Errors
/// If the header or the length is wrong, or the records do not decompress within the limit.
pub fn records(batch: Bytes, limit_bytes: usize) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(&batch)?;
    let declared = header.total_bytes();
    if declared != batch.len() {
        return Err(BatchError::LengthMismatch {
            declared,
            actual: batch.len(),
        });
    }
    let mut packed = batch;
    let body = packed.split_off(HEADER_BYTES);
    let compression = header.attributes.compression();
    let body = compression.decompress(body, limit_bytes)?;
    Ok(Records {
        header,
        body,
        at: 0,
        place: Place::default(),
    })
}

/// The records of one batch, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    place: Place,
}

impl Records {
    /// The batch's header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The next record, borrowed: nothing is allocated or counted.
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, BatchError>> {
        if self.place.index == self.header.record_count {
            return self.end().map(Err);
        }
        let mut rest = &self.body[self.at..];
        match parse(&mut rest, &self.header, self.place) {
            Ok(record) => {
                self.at = self.body.len() - rest.len();
                self.place = self.place.after(&self.header, &record);
                Some(Ok(record))
            }
            // Field by field: the record above borrows the body.
            Err(reason) => {
                let index = self.place.index;
                self.place.index = self.header.record_count;
                self.at = self.body.len();
                Some(Err(BatchError::Record { index, reason }))
            }
        }
    }

    /// Passes over the records below `offset`.
    ///
    /// # Errors
    /// That of the first record that is malformed.
    pub fn skip_before(&mut self, offset: Offset) -> Result<(), BatchError> {
        while self.place.index < self.header.record_count {
            let (at, place) = (self.at, self.place);
            match self.next_ref() {
                Some(Ok(record)) if record.offset < offset => {}
                Some(Err(error)) => return Err(error),
                Some(Ok(_)) | None => {
                    (self.at, self.place) = (at, place);
                    break;
                }
            }
        }
        Ok(())
    }

    /// After the last record nothing may follow.
    fn end(&mut self) -> Option<BatchError> {
        let left = self.body.len() - self.at;
        self.at = self.body.len();
        (left > 0).then_some(BatchError::TrailingBytes(left))
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.place.index == self.header.record_count {
            return self.end().map(Err);
        }
        let body = &self.body;
        let mut rest = &body[self.at..];
        let Ok(record) = parse(&mut rest, &self.header, self.place) else {
            // The same again, for its error.
            return self.next_ref()?.err().map(Err);
        };
        let place = self.place.after(&self.header, &record);
        let owned = |field: &[u8]| body.slice_ref(field);
        let headers = record.headers().map(|(key, value)| Header {
            key: String::from_utf8_lossy(key).into_owned(),
            value: value.map(owned),
        });
        let record = Record {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(owned),
            value: record.value.map(owned),
            headers: headers.collect(),
        };
        self.at = body.len() - rest.len();
        self.place = place;
        Some(Ok(record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.header.record_count - self.place.index) as usize;
        // One more item if bytes trail; fewer if a record is malformed.
        (0, Some(left + 1))
    }
}

impl FusedIterator for Records {}

/// Where the next record is: after so many records, and at this offset relative to the base or, if some are gone, a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u32,
    offset_delta: u32,
}

impl Place {
    #[inline]
    pub(crate) fn after(self, header: &BatchHeader, record: &RecordRef<'_>) -> Self {
        Self {
            index: self.index + 1,
            offset_delta: (record.offset.0 - header.base_offset.0) as u32 + 1,
        }
    }

    /// May the record here have this offset? Each record that is still to come needs one, too.
    #[inline]
    fn allows(self, header: &BatchHeader, offset_delta: i32) -> bool {
        let gone = header.offsets() - header.record_count;
        u32::try_from(offset_delta)
            .is_ok_and(|delta| delta >= self.offset_delta && delta - self.index <= gone)
    }
}

#[inline]
pub(crate) fn parse<'a>(
    rest: &mut &'a [u8],
    header: &BatchHeader,
    place: Place,
) -> Result<RecordRef<'a>, &'static str> {
    let length = varint::read_i32(rest).ok_or("its length is cut short")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    let Some((mut record, after)) = rest.split_at_checked(length) else {
        return Err("it goes beyond the end of the batch");
    };
    *rest = after;
    let (_attributes, fields) = record.split_first().ok_or("it is empty")?;
    record = fields;
    let timestamp_delta = varint::read_i64(&mut record).ok_or("its timestamp is cut short")?;
    let offset_delta = varint::read_i32(&mut record).ok_or("its offset is cut short")?;
    if !place.allows(header, offset_delta) {
        return Err("its offset is not the next one");
    }
    let key = read_field(&mut record).ok_or("its key is cut short")?;
    let value = read_field(&mut record).ok_or("its value is cut short")?;
    let header_count = varint::read_i32(&mut record).ok_or("its header count is cut short")?;
    let header_count = u32::try_from(header_count).map_err(|_| "its header count is negative")?;
    let headers = record;
    check_headers(headers, header_count)?;
    let timestamp_ms = if header.attributes.has_append_time() {
        header.max_timestamp_ms
    } else {
        header.base_timestamp_ms.wrapping_add(timestamp_delta)
    };
    Ok(RecordRef {
        offset: header.base_offset.plus(offset_delta as u64),
        timestamp_ms,
        key,
        value,
        header_count,
        headers,
    })
}

#[inline]
fn check_headers(mut rest: &[u8], count: u32) -> Result<(), &'static str> {
    for _ in 0..count {
        match read_field(&mut rest) {
            Some(Some(_key)) => {}
            Some(None) => return Err("a header has no key"),
            None => return Err("a header's key is cut short"),
        }
        read_field(&mut rest).ok_or("a header's value is cut short")?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("bytes follow its last header")
    }
}

/// A length (-1: null) and as many bytes. The outer `None`: cut short.
#[inline]
#[expect(
    clippy::option_option,
    reason = "cut short and null are different things, and both are common here"
)]
fn read_field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (field, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(field))
}
