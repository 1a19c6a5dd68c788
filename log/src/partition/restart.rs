//! Begins the log anew at another offset.

use taffrail_core::{Offset, producers::ProducerTable, replica::EpochTable};

use super::PartitionLog;
use crate::{
    checkpoint::{Checkpoint, LogPoint},
    epochs,
    error::LogError,
    segment::active::ActiveSegment,
    shared::SyncedThrough,
};
use std::sync::Arc;

impl PartitionLog {
    /// Removes everything; the log is empty afterwards and begins at `start`, which may be before or after what it had. Durable on return.
    ///
    /// # Errors
    /// The disk's, which may poison the log. Opening then finds an empty log, at the old start or at the new one, or what was not yet removed.
    pub fn restart(&mut self, start: Offset) -> Result<(), LogError> {
        self.truncate(self.log_start())?;
        if start == self.log_start() {
            return Ok(());
        }
        self.begin_at(start)
            .inspect_err(|error| self.shared.poison(&error.to_string()))
    }

    /// The log is empty. Between two steps there is no segment at all: then opening makes one where the checkpoint says that the log begins.
    fn begin_at(&mut self, start: Offset) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let mut upkeep = shared.upkeep();
        self.generation += 1;
        *upkeep = self.generation;
        self.home.remove_segment(self.active.point().segment)?;
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
        self.epochs = EpochTable::default();
        epochs::write(&self.epochs, &*self.home.disk, &self.home.dir)?;
        self.epochs_changed = false;
        self.producers = ProducerTable::default();
        self.producers_saved = None;
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
