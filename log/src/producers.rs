//! Snapshots of the producer table, and the table as it was at an offset: the newest snapshot at or below it, and the batches after that.
//!
//! A segment's snapshot is of its base (written when the segment before is sealed), or of a later offset in it (a checkpoint, a clean stop, the end
//! of a recovery). It goes with its segment. Missing or damaged ones cost time only, but for that of the oldest segment: what it has of batches that
//! expired is nowhere else.

use std::sync::Arc;

use taffrail_core::{
    Offset,
    producers::{ProducerLimits, ProducerTable, SequencedBatch},
};
use taffrail_record::BatchHeader;

use crate::{
    error::LogError,
    frame::{self, Fields, Kind},
    names::Part,
    segment::Segment,
    shared::Home,
};

const KIND: Kind = Kind {
    tag: *b"prod",
    version: 1,
};
const WALK_BYTES: usize = 1 << 18;

/// A checkpoint takes a snapshot along after so many bytes: that much is read again after a crash.
pub(crate) const SNAPSHOT_BYTES: u64 = 16 << 20;
/// More than any log has.
pub(crate) const NOTHING_SAVED: u64 = u64::MAX;

/// A table, to be written for the segment that `at` is in.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Offset,
    /// As it is in the file.
    payload: Vec<u8>,
}

impl Snapshot {
    /// The table that has everything before `at`.
    pub(crate) fn of(table: &ProducerTable, at: Offset) -> Self {
        let mut payload = at.0.to_be_bytes().to_vec();
        table.encode(&mut payload);
        Self { at, payload }
    }

    /// Durable but for the name, which is after the directory's next sync.
    pub(crate) fn write_later(&self, home: &Home, segment: Offset) -> Result<(), LogError> {
        let path = home.path(segment, Part::Producers);
        frame::replace_later(&*home.disk, &path, KIND, &self.payload)
    }
}

/// A segment's snapshot; `None` if there is none.
pub(crate) fn read(
    home: &Home,
    segment: Offset,
) -> Result<Option<(Offset, ProducerTable)>, LogError> {
    let path = home.path(segment, Part::Producers);
    let Some(payload) = frame::read(&*home.disk, &path, KIND)? else {
        return Ok(None);
    };
    let mut fields = Fields(&payload);
    let at = fields.u64().map(Offset).filter(|at| *at >= segment);
    let table = ProducerTable::decode(fields.0, ProducerLimits::default());
    at.zip(table).map(Some).ok_or(LogError::Unreadable {
        path,
        reason: "its fields are wrong",
    })
}

/// What a batch's header says of its producer; `None`: it is not idempotent.
pub fn sequenced(header: &BatchHeader) -> Option<SequencedBatch> {
    let is_sequenced =
        header.producer_id >= 0 && header.producer_epoch >= 0 && header.base_sequence >= 0;
    is_sequenced.then_some(SequencedBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        // Those that compaction took had sequence numbers, too.
        records: header.offsets(),
    })
}

/// A table that was derived from what is on disk.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) table: ProducerTable,
    /// Batches that were read for it.
    pub(crate) batches_read: u64,
    /// Segments whose snapshot is of an offset beyond `end`.
    pub(crate) beyond: Vec<Offset>,
    /// What is known of batches that expired, if that of the oldest segment is one of them.
    oldest: Option<Snapshot>,
}

/// The table of everything before `end`, which is a batch's start or the log end. `segments` are all there are, oldest first. Of batches that expired
/// the oldest snapshot knows, or `known`.
///
/// Append times are not in batches: those of sealed segments count as of the segment's last, so that nobody is forgotten early.
pub(crate) fn derive(
    home: &Home,
    segments: &[Arc<Segment>],
    end: Offset,
    known: &ProducerTable,
) -> Result<Derived, LogError> {
    let start = segments.first().map_or(end, |oldest| oldest.base());
    let mut derived = Derived {
        table: known.before(start),
        batches_read: 0,
        beyond: Vec::new(),
        oldest: None,
    };
    let newest_ms = segments.last().map_or(0, |s| s.last_append_time_ms());
    let idle_since_ms = newest_ms.saturating_sub(ProducerLimits::default().idle_ms_max);
    let (mut first, mut from) = (segments.len(), end);
    for segment in segments.iter().rev() {
        match read(home, segment.base()) {
            Ok(Some((at, table))) if at <= end && segment.is_boundary(at)? => {
                from = at;
                derived.table = table;
                first -= usize::from(at < segment.next_offset());
                break;
            }
            Ok(Some((at, table))) if at > end => {
                derived.beyond.push(segment.base());
                if segment.base() == start {
                    derived.table = table.before(start);
                    let knows_any = !derived.table.is_empty();
                    derived.oldest = knows_any.then(|| Snapshot::of(&derived.table, start));
                }
            }
            Ok(_) | Err(LogError::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
        if segment.bytes() > 0 && segment.last_append_time_ms() < idle_since_ms {
            break;
        }
        (first, from) = (first - 1, segment.base());
    }
    for segment in &segments[first..] {
        derived.read_on(segment, from.max(segment.base()), end)?;
    }
    Ok(derived)
}

impl Derived {
    /// Leaves of the oldest segment's snapshot what is true wherever the log ends: nothing else may know it.
    pub(crate) fn keep_oldest(&mut self, home: &Home) -> Result<(), LogError> {
        if let Some(oldest) = self.oldest.take() {
            oldest.write_later(home, oldest.at)?;
            self.beyond.retain(|base| *base != oldest.at);
        }
        Ok(())
    }

    /// Removes the snapshots that have more than the log. Gone after the directory's next sync.
    pub(crate) fn remove_beyond(&self, home: &Home) -> Result<(), LogError> {
        for base in &self.beyond {
            home.remove(&home.path(*base, Part::Producers))?;
        }
        Ok(())
    }

    fn read_on(&mut self, segment: &Segment, from: Offset, end: Offset) -> Result<(), LogError> {
        if from >= end.min(segment.next_offset()) {
            return Ok(());
        }
        let (position, _) = segment.batch_of(from)?;
        let is_sealed = segment.seal().is_some();
        let mut failed = None;
        segment.walk(position, segment.bytes(), WALK_BYTES, |_, header| {
            if header.base_offset >= end {
                return false;
            }
            self.batches_read += 1;
            let Some(batch) = sequenced(header) else {
                return true;
            };
            let known = if is_sealed {
                Ok(None)
            } else {
                segment.append_time_ms(header.base_offset)
            };
            match known {
                Ok(time) => {
                    let time = time.unwrap_or(segment.last_append_time_ms());
                    self.table.note(&batch, header.base_offset, time);
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }
}
