//! What a crash left.
//!
//! Segments with a seal are durable and whole: they are not read. The others are scanned, from the recovery point on. Where a scan stops
//! before the end of the bytes there is a torn tail, which is cut, or damage, which is not. It is damage if a valid batch of a higher offset
//! follows, or if the cut would fall below what is known to have been durable or below the high watermark.

mod listing;
mod scan_segment;
mod tail;

use std::sync::Arc;

use taffrail_core::{LeaderEpoch, Offset, replica::EpochTable};

use super::open::RecoveryReport;
use crate::{
    checkpoint::{Checkpoint, LogPoint},
    config::LogConfig,
    disk::OpenMode,
    epochs,
    error::{AtPath, LogError},
    names::{self, Part},
    segment::{Segment, active::ActiveSegment, scan::epoch_of, seal::Seal},
    shared::Home,
};
use scan_segment::{Scanned, scan_segment};

pub(super) struct Recovered {
    pub(super) sealed: Vec<Arc<Segment>>,
    pub(super) active: ActiveSegment,
    pub(super) epochs: EpochTable,
    /// The epochs file has others.
    pub(super) epochs_changed: bool,
    pub(super) log_start: Offset,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) report: RecoveryReport,
}

struct Recovery<'a> {
    home: &'a Arc<Home>,
    config: &'a LogConfig,
    checkpoint: Option<Checkpoint>,
    /// Base offsets of the segments there are, in order.
    bases: Vec<Offset>,
    sealed: Vec<Arc<Segment>>,
    epochs: EpochTable,
    epochs_on_disk: Option<EpochTable>,
    /// The table contradicts the batches.
    epochs_wrong: bool,
    last_epoch: Option<LeaderEpoch>,
    last_append_time_ms: i64,
    report: RecoveryReport,
}

pub(super) fn recover(home: &Arc<Home>, config: &LogConfig) -> Result<Recovered, LogError> {
    let checkpoint = or_rebuild(Checkpoint::read(&*home.disk, &home.dir))?;
    let on_disk = or_rebuild(epochs::read(&*home.disk, &home.dir))?;
    let mut recovery = Recovery {
        home,
        config,
        bases: listing::segments(home, checkpoint.map(|c| c.log_start))?,
        sealed: Vec::new(),
        epochs_wrong: on_disk.is_none(),
        epochs: on_disk.clone().unwrap_or_default(),
        epochs_on_disk: on_disk,
        last_epoch: None,
        last_append_time_ms: checkpoint.map_or(0, |c| c.recovery.last_append_time_ms),
        report: RecoveryReport {
            checkpoint_rebuilt: checkpoint.is_none(),
            ..RecoveryReport::default()
        },
        checkpoint,
    };
    let active = recovery.segments()?;
    recovery.finish(active)
}

/// What can be had from the batches need not be readable.
fn or_rebuild<T>(read: Result<Option<T>, LogError>) -> Result<Option<T>, LogError> {
    match read {
        Err(LogError::Unreadable { .. }) => Ok(None),
        read => read,
    }
}

impl Recovery<'_> {
    /// Goes through all segments; gives the active one.
    fn segments(&mut self) -> Result<ActiveSegment, LogError> {
        let mut expected = self.log_start()?;
        for i in 0..self.bases.len() {
            let base = self.bases[i];
            let is_gap = if i == 0 {
                base > expected
            } else {
                base != expected
            };
            if is_gap {
                return Err(self.missing(expected, base));
            }
            if let Some(seal) = self.seal(base)? {
                expected = seal.end;
                self.take_sealed(seal)?;
                continue;
            }
            let scanned = self.scan(base)?;
            expected = scanned.point.offset;
            if scanned.stop.is_none() && self.bases.get(i + 1) == Some(&expected) {
                self.reseal(scanned)?;
            } else {
                return self.end_here(scanned, i);
            }
        }
        // Every segment is sealed, or there is none: the next one was lost with its name, and was empty.
        self.check_floor(
            expected,
            &self.home.path(expected, Part::Log),
            0,
            "the segment is missing",
        )?;
        ActiveSegment::create(self.home, expected, self.last_append_time_ms, self.config)
    }

    fn log_start(&self) -> Result<Offset, LogError> {
        match (&self.checkpoint, self.bases.first()) {
            (Some(checkpoint), _) => Ok(checkpoint.log_start),
            (None, Some(base)) => Ok(*base),
            (None, None) => Err(LogError::Unreadable {
                path: self.home.dir.join(names::CHECKPOINT),
                reason: "it is missing or damaged, and there are no segments to build it from",
            }),
        }
    }

    /// The seal of a segment, if it has a good one. A file of another length than its seal says is damage.
    fn seal(&self, base: Offset) -> Result<Option<Seal>, LogError> {
        let Some(seal) = or_rebuild(Seal::read(self.home, base))? else {
            return Ok(None);
        };
        let path = self.home.path(base, Part::Log);
        let bytes = self.home.disk.stat(&path).at("measure", &path)?.bytes;
        if bytes == seal.bytes {
            return Ok(Some(seal));
        }
        Err(LogError::Damaged {
            path,
            position: bytes.min(seal.bytes),
            offset: base,
            reason: format!("it has {bytes} bytes, but was sealed with {}", seal.bytes),
        })
    }

    fn take_sealed(&mut self, seal: Seal) -> Result<(), LogError> {
        let segment = Segment::of_seal(self.home, seal)?;
        self.report.indexes_rebuilt += usize::from(segment.index().rebuilds() > 0);
        let last = Offset(seal.end.0 - 1);
        let known = (self.epochs.at(seal.base), self.epochs.at(last));
        self.epochs_wrong |= known != (Some(seal.first_epoch), Some(seal.last_epoch));
        self.last_epoch = Some(seal.last_epoch);
        self.last_append_time_ms = seal.last_append_time_ms;
        self.sealed.push(Arc::new(segment));
        Ok(())
    }

    fn scan(&mut self, base: Offset) -> Result<Scanned, LogError> {
        let file = self.home.open(base, Part::Log, OpenMode::ReadWrite)?;
        let start = match &self.checkpoint {
            Some(checkpoint) if checkpoint.recovery.segment == base => checkpoint.recovery,
            _ => LogPoint::start_of(base, self.last_append_time_ms),
        };
        let is_last = self.bases.last() == Some(&base);
        let is_clean = is_last
            && self
                .checkpoint
                .is_some_and(|c| c.clean && c.recovery == start)
            && file.bytes()? == start.position;
        let before = base
            .0
            .checked_sub(1)
            .and_then(|o| self.epochs.at(Offset(o)));
        let last_epoch = self.last_epoch.or(before);
        let mut scanned = scan_segment(self.home, file, start, last_epoch, self.config, is_clean)?;
        self.report.clean_stop |= is_clean;
        self.report.scanned_bytes += scanned.point.position - start.position;
        self.report.indexes_rebuilt += usize::from(scanned.index_lost);
        if let Some((offset, epoch)) = scanned.before_start {
            self.epochs_wrong |= self.epochs.at(offset) != Some(epoch);
        }
        // The file may know epochs of batches that did not survive.
        self.epochs.cut(start.offset);
        for start in std::mem::take(&mut scanned.epochs) {
            self.epochs.note(start.epoch, start.start);
        }
        self.last_epoch = scanned.last_epoch;
        if scanned.point.position > 0 {
            self.last_append_time_ms = scanned.point.last_append_time_ms;
        }
        Ok(scanned)
    }

    /// A segment that is whole, but was not sealed before the crash.
    fn reseal(&mut self, scanned: Scanned) -> Result<(), LogError> {
        let base = scanned.point.segment;
        let active = self.resume(scanned);
        let segment = Arc::clone(active.segment());
        let mut first = None;
        segment.walk(0, segment.bytes(), 4096, |_, header| {
            first = epoch_of(header);
            false
        })?;
        let epochs = first.zip(self.last_epoch).ok_or_else(|| {
            segment.damaged(0, base, "a segment before the last one has no leader epoch")
        })?;
        let job = active.into_seal_job(self.home, epochs, None);
        job.make_durable()?;
        // What cannot be sealed for want of room is read from its batches, and sealed on the next opening.
        let _ = job.seal();
        self.report.segments_sealed += 1;
        self.sealed.push(segment);
        Ok(())
    }

    fn resume(&self, scanned: Scanned) -> ActiveSegment {
        ActiveSegment::resume(
            self.home,
            scanned.file,
            scanned.point,
            scanned.entries,
            scanned.persisted,
            scanned.trusted_from,
            self.config,
        )
    }

    fn missing(&self, expected: Offset, found: Offset) -> LogError {
        LogError::Damaged {
            path: self.home.path(found, Part::Log),
            position: 0,
            offset: expected,
            reason: format!("the segment before should end at {found}, but ends at {expected}"),
        }
    }

    fn finish(mut self, active: ActiveSegment) -> Result<Recovered, LogError> {
        let log_start = self.log_start()?;
        if self.epochs_wrong {
            self.epochs = self.epochs_from_batches(&active)?;
            self.report.epochs_rebuilt = true;
        }
        Ok(Recovered {
            sealed: self.sealed,
            active,
            epochs_changed: self.epochs_on_disk.as_ref() != Some(&self.epochs),
            epochs: self.epochs,
            log_start,
            checkpoint: self.checkpoint,
            report: self.report,
        })
    }

    fn epochs_from_batches(&self, active: &ActiveSegment) -> Result<EpochTable, LogError> {
        let mut table = EpochTable::default();
        for segment in self.sealed.iter().chain([active.segment()]) {
            if let Some(seal) = segment.seal()
                && seal.first_epoch == seal.last_epoch
            {
                table.note(seal.first_epoch, seal.base);
                continue;
            }
            segment.walk(0, segment.bytes(), 1 << 18, |_, header| {
                if let Some(epoch) = epoch_of(header) {
                    table.note(epoch, header.base_offset);
                }
                true
            })?;
        }
        Ok(table)
    }
}
