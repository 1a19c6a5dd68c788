//! What becomes of each batch.

use std::{cell::Cell, sync::Arc};

use taffrail_core::Offset;
use taffrail_record::{
    BatchHeader, HEADER_BYTES, Keep, ProducerStamp, RecordRef, Retained, Retainer, empty,
};

use super::{
    Compaction, DECOMPRESSED_BYTES_MAX, Halt, Pace,
    offset_map::{KeyHash, OffsetMap},
    output::Output,
    walk::walk,
};
use crate::{
    error::LogError,
    producers::{self, sequenced},
    segment::{Segment, entry::Entry, seal::Seal},
};

/// A pass, as the writing of one new segment sees it.
pub(super) struct Rewrite<'a> {
    pub(super) compaction: &'a Compaction,
    pub(super) map: &'a OffsetMap,
    /// Batches that producers are known by begin here. In order.
    pub(super) remembered: &'a [Offset],
    /// The map has everything before it.
    pub(super) mapped_to: Offset,
    /// A batch before was kept whole, for it could not be read here. Of the whole pass.
    pub(super) has_unreadable: &'a Cell<bool>,
}

/// A new segment.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// `None`: it would be the old one.
    pub(super) seal: Option<Seal>,
    pub(super) removed: u64,
    /// Those that are left below `mapped_to`.
    pub(super) tombstones: u64,
}

/// Offsets of which nothing is left, as one batch.
struct Gap {
    base: Offset,
    last: Offset,
    leader_epoch: i32,
    append_time_ms: i64,
    /// It is one batch that has been there before.
    is_old: bool,
}

impl Rewrite<'_> {
    /// Writes the segment that takes the place of `group`, under names of its own.
    pub(super) fn run(&self, group: &[Arc<Segment>], pace: &mut Pace<'_>) -> Result<Written, Halt> {
        let mut output = Output::new(self.compaction, group);
        let mut batches = Batches {
            rewrite: self,
            retainer: Retainer::default(),
            hashes: Vec::new(),
            gap: None,
            written: Written::default(),
        };
        for segment in group {
            let times = AppendTimes::of(segment)?;
            let boundary = self.snapshot_in(segment)?;
            let file = segment.file()?;
            walk(
                segment,
                &file,
                segment.base(),
                pace,
                |pace, header, batch| {
                    let append_time_ms = times.of_batch(header.base_offset);
                    if boundary == Some(header.base_offset) {
                        batches.end_gap(&mut output, pace)?;
                    }
                    batches.take(header, batch, append_time_ms, &mut output, pace)?;
                    Ok(true)
                },
            )?;
        }
        batches.end_gap(&mut output, pace)?;
        let mut written = batches.written;
        written.seal = output.finish(pace)?;
        Ok(written)
    }

    /// A batch has to begin where a snapshot of the producers was taken.
    fn snapshot_in(&self, segment: &Segment) -> Result<Option<Offset>, LogError> {
        match producers::read(&self.compaction.shared.home, segment.base()) {
            Ok(snapshot) => Ok(snapshot.map(|(at, _)| at)),
            Err(LogError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `key`: its hash, if it has a key.
    fn keeps(&self, record: &RecordRef<'_>, key: Option<KeyHash>) -> bool {
        let Some(key) = key else {
            return true;
        };
        let last = self.map.last(key);
        if last.is_some_and(|last| last > record.offset) {
            return false;
        }
        record.value.is_some()
            // It may delete what is in a batch that is kept whole.
            || self.has_unreadable.get()
            || record.offset >= self.compaction.tombstones_go_before
    }
}

/// What of one batch stays.
struct Verdicts<'a> {
    rewrite: &'a Rewrite<'a>,
    /// Of the batch's keys.
    hashes: &'a mut Vec<KeyHash>,
    /// The next record with a key has this one of them. 0: nothing was decided yet.
    next: usize,
    tombstones: u64,
}

impl Keep for Verdicts<'_> {
    fn look(&mut self, record: &RecordRef<'_>) {
        self.hashes
            .extend(record.key.map(|key| self.rewrite.map.hash(key)));
    }

    fn keep(&mut self, record: &RecordRef<'_>) -> bool {
        let rewrite = self.rewrite;
        let key = record.key.is_some().then(|| {
            if self.next == 0 {
                rewrite.map.fetch(self.hashes.iter().copied());
            }
            self.next += 1;
            self.hashes[self.next - 1]
        });
        let keeps = rewrite.keeps(record, key);
        let is_tombstone = key.is_some() && record.value.is_none();
        let goes_one_day = record.offset < rewrite.mapped_to && !rewrite.has_unreadable.get();
        self.tombstones += u64::from(keeps && is_tombstone && goes_one_day);
        keeps
    }
}

struct Batches<'a> {
    rewrite: &'a Rewrite<'a>,
    retainer: Retainer,
    hashes: Vec<KeyHash>,
    gap: Option<Gap>,
    written: Written,
}

impl Batches<'_> {
    fn take(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        append_time_ms: i64,
        output: &mut Output<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<(), Halt> {
        let rewrite = self.rewrite;
        self.hashes.clear();
        let mut verdicts = Verdicts {
            rewrite,
            hashes: &mut self.hashes,
            next: 0,
            tombstones: 0,
        };
        let retained = if header.attributes.is_control() {
            Ok(Retained::All)
        } else {
            self.retainer
                .retain(header, batch, DECOMPRESSED_BYTES_MAX, &mut verdicts)
        };
        let tombstones = verdicts.tombstones;
        let (kept, is_old) = match retained {
            Ok(Retained::None) => {
                self.written.removed += u64::from(header.record_count);
                return self.take_empty(header, batch, append_time_ms, output, pace);
            }
            Ok(Retained::Some(kept)) => (kept, false),
            Ok(Retained::All) => (batch, true),
            // What cannot be read here is kept as it is: consumers may read it.
            Err(_) => {
                rewrite.has_unreadable.set(true);
                (batch, true)
            }
        };
        // Borrowed from the retainer, of which the end of a gap makes no use.
        let gap = self.gap.take();
        write_gap(gap, output, pace)?;
        let now = BatchHeader::parse(kept).expect("a batch was written or read");
        self.written.removed += u64::from(header.record_count - now.record_count);
        self.written.tombstones += tombstones;
        output.put(&now, kept, append_time_ms, is_old, pace)
    }

    /// Nothing is left of the batch, or was.
    fn take_empty(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        append_time_ms: i64,
        output: &mut Output<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<(), Halt> {
        let is_remembered = sequenced(header).is_some()
            && self
                .rewrite
                .remembered
                .binary_search(&header.base_offset)
                .is_ok();
        if is_remembered {
            self.end_gap(output, pace)?;
            let producer = ProducerStamp {
                id: header.producer_id,
                epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
            };
            let (base, last) = (header.base_offset, header.last_offset());
            let kept = empty(base, last, header.leader_epoch, producer);
            return put_empty(&kept, append_time_ms, kept == batch, output, pace);
        }
        if let Some(gap) = &mut self.gap
            && gap.leader_epoch == header.leader_epoch
            && header.last_offset().0 - gap.base.0 < 1 << 31
        {
            gap.last = header.last_offset();
            gap.is_old = false;
            return Ok(());
        }
        self.end_gap(output, pace)?;
        let mut gap = Gap {
            base: header.base_offset,
            last: header.last_offset(),
            leader_epoch: header.leader_epoch,
            append_time_ms,
            is_old: false,
        };
        gap.is_old = gap.batch() == batch;
        self.gap = Some(gap);
        Ok(())
    }

    fn end_gap(&mut self, output: &mut Output<'_>, pace: &mut Pace<'_>) -> Result<(), Halt> {
        write_gap(self.gap.take(), output, pace)
    }
}

impl Gap {
    fn batch(&self) -> [u8; HEADER_BYTES] {
        empty(self.base, self.last, self.leader_epoch, ProducerStamp::NONE)
    }
}

fn write_gap(gap: Option<Gap>, output: &mut Output<'_>, pace: &mut Pace<'_>) -> Result<(), Halt> {
    let Some(gap) = gap else {
        return Ok(());
    };
    put_empty(&gap.batch(), gap.append_time_ms, gap.is_old, output, pace)
}

fn put_empty(
    batch: &[u8],
    append_time_ms: i64,
    is_old: bool,
    output: &mut Output<'_>,
    pace: &mut Pace<'_>,
) -> Result<(), Halt> {
    let header = BatchHeader::parse(batch).expect("it was just made");
    output.put(&header, batch, append_time_ms, is_old, pace)
}

/// When the batches of a segment were appended, to the precision of its index.
struct AppendTimes {
    base: Offset,
    first_ms: i64,
    entries: Vec<Entry>,
}

impl AppendTimes {
    fn of(segment: &Segment) -> Result<Self, LogError> {
        Ok(Self {
            base: segment.base(),
            first_ms: segment.first_append_time_ms(),
            entries: segment.whole_entries()?,
        })
    }

    fn of_batch(&self, offset: Offset) -> i64 {
        let relative = offset.0 - self.base.0;
        let after = self
            .entries
            .partition_point(|entry| u64::from(entry.relative) <= relative);
        let before = after.checked_sub(1).map(|at| self.entries[at]);
        before.map_or(self.first_ms, |entry| entry.append_time_ms)
    }
}
