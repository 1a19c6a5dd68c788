//! A batch with fewer of its records: what compaction leaves of it.
//!
//! Offsets and times of records are relative to the batch's base offset and time, which stay: a record that is kept is copied as it lies there.
//! Sequence numbers belong to offsets, so an idempotent producer's batch says the same of its producer as before.

use std::borrow::Cow;

use taffrail_core::Offset;

use crate::{
    Attributes, BatchError, BatchHeader, Compression, HEADER_BYTES, LENGTH_PREFIX_BYTES,
    ProducerStamp, RecordRef,
    header::{ATTRIBUTES_AT, CRC_AT},
    reader::{Place, parse},
};

/// No record, no time: Kafka's word for it.
const NO_TIMESTAMP: i64 = -1;

/// Visits the records of a batch in order. `limit_bytes` bounds their bytes, decompressed if they have to be. No allocation for a record.
///
/// `batch` is the one whose header `header` is, whole.
///
/// # Errors
/// The records have more bytes than the limit, do not decompress, or are malformed. What was visited before then is no news of this batch.
pub fn visit(
    header: &BatchHeader,
    batch: &[u8],
    limit_bytes: usize,
    mut visit: impl FnMut(&RecordRef<'_>),
) -> Result<(), BatchError> {
    let body = unpack(header, batch, limit_bytes)?;
    walk(header, &body, |record, _, _| visit(record))
}

/// Says which records of a batch stay.
pub trait Keep {
    /// Is shown every record of a batch before it has to decide about the first one.
    fn look(&mut self, _record: &RecordRef<'_>) {}

    /// Does it stay?
    fn keep(&mut self, record: &RecordRef<'_>) -> bool;
}

impl<F: FnMut(&RecordRef<'_>) -> bool> Keep for F {
    fn keep(&mut self, record: &RecordRef<'_>) -> bool {
        self(record)
    }
}

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Retained<'a> {
    /// All of its records: it stays as it is.
    All,
    /// Some of them: this takes its place.
    Some(&'a [u8]),
    /// None of them.
    None,
}

/// Takes records out of one batch after the other. Its buffers are used again.
#[derive(Debug, Default)]
pub struct Retainer {
    kept: Vec<u8>,
    batch: Vec<u8>,
}

impl Retainer {
    /// Leaves the records that `keep` keeps. The batch keeps its offsets, sequence numbers, times, leader epoch and compression; records that do not become
    /// smaller by compression are stored as they are.
    ///
    /// `batch` is the one whose header `header` is, whole; `limit_bytes` bounds the bytes of its records, decompressed if they have to be.
    ///
    /// # Errors
    /// The records have more bytes than the limit, do not decompress, or are malformed: what is in the batch is not known.
    pub fn retain(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        limit_bytes: usize,
        keep: &mut impl Keep,
    ) -> Result<Retained<'_>, BatchError> {
        let body = unpack(header, batch, limit_bytes)?;
        self.kept.clear();
        walk(header, &body, |record, _, _| keep.look(record))?;
        let (mut count, mut removed) = (0, 0);
        let kept = &mut self.kept;
        walk(header, &body, |record, from, to| {
            if !keep.keep(record) {
                if removed == 0 {
                    kept.extend_from_slice(&body[..from]);
                }
                removed += 1;
                return;
            }
            count += 1;
            if removed > 0 {
                kept.extend_from_slice(&body[from..to]);
            }
        })?;
        if count == 0 {
            return Ok(Retained::None);
        }
        if removed == 0 {
            return Ok(Retained::All);
        }
        drop(body);
        Ok(Retained::Some(self.build(header, count)))
    }

    fn build(&mut self, header: &BatchHeader, record_count: u32) -> &[u8] {
        let wanted = header.attributes.compression();
        let packed = wanted.compress(&self.kept);
        let packed = packed.filter(|packed| packed.len() < self.kept.len());
        let attributes = match packed {
            Some(_) => header.attributes,
            None => header.attributes.with_compression(Compression::None),
        };
        let body = packed.as_deref().unwrap_or(&self.kept);
        self.batch.clear();
        self.batch.resize(HEADER_BYTES, 0);
        self.batch.extend_from_slice(body);
        seal(
            &BatchHeader {
                batch_length: (HEADER_BYTES + body.len() - LENGTH_PREFIX_BYTES) as u32,
                attributes,
                record_count,
                ..*header
            },
            &mut self.batch,
        );
        &self.batch
    }
}

/// A batch without records, for the offsets from `base` to `last`, which are less than 2^31 apart. Of a producer only where what it says of that is of use.
pub fn empty(
    base: Offset,
    last: Offset,
    leader_epoch: i32,
    producer: ProducerStamp,
) -> [u8; HEADER_BYTES] {
    let last_offset_delta = last.0 - base.0;
    assert!(last_offset_delta < 1 << 31, "the format's limit");
    let mut batch = [0; HEADER_BYTES];
    seal(
        &BatchHeader {
            base_offset: base,
            batch_length: (HEADER_BYTES - LENGTH_PREFIX_BYTES) as u32,
            leader_epoch,
            crc: 0,
            attributes: Attributes::new(Compression::None),
            last_offset_delta: last_offset_delta as u32,
            base_timestamp_ms: NO_TIMESTAMP,
            max_timestamp_ms: NO_TIMESTAMP,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            record_count: 0,
        },
        &mut batch,
    );
    batch
}

/// Writes the header in front of the records, and its checksum.
fn seal(header: &BatchHeader, batch: &mut [u8]) {
    batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

fn unpack<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    limit_bytes: usize,
) -> Result<Cow<'a, [u8]>, BatchError> {
    let body = batch.get(HEADER_BYTES..).unwrap_or_default();
    let compression = header.attributes.compression();
    match compression {
        _ if body.is_empty() => Ok(Cow::Borrowed(body)),
        // What is kept of it is copied.
        Compression::None if body.len() > limit_bytes => {
            Err(BatchError::DecompressedTooLarge { limit_bytes })
        }
        _ => compression.unpack(body, limit_bytes),
    }
}

/// `visit` is given each record and where in `body` it lies.
fn walk(
    header: &BatchHeader,
    body: &[u8],
    mut visit: impl FnMut(&RecordRef<'_>, usize, usize),
) -> Result<(), BatchError> {
    let (mut rest, mut place) = (body, Place::default());
    while place.index < header.record_count {
        let from = body.len() - rest.len();
        let index = place.index;
        let record = parse(&mut rest, header, place)
            .map_err(|reason| BatchError::Record { index, reason })?;
        visit(&record, from, body.len() - rest.len());
        place = place.after(header, &record);
    }
    match rest.len() {
        0 => Ok(()),
        left => Err(BatchError::TrailingBytes(left)),
    }
}
