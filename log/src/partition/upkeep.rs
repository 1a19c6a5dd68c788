//! Plans seals, checkpoints and removals, and takes note of what became of them.

use std::sync::Arc;

use super::{Expired, PartitionLog};
use crate::{
    checkpoint::Checkpoint,
    error::LogError,
    producers::{NOTHING_SAVED, SNAPSHOT_BYTES, Snapshot},
    upkeep::{CheckpointWork, Upkeep, Work},
};

impl PartitionLog {
    /// The indexes and seals of rolled segments whose bytes are durable, to be written; `None` if there are none, or an upkeep is out.
    pub fn plan_seal(&mut self) -> Option<Upkeep> {
        let due = self.jobs.iter().filter(|job| job.is_durable());
        let due: Vec<_> = due.map(Arc::clone).collect();
        if due.is_empty() {
            return None;
        }
        self.plan(Work::Seal(due))
    }

    /// Was one planned that has not come back?
    pub fn upkeep_is_out(&self) -> bool {
        self.upkeep_is_out
    }

    pub(super) fn plan(&mut self, work: Work) -> Option<Upkeep> {
        if self.upkeep_is_out {
            return None;
        }
        self.upkeep_is_out = true;
        Some(Upkeep {
            shared: Arc::clone(&self.shared),
            generation: self.generation,
            work,
        })
    }

    /// Takes an upkeep back with what [`Upkeep::run`] said. Where segments expired, their files are removed by the next one, which is given
    /// with them: they are no part of the log any more.
    ///
    /// # Errors
    /// That of the run.
    pub fn upkeep_done(
        &mut self,
        upkeep: Upkeep,
        result: Result<(), LogError>,
    ) -> Result<Option<(Expired, Upkeep)>, LogError> {
        self.upkeep_is_out = false;
        let is_stale = upkeep.generation != self.generation;
        match upkeep.work {
            Work::Seal(_) => self.jobs.retain(|job| !job.is_over()),
            Work::Remove(_) => {}
            Work::Checkpoint(work) if is_stale || result.is_err() => {
                self.epochs_changed |= work.epochs.is_some();
                if work.producers.is_some() {
                    self.producers_unsaved_bytes = NOTHING_SAVED;
                }
            }
            Work::Checkpoint(work) => {
                self.written = Some(work.checkpoint);
                return Ok(work.expires.and_then(|expired| self.let_go(expired)));
            }
        }
        result.map(|()| None)
    }

    /// Runs an upkeep, and what follows from it, on this thread.
    pub(super) fn keep_up(&mut self, upkeep: Option<Upkeep>) -> Result<Option<Expired>, LogError> {
        let (mut next, mut went) = (upkeep, None);
        while let Some(upkeep) = next.take() {
            let result = upkeep.run();
            if let Some((expired, removal)) = self.upkeep_done(upkeep, result)? {
                (went, next) = (Some(expired), Some(removal));
            }
        }
        Ok(went)
    }

    /// What a checkpoint has to write now; `None` if nothing changed. The epochs count as written: on a failure they have to be noted as
    /// changed again.
    pub(super) fn checkpoint_work(
        &mut self,
        clean: bool,
        expires: Option<Expired>,
    ) -> Option<CheckpointWork> {
        let log_start = expires.map_or(self.log_start(), |expired| expired.new_log_start);
        let checkpoint = Checkpoint {
            log_start,
            high_watermark: self.high_watermark.min(self.durable.offset),
            recovery: self.durable,
            clean,
        };
        let mut epochs = self.epochs.clone();
        let epochs_changed = epochs.forget_before(log_start) | self.epochs_changed;
        // The mark of a clean stop stays good until something is appended.
        let same = |written: &Checkpoint| {
            let clean = written.clean;
            Checkpoint {
                clean,
                ..checkpoint
            } == *written
                && (clean || !checkpoint.clean)
        };
        if self.written.as_ref().is_some_and(same) && !epochs_changed {
            return None;
        }
        self.epochs_changed = false;
        let producers = (self.producers_unsaved_bytes >= SNAPSHOT_BYTES)
            .then(|| Snapshot::of(&self.producers, self.log_end()));
        if producers.is_some() {
            self.producers_unsaved_bytes = 0;
        }
        Some(CheckpointWork {
            producers,
            checkpoint,
            epochs: epochs_changed.then_some(epochs),
            active: Arc::clone(self.active.segment()),
            expires,
        })
    }
}
