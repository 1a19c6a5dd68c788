//! The read side of a log.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_core::Offset;
use taffrail_record::{BatchHeader, ProducerStamp, empty, records};

use crate::{
    error::LogError,
    segment::{Bounds, Found, Segment},
    shared::{Segments, Shared},
};

/// What the records of one batch may decompress to when a time is looked up.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// What a lookup by time reads in one go.
const TIME_WALK_BYTES: usize = 64 << 10;

/// Reads a partition's log. Cheap to clone, and to share between threads; locks are held only to copy a reference.
///
/// Reads wait for the disk, all but [`LogReader::read_cached`]: call them on a disk thread.
#[derive(Debug, Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

/// Whole batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBatches {
    /// Each is one or more whole batches back to back, in order. The first batch may begin before the offset asked for: batches are not cut.
    pub chunks: Vec<Bytes>,
    /// Where to go on reading.
    pub next_offset: Offset,
}

impl ReadBatches {
    /// Of all chunks.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// A segment, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first offset.
    pub base_offset: Offset,
    /// After its last record.
    pub next_offset: Offset,
    /// Length of its batches.
    pub bytes: u64,
    /// CRC-32 of the file, if it is sealed.
    pub crc32: Option<u32>,
    /// When its last batch was appended; `None` if it has none.
    pub last_append_time_ms: Option<i64>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The first offset there is.
    pub fn log_start(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset that the next append gets. More may be visible than is durable or below the high watermark.
    pub fn log_end(&self) -> Offset {
        self.shared.log_end()
    }

    /// Reads whole batches from the one that holds `from` on, `max_bytes` of them (but at least one batch), none that ends after `up_to`.
    /// Nothing, and `next_offset == from`, if there is no such batch.
    ///
    /// Structure and offsets of every batch are checked; checksums too where this process has not written or checked the bytes before.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] if `from` is below the log start or above the log end; [`LogError::Damaged`]; the disk's.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
    ) -> Result<ReadBatches, LogError> {
        let read = self.read_by(from, max_bytes, up_to, Segment::read)?;
        // A read that waits for the disk finds everything.
        Ok(read.unwrap_or(ReadBatches {
            chunks: Vec::new(),
            next_offset: from,
        }))
    }

    /// As [`Self::read`], but never waits for the disk: for where other work would wait too. `None`: not all of it is in memory, or it is more than
    /// 2 MiB, or nobody has just read what comes before; then [`Self::read`] it on a disk thread.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_cached(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
    ) -> Result<Option<ReadBatches>, LogError> {
        self.read_by(from, max_bytes, up_to, Segment::read_cached)
    }

    /// `None`: one of the reads would have had to wait.
    fn read_by(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
        read: impl Fn(&Segment, Offset, Bounds) -> Result<Found, LogError>,
    ) -> Result<Option<ReadBatches>, LogError> {
        let (start, end) = (self.log_start(), self.log_end());
        if from < start || from > end {
            return Err(out_of_range(from, start, end));
        }
        let up_to = up_to.min(end);
        let mut found = ReadBatches {
            chunks: Vec::new(),
            next_offset: from,
        };
        let segments = self.shared.segments();
        let mut left = max_bytes;
        while found.next_offset < up_to {
            let Some(segment) = segment_of(&segments, found.next_offset) else {
                break;
            };
            let bounds = Bounds {
                max_bytes: left,
                up_to,
                at_least_one: found.chunks.is_empty(),
            };
            let chunk = match read(segment, found.next_offset, bounds) {
                Ok(Found::Batches(chunk)) => chunk,
                Ok(Found::Nothing) => break,
                Ok(Found::NotCached) => return Ok(None),
                Err(error) => return Err(self.expired_meanwhile(error, from)),
            };
            left = left.saturating_sub(chunk.bytes.len());
            let mut bytes = chunk.bytes;
            if found.chunks.is_empty()
                && let Some((empty, rest)) = from_within_gap(&bytes, from)
            {
                found.chunks.push(empty);
                bytes = rest;
            }
            found.next_offset = chunk.next_offset;
            if !bytes.is_empty() {
                found.chunks.push(bytes);
            }
            // Chunks end early only at the bounds or at the segment's end.
            if left == 0 || found.next_offset < segment.next_offset() {
                break;
            }
        }
        Ok(Some(found))
    }

    /// The first record whose record time is `ts_ms` or later, and its time; `None` if there is none. Exact, whatever the order of the times. A batch
    /// whose records cannot be read counts as one record with the header's greatest time.
    ///
    /// # Errors
    /// [`LogError::Damaged`]; the disk's.
    pub fn offset_for_timestamp(&self, ts_ms: i64) -> Result<Option<(Offset, i64)>, LogError> {
        let (start, end) = (self.log_start(), self.log_end());
        let segments = self.shared.segments();
        for segment in segments.iter().filter(|s| s.max_record_time_ms() >= ts_ms) {
            let found = first_at_or_after(segment, ts_ms, end)
                .map_err(|e| self.expired_meanwhile(e, start))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// When the batch that holds `offset` was appended, to the precision of the index: never later than that, and not before the batch one index interval
    /// earlier. `None` at the log end.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`]; [`LogError::Damaged`]; the disk's.
    pub fn append_time_ms(&self, offset: Offset) -> Result<Option<i64>, LogError> {
        let (start, end) = (self.log_start(), self.log_end());
        if offset < start || offset > end {
            return Err(out_of_range(offset, start, end));
        }
        match segment_of(&self.shared.segments(), offset) {
            Some(segment) => segment.append_time_ms(offset),
            None => Ok(None),
        }
    }

    /// The segments, oldest first; the last one is active.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |segment: &Arc<Segment>| SegmentInfo {
            base_offset: segment.base(),
            next_offset: segment.next_offset(),
            bytes: segment.bytes(),
            crc32: segment.seal().map(|seal| seal.crc32),
            last_append_time_ms: (segment.bytes() > 0).then(|| segment.last_append_time_ms()),
        };
        self.shared.segments().iter().map(info).collect()
    }

    /// Reads a sealed segment whole and compares its checksum: the scrubber's work. `false` if there is no such sealed segment (any more).
    ///
    /// # Errors
    /// [`LogError::Damaged`] says where; the disk's.
    pub fn verify_segment(&self, base_offset: Offset) -> Result<bool, LogError> {
        let segments = self.shared.segments();
        let found = segments.iter().find(|s| s.base() == base_offset);
        match found.and_then(|s| Some((s, s.seal()?))) {
            Some((segment, seal)) => {
                let file = segment.file();
                let verified = file.and_then(|file| crate::inspect::verify_sealed(&file, seal));
                match verified.map_err(|e| self.expired_meanwhile(e, base_offset)) {
                    Err(LogError::OffsetOutOfRange { .. }) => Ok(false),
                    verified => verified.map(|()| true),
                }
            }
            None => Ok(false),
        }
    }

    /// Index files that were found damaged and were built anew since the log was opened.
    pub fn index_rebuilds(&self) -> u64 {
        let segments = self.shared.segments();
        segments.iter().map(|s| s.index().rebuilds()).sum()
    }

    /// A file that expired between the look at the list and its opening is no disk error.
    fn expired_meanwhile(&self, error: LogError, offset: Offset) -> LogError {
        let (start, end) = (self.log_start(), self.log_end());
        if error.is_not_found() && offset < start {
            out_of_range(offset, start, end)
        } else {
            error
        }
    }
}

fn out_of_range(offset: Offset, start: Offset, end: Offset) -> LogError {
    LogError::OffsetOutOfRange { offset, start, end }
}

/// The log of a follower may end within offsets that compaction has made one empty batch of here: that begins at `from` for it. `None`: the first batch is
/// no such one.
fn from_within_gap(batches: &Bytes, from: Offset) -> Option<(Bytes, Bytes)> {
    let header = BatchHeader::parse(batches).ok()?;
    let is_gap = header.record_count == 0 && header.producer_id == ProducerStamp::NONE.id;
    (is_gap && header.base_offset < from).then(|| {
        let (last, epoch) = (header.last_offset(), header.leader_epoch);
        let gap = empty(from, last, epoch, ProducerStamp::NONE);
        let rest = batches.slice(header.total_bytes()..);
        (Bytes::copy_from_slice(&gap), rest)
    })
}

/// The segment that holds `offset`, if any does yet.
fn segment_of(segments: &Segments, offset: Offset) -> Option<&Arc<Segment>> {
    let after = segments.partition_point(|s| s.base() <= offset);
    let segment = segments.get(after.checked_sub(1)?)?;
    (offset < segment.next_offset()).then_some(segment)
}

fn first_at_or_after(
    segment: &Arc<Segment>,
    ts_ms: i64,
    log_end: Offset,
) -> Result<Option<(Offset, i64)>, LogError> {
    let from = segment.position_before_time(ts_ms)?;
    let mut candidates = Vec::new();
    segment.walk(from, segment.bytes(), TIME_WALK_BYTES, |_, header| {
        if header.max_timestamp_ms >= ts_ms && header.next_offset() <= log_end {
            candidates.push(header.base_offset);
        }
        // A header's time is a promise that its records almost always keep.
        candidates.is_empty()
    })?;
    let Some(mut offset) = candidates.pop() else {
        return Ok(None);
    };
    while offset < segment.next_offset().min(log_end) {
        let bounds = Bounds {
            max_bytes: 1,
            up_to: log_end,
            at_least_one: true,
        };
        let Found::Batches(chunk) = segment.read(offset, bounds)? else {
            break;
        };
        if let Some(found) = first_of_batch(chunk.bytes, ts_ms) {
            return Ok(Some(found));
        }
        offset = chunk.next_offset;
    }
    Ok(None)
}

/// In one batch whose checksum holds. Records that cannot be read are no damage: the producer sent them so. Then the header's word counts, and the batch is
/// found by its first offset.
fn first_of_batch(batch: Bytes, ts_ms: i64) -> Option<(Offset, i64)> {
    let header = BatchHeader::parse(&batch).ok()?;
    let by_header =
        (header.max_timestamp_ms >= ts_ms).then_some((header.base_offset, header.max_timestamp_ms));
    let Ok(mut records) = records(batch, DECOMPRESSED_BYTES_MAX) else {
        return by_header;
    };
    while let Some(record) = records.next_ref() {
        match record {
            Ok(record) if record.timestamp_ms >= ts_ms => {
                return Some((record.offset, record.timestamp_ms));
            }
            Ok(_) => {}
            Err(_) => return by_header,
        }
    }
    None
}
