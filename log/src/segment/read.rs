//! Whole batches from an offset on.

use std::{ops::Range, sync::PoisonError};

use bytes::Bytes;
use taffrail_core::Offset;
use taffrail_record::{BatchHeader, HEADER_BYTES, verify};

use super::{Segment, index::IndexDamaged, view::MapState};
use crate::error::LogError;

/// What a walk over headers looks at in one go.
const WALK_BYTES: usize = 4096;
/// Readers that follow one another through a segment without a look into its index.
const HINTS: usize = 8;

/// Whole batches, back to back.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) next_offset: Offset,
}

/// What a read came to.
#[derive(Debug)]
pub(crate) enum Found {
    Batches(Chunk),
    /// The bounds leave none.
    Nothing,
    /// It would have to wait for the disk.
    NotCached,
}

/// What readers of a segment know of it, to be quick.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(super) map: MapState,
    /// Batches of these offsets start at these positions.
    hints: [Option<(Offset, u64)>; HINTS],
    next_hint: usize,
    /// The checksums in here were found right.
    verified: Range<u64>,
}

/// The bounds of a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_bytes: usize,
    /// No batch that ends after this offset.
    pub(crate) up_to: Offset,
    /// Give one batch even if it is larger than `max_bytes`.
    pub(crate) at_least_one: bool,
}

impl Segment {
    /// The batches from the one that holds `from` on. `from` is within the segment. Waits for the disk.
    pub(crate) fn read(&self, from: Offset, bounds: Bounds) -> Result<Found, LogError> {
        let end = self.bytes();
        let position = self.locate(from, end)?;
        let view = |len| self.view(position, len).map(Some);
        self.read_at(position, end, from, bounds, view)
    }

    /// As [`Self::read`], but without waiting for the disk: where the batch starts has to be known from the read before.
    pub(crate) fn read_cached(&self, from: Offset, bounds: Bounds) -> Result<Found, LogError> {
        let end = self.bytes();
        let Some(position) = self.known(from) else {
            return Ok(Found::NotCached);
        };
        let view = |len| Ok(self.view_cached(position, len));
        self.read_at(position, end, from, bounds, view)
    }

    /// `view` gives the bytes from `position` on; `None`: they are not cached.
    fn read_at(
        &self,
        position: u64,
        end: u64,
        from: Offset,
        bounds: Bounds,
        view: impl Fn(usize) -> Result<Option<Bytes>, LogError>,
    ) -> Result<Found, LogError> {
        let want = ((end - position) as usize).min(bounds.max_bytes.max(HEADER_BYTES));
        let Some(mut seen) = view(want)? else {
            return Ok(Found::NotCached);
        };
        let first = self.header_at(&seen, 0, position, from, end)?;
        if first.next_offset() > bounds.up_to {
            return Ok(Found::Nothing);
        }
        if first.total_bytes() > bounds.max_bytes && !bounds.at_least_one {
            return Ok(Found::Nothing);
        }
        if first.total_bytes() > seen.len() {
            let Some(whole) = view(first.total_bytes())? else {
                return Ok(Found::NotCached);
            };
            seen = whole;
        }
        let (accepted, next_offset) = self.accept(&seen, position, first, bounds.up_to)?;
        seen.truncate(accepted);
        self.check_sums(&seen, position, first.base_offset)?;
        self.note(next_offset, position + accepted as u64);
        Ok(Found::Batches(Chunk {
            bytes: seen,
            next_offset,
        }))
    }

    /// How much of `view` is whole batches that end at or before `up_to`.
    fn accept(
        &self,
        view: &Bytes,
        position: u64,
        first: BatchHeader,
        up_to: Offset,
    ) -> Result<(usize, Offset), LogError> {
        let (mut accepted, mut next) = (first.total_bytes(), first.next_offset());
        while view.len() - accepted >= HEADER_BYTES {
            let at = position + accepted as u64;
            let header = self.header_at(view, accepted, at, next, u64::MAX)?;
            if accepted + header.total_bytes() > view.len() || header.next_offset() > up_to {
                break;
            }
            accepted += header.total_bytes();
            next = header.next_offset();
        }
        Ok((accepted, next))
    }

    /// Where the batch that holds `offset` starts.
    fn locate(&self, offset: Offset, end: u64) -> Result<u64, LogError> {
        if let Some(position) = self.known(offset) {
            return Ok(position);
        }
        let from = self.indexed(|| self.index().floor(offset))?;
        let mut found = None;
        self.walk(from, end, WALK_BYTES, |position, header| {
            if header.next_offset() > offset {
                found = Some(position);
            }
            found.is_none()
        })?;
        found.ok_or_else(|| self.damaged(end, offset, "the batch is not where it should be"))
    }

    /// Where the batch that holds `offset` starts, in the file and in offsets.
    pub(crate) fn batch_of(&self, offset: Offset) -> Result<(u64, Offset), LogError> {
        let end = self.bytes();
        let position = self.locate(offset, end)?;
        let mut base = offset;
        self.walk(position, end, WALK_BYTES, |_, header| {
            base = header.base_offset;
            false
        })?;
        Ok((position, base))
    }

    /// Does a batch start at `offset`, or the segment end there?
    pub(crate) fn is_boundary(&self, offset: Offset) -> Result<bool, LogError> {
        let next = self.next_offset();
        if offset == self.base() || offset >= next {
            return Ok(offset == self.base() || offset == next);
        }
        Ok(self.batch_of(offset)?.1 == offset)
    }

    /// Visits headers from the batch at `from` on, until `visit` says false or the segment ends at `end`.
    pub(crate) fn walk(
        &self,
        from: u64,
        end: u64,
        window: usize,
        mut visit: impl FnMut(u64, &BatchHeader) -> bool,
    ) -> Result<(), LogError> {
        let mut position = from;
        let mut expected = None;
        while position < end {
            let len = window.min((end - position) as usize);
            let view = self.view(position, len)?;
            let mut at = 0;
            loop {
                let here = position + at as u64;
                let header = self.parse_at(&view, at, here, expected, end)?;
                if !visit(here, &header) {
                    return Ok(());
                }
                expected = Some(header.next_offset());
                at += header.total_bytes();
                if at + HEADER_BYTES > view.len() {
                    break;
                }
            }
            position += at as u64;
        }
        Ok(())
    }

    /// The header at `at` in `view`, which is `position` in the file, of the batch that holds `offset`.
    fn header_at(
        &self,
        view: &Bytes,
        at: usize,
        position: u64,
        offset: Offset,
        end: u64,
    ) -> Result<BatchHeader, LogError> {
        let header = self.parse_at(view, at, position, None, end)?;
        if header.base_offset > offset || header.next_offset() <= offset {
            return Err(self.damaged(position, offset, "the batch has other offsets"));
        }
        Ok(header)
    }

    fn parse_at(
        &self,
        view: &Bytes,
        at: usize,
        position: u64,
        expected: Option<Offset>,
        end: u64,
    ) -> Result<BatchHeader, LogError> {
        let offset = expected.unwrap_or(self.base());
        let header = BatchHeader::parse(&view[at..])
            .map_err(|e| self.damaged(position, offset, &e.to_string()))?;
        if expected.is_some_and(|e| e != header.base_offset) {
            return Err(self.damaged(position, offset, "the batch has other offsets"));
        }
        if header.total_bytes() as u64 > end.saturating_sub(position) {
            return Err(self.damaged(position, offset, "the batch is longer than the segment"));
        }
        Ok(header)
    }

    /// Batches that this process neither wrote nor checked yet are checked when first read: damage is not served.
    fn check_sums(&self, batches: &Bytes, position: u64, base: Offset) -> Result<(), LogError> {
        let range = position..position + batches.len() as u64;
        if self.is_verified(&range) {
            return Ok(());
        }
        let (mut at, mut offset) = (0, base);
        while at < batches.len() {
            let here = position + at as u64;
            let bad = |e: &dyn ToString| self.damaged(here, offset, &e.to_string());
            let header = BatchHeader::parse(&batches[at..]).map_err(|e| bad(&e))?;
            verify(&batches[at..at + header.total_bytes()]).map_err(|e| bad(&e))?;
            at += header.total_bytes();
            offset = header.next_offset();
        }
        let mut reads = self.reads();
        let verified = &mut reads.verified;
        if verified.start <= range.end && range.start <= verified.end {
            *verified = verified.start.min(range.start)..verified.end.max(range.end);
        } else {
            *verified = range;
        }
        Ok(())
    }

    fn is_verified(&self, range: &Range<u64>) -> bool {
        if range.start >= self.trusted_from {
            return true;
        }
        let verified = &self.reads().verified;
        verified.start <= range.start && range.end <= verified.end
    }

    /// Where the batch of `offset` starts, if it is known without a look at the disk.
    fn known(&self, offset: Offset) -> Option<u64> {
        if offset == self.base() {
            return Some(0);
        }
        let reads = self.reads();
        let found = reads.hints.iter().flatten().find(|(o, _)| *o == offset);
        found.map(|(_, position)| *position)
    }

    fn note(&self, offset: Offset, position: u64) {
        let mut reads = self.reads();
        if !reads.hints.contains(&Some((offset, position))) {
            let slot = reads.next_hint;
            reads.hints[slot] = Some((offset, position));
            reads.next_hint = (slot + 1) % HINTS;
        }
    }

    /// Where to start looking for the first record of time `ms` or later, batch by batch.
    pub(crate) fn position_before_time(&self, ms: i64) -> Result<u64, LogError> {
        self.indexed(|| self.index().before_time(ms))
    }

    /// When the batch at `offset` was appended, to the precision of the index.
    pub(crate) fn append_time_ms(&self, offset: Offset) -> Result<Option<i64>, LogError> {
        self.indexed(|| self.index().append_time_ms(offset))
    }

    /// A lookup in the index, which is built anew if it is damaged.
    fn indexed<T>(
        &self,
        lookup: impl Fn() -> Result<Result<T, IndexDamaged>, LogError>,
    ) -> Result<T, LogError> {
        if let Ok(found) = lookup()? {
            return Ok(found);
        }
        let _one_at_a_time = self.rebuild.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(found) = lookup()? {
            return Ok(found);
        }
        self.rebuild_index()?;
        lookup()?.map_err(|IndexDamaged| {
            self.damaged(0, self.base(), "its index cannot be built from its batches")
        })
    }
}
