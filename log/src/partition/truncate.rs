//! Cuts the end of the log off.

use std::sync::Arc;

use taffrail_core::{
    Offset,
    replica::{Mutant, is_broken},
};

use super::PartitionLog;
use crate::{
    checkpoint::{Checkpoint, LogPoint},
    disk::OpenMode,
    epochs,
    error::{AtPath, LogError},
    file::LogFile,
    names::{self, Part},
    producers::{self, Derived, NOTHING_SAVED},
    segment::{EntryBuilder, Segment, active::ActiveSegment, entry::Entry},
    shared::SyncedThrough,
};

const COPY_BYTES: usize = 1 << 20;

/// The part of a segment that stays, in a file that has not got its name yet.
struct Cut {
    point: LogPoint,
    entries: Vec<Entry>,
}

impl PartitionLog {
    /// Removes everything from `to` on; a batch that `to` is in the middle of goes as a whole. Gives the new log end. Durable on return.
    ///
    /// The file that is cut is written anew, so that mappings of the old one stay good. Sync tokens made before count for nothing after.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`]; the disk's, which may poison the log.
    pub fn truncate(&mut self, to: Offset) -> Result<Offset, LogError> {
        self.shared.check_not_poisoned()?;
        let (start, end) = (self.log_start(), self.log_end());
        if to < start || to > end {
            return Err(LogError::OffsetOutOfRange {
                offset: to,
                start,
                end,
            });
        }
        if to == end {
            return Ok(end);
        }
        // Nothing is exchanged while segments are cut.
        let shared = Arc::clone(&self.shared);
        let mut upkeep = shared.upkeep();
        self.take_in_compacted();
        let segments = self.shared.segments();
        let keep = segments.partition_point(|s| s.base() <= to) - 1;
        let cut = self.copy_prefix(&segments[keep], to)?;
        let new_end = cut.point.offset;
        let mut derived = producers::derive(&self.home, &segments, new_end, &self.producers)?;
        derived.keep_oldest(&self.home)?;
        if let Err(error) = self.cut_to(cut, &segments, keep, &derived, &mut upkeep) {
            self.shared.poison(&error.to_string());
            return Err(error);
        }
        self.producers = derived.table;
        self.producers_unsaved_bytes = NOTHING_SAVED;
        Ok(new_end)
    }

    /// Copies what stays of `segment` to a new file.
    fn copy_prefix(&self, segment: &Segment, to: Offset) -> Result<Cut, LogError> {
        let (position, offset) = segment.batch_of(to)?;
        let entries = segment.index().entries_before(position)?;
        let from = entries.last().copied();
        let mut builder = EntryBuilder::resume(
            segment.base(),
            u64::from(self.config.index_interval_bytes),
            entries,
            from.map_or(i64::MIN, |e| e.max_before_ms),
        );
        let last_append_time_ms = self.active.point().last_append_time_ms;
        let walked_from = from.map_or(0, |e| u64::from(e.position));
        let time_ms = from.map_or(segment.first_append_time_ms(), |e| e.append_time_ms);
        segment.walk(walked_from, position, COPY_BYTES, |at, header| {
            builder.note(at, header, time_ms);
            true
        })?;
        let temporary = names::temporary(&self.home.path(segment.base(), Part::Log));
        let to_file = LogFile::open(&*self.home.disk, temporary, OpenMode::Create)?;
        let crc32 = copy(&segment.file()?, &to_file, position)?;
        if !is_broken(Mutant::TruncationNotSynced) {
            to_file.sync()?;
        }
        Ok(Cut {
            point: LogPoint {
                segment: segment.base(),
                offset,
                position,
                crc32,
                max_record_time_ms: builder.max_record_time_ms,
                first_append_time_ms: segment.first_append_time_ms(),
                last_append_time_ms,
            },
            entries: builder.entries,
        })
    }

    /// From here on an error leaves the disk between two states; opening finds the one or the other.
    fn cut_to(
        &mut self,
        cut: Cut,
        segments: &[Arc<Segment>],
        keep: usize,
        producers: &Derived,
        upkeep: &mut u64,
    ) -> Result<(), LogError> {
        let Cut { point, entries } = cut;
        for job in self.jobs.iter().filter(|job| job.base() >= point.segment) {
            job.cancel();
        }
        self.jobs.retain(|job| job.base() < point.segment);
        // The cut file is durable; if what comes before it were not, a crash would leave a hole.
        for job in &self.jobs {
            job.make_durable()?;
        }
        self.generation += 1;
        *upkeep = self.generation;
        self.lower_marks(&point)?;
        self.shared.set_log_end(point.offset);
        for segment in segments[keep + 1..].iter().rev() {
            self.home.remove_segment(segment.base())?;
        }
        for part in [Part::Seal, Part::TimeIndex, Part::Index] {
            self.home.remove(&self.home.path(point.segment, part))?;
        }
        producers.remove_beyond(&self.home)?;
        let path = self.home.path(point.segment, Part::Log);
        let renamed = self.home.disk.rename(&names::temporary(&path), &path);
        renamed.at("replace", &path)?;
        if !is_broken(Mutant::TruncationNotSynced) {
            self.home.sync_dir()?;
        }
        let file = LogFile::open(&*self.home.disk, path, OpenMode::ReadWrite)?;
        let trusted_from = point.position;
        self.active = ActiveSegment::resume(
            &self.home,
            file,
            point,
            entries,
            0,
            trusted_from,
            &self.config,
        );
        self.active_unnamed = false;
        let mut kept = segments[..keep].to_vec();
        kept.push(Arc::clone(self.active.segment()));
        self.shared.set_segments(kept);
        self.durable = point;
        *self.shared.sync_state() = SyncedThrough {
            generation: self.generation,
            offset: self.durable.offset,
        };
        Ok(())
    }

    /// No mark may point beyond the new end, before anything is removed: else what is missing would count as damage.
    fn lower_marks(&mut self, end: &LogPoint) -> Result<(), LogError> {
        if end.offset < self.durable.offset {
            self.durable = *end;
        }
        self.high_watermark = self.high_watermark.min(end.offset);
        let checkpoint = Checkpoint {
            log_start: self.log_start(),
            high_watermark: self.high_watermark.min(self.durable.offset),
            recovery: self.durable,
            clean: false,
        };
        checkpoint.write(&*self.home.disk, &self.home.dir)?;
        self.written = Some(checkpoint);
        self.epochs.cut(end.offset);
        epochs::write(&self.epochs, &*self.home.disk, &self.home.dir)?;
        self.epochs_changed = false;
        if self.cleaned.cut(end.offset) {
            self.cleaned.write(&self.home)?;
        }
        Ok(())
    }
}

/// Copies the first `bytes` bytes and gives their CRC-32.
fn copy(from: &LogFile, to: &LogFile, bytes: u64) -> Result<u32, LogError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; COPY_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let part = &mut buffer[..COPY_BYTES.min((bytes - at) as usize)];
        from.read_exact(part, at)?;
        hasher.update(part);
        to.write_all(part, at)?;
        at += part.len() as u64;
    }
    Ok(hasher.finalize())
}
