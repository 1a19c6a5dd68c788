//! The end of the log: a torn tail, which is cut, or damage, which is not.

use std::path::Path;

use taffrail_core::{
    Offset,
    replica::{Mutant, is_broken},
};

use super::{Recovery, scan_segment::Scanned};
use crate::{
    checkpoint::LogPoint,
    disk::OpenMode,
    error::LogError,
    file::LogFile,
    names::Part,
    partition::open::Torn,
    segment::{active::ActiveSegment, scan::Scanner},
};

impl Recovery<'_> {
    /// The log ends in the segment that was just scanned, the `i`th.
    pub(super) fn end_here(
        &mut self,
        scanned: Scanned,
        i: usize,
    ) -> Result<ActiveSegment, LogError> {
        let point = scanned.point;
        let path = scanned.file.path().to_owned();
        let reason = scanned
            .stop
            .as_deref()
            .unwrap_or("the batches end too early");
        self.check_floor(point.offset, &path, point.position, reason)?;
        let damaged = || LogError::Damaged {
            path: path.clone(),
            position: point.position,
            offset: point.offset,
            reason: reason.to_owned(),
        };
        let later = self.bases[i + 1..].to_vec();
        if scanned.stop.is_some() && !is_broken(Mutant::DamageTakenForTornTail) {
            // Without a checkpoint nobody knows whether this was acknowledged.
            if self.checkpoint.is_none() {
                return Err(damaged());
            }
            let mut rest = Scanner::new(&scanned.file)?;
            if rest.has_batch_after(point.position + 1, point.offset)? {
                return Err(damaged());
            }
        }
        for base in &later {
            let file = self.home.open(*base, Part::Log, OpenMode::Read)?;
            let first = Scanner::new(&file)?.has_batch_after(0, point.offset)?;
            if first || *base < point.offset {
                return Err(damaged());
            }
        }
        self.cut(&scanned.file, &point, scanned.stop.is_some(), &later)?;
        Ok(self.resume(scanned))
    }

    /// Cuts a torn tail, or only the room that was reserved; removes segments that never got a batch.
    fn cut(
        &mut self,
        file: &LogFile,
        point: &LogPoint,
        is_torn: bool,
        later: &[Offset],
    ) -> Result<(), LogError> {
        if is_torn {
            let end = Scanner::new(file)?.end_of_data(point.position)?;
            self.report.torn = Some(Torn {
                offset: point.offset,
                bytes: end - point.position,
            });
        }
        for base in later.iter().rev() {
            self.home.remove_segment(*base)?;
        }
        if self.report.clean_stop {
            return Ok(());
        }
        if file.bytes()? != point.position {
            file.set_len(point.position)?;
        }
        // What survived in the page cache becomes durable before anybody counts on it.
        file.sync()?;
        self.home.sync_dir()
    }

    /// Is the end of the log at or after everything that is known to have been there?
    pub(super) fn check_floor(
        &self,
        end: Offset,
        path: &Path,
        position: u64,
        reason: &str,
    ) -> Result<(), LogError> {
        let floor = self
            .checkpoint
            .map_or(Offset::ZERO, |c| c.recovery.offset.max(c.high_watermark));
        if end >= floor || is_broken(Mutant::DamageTakenForTornTail) {
            return Ok(());
        }
        Err(LogError::Damaged {
            path: path.to_owned(),
            position,
            offset: end,
            reason: format!("{reason}; offsets up to {floor} were durable"),
        })
    }
}
