//! Begins the log anew at another offset.

use std::sync::Arc;

use taffrail_core::{Offset, producers::ProducerTable};

use super::PartitionLog;
use crate::{
    checkpoint::{Checkpoint, LogPoint},
    compaction::cleaned::Cleaned,
    epochs,
    error::LogError,
    names,
    producers::{NOTHING_SAVED, Snapshot},
    segment::active::ActiveSegment,
    shared::SyncedThrough,
};

impl PartitionLog {
    /// Removes everything; the log is empty afterwards, knows no epoch and no producer but `producers`, who wrote before `start`, and begins there,
    /// which may be before or after what it had. It will be filled from a log with this `delete_horizon`. Durable on return. Sync tokens made before count
    /// for nothing after.
    ///
    /// # Errors
    /// The disk's, which may poison the log. Opening then finds an empty log, at the old start or at the new one, or what was not yet removed.
    pub fn restart(
        &mut self,
        start: Offset,
        producers: ProducerTable,
        delete_horizon: Offset,
    ) -> Result<(), LogError> {
        let generation = self.generation + 1;
        self.truncate(self.log_start())?;
        self.generation = generation;
        self.begin_at(start, producers, delete_horizon)
            .inspect_err(|error| self.shared.poison(&error.to_string()))
    }

    /// The log is empty. Between two steps there is no segment at all: then opening makes one where the checkpoint says that the log begins.
    fn begin_at(
        &mut self,
        start: Offset,
        producers: ProducerTable,
        delete_horizon: Offset,
    ) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let mut upkeep = shared.upkeep();
        *upkeep = self.generation;
        // Before the start moves: a table of other offsets must not be found with it.
        self.epochs.clear();
        epochs::write(&self.epochs, &*self.home.disk, &self.home.dir)?;
        self.epochs_changed = false;
        self.cleaned = Cleaned::anew(delete_horizon);
        self.home.remove(&self.home.dir.join(names::CLEANED))?;
        self.home.remove_segment(self.active.point().segment)?;
        if !producers.is_empty() {
            // Before the start moves, too: nothing else says it again.
            Snapshot::of(&producers, start).write_later(&self.home, start)?;
        }
        self.home.sync_dir()?;
        let last_append_time_ms = self.active.point().last_append_time_ms;
        let point = LogPoint::start_of(start, last_append_time_ms);
        self.high_watermark = start;
        let checkpoint = Checkpoint {
            log_start: start,
            high_watermark: start,
            recovery: point,
            clean: false,
        };
        checkpoint.write(&*self.home.disk, &self.home.dir)?;
        self.written = Some(checkpoint);
        if delete_horizon > Offset::ZERO {
            // Of nothing that was there before, and before anything is appended. If it is lost, an empty log is begun anew again.
            self.cleaned.write(&self.home)?;
        }
        self.producers = producers;
        self.producers_unsaved_bytes = NOTHING_SAVED;
        self.active = ActiveSegment::create(&self.home, start, last_append_time_ms, &self.config)?;
        self.active.file().sync()?;
        self.home.sync_dir()?;
        self.active_unnamed = false;
        self.durable = point;
        shared.set_segments(vec![Arc::clone(self.active.segment())]);
        shared.set_log_start(start);
        shared.set_log_end(start);
        *shared.sync_state() = SyncedThrough {
            generation: self.generation,
            offset: start,
        };
        Ok(())
    }
}
