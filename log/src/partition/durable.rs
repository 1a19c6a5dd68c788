//! Sync tokens, checkpoints, clean stop.

use std::sync::Arc;

use taffrail_core::Offset;

use super::PartitionLog;
use crate::{
    error::LogError,
    producers::Snapshot,
    shared::NO_GENERATION,
    sync::SyncToken,
    upkeep::{Upkeep, Work},
};

impl PartitionLog {
    /// What must be synced so that all that was appended so far is durable.
    pub fn sync_token(&mut self) -> SyncToken {
        SyncToken {
            shared: Arc::clone(&self.shared),
            generation: self.generation,
            point: *self.active.point(),
            file: self.active.file().clone(),
            jobs: self.jobs.clone(),
            names_file: self.active_unnamed,
        }
    }

    /// A token was synced: moves the durable end. A token from before a truncation counts for nothing.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] if any sync of this log has failed, also another token's.
    ///
    /// # Panics
    /// If the token was not synced.
    pub fn synced(&mut self, token: &SyncToken) -> Result<(), LogError> {
        self.shared.check_not_poisoned()?;
        if token.generation != self.generation {
            return Ok(());
        }
        let through = *self.shared.sync_state();
        assert!(
            through.generation == token.generation && through.offset >= token.point.offset,
            "a token is handed back after it was synced"
        );
        self.jobs.retain(|job| !job.is_over());
        if token.point.segment == self.active.point().segment {
            self.active_unnamed = false;
        }
        // Equal offsets: the same end, as the start of a newer segment.
        if token.point.offset >= self.durable.offset {
            self.durable = token.point;
        }
        Ok(())
    }

    /// What notes on disk where recovery starts, the high watermark (at most the durable end is noted), the log start and the epochs. Due every
    /// few seconds; `None` if nothing changed, or an upkeep is out.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn plan_checkpoint(&mut self, high_watermark: Offset) -> Result<Option<Upkeep>, LogError> {
        self.shared.check_not_poisoned()?;
        self.high_watermark = high_watermark;
        if self.upkeep_is_out {
            return Ok(None);
        }
        let work = self.checkpoint_work(false, None);
        Ok(work.and_then(|work| self.plan(Work::Checkpoint(work))))
    }

    /// [`Self::plan_checkpoint`], run at once.
    ///
    /// # Errors
    /// The disk's. The checkpoint before stays in force; the log goes on.
    pub fn checkpoint(&mut self, high_watermark: Offset) -> Result<(), LogError> {
        let planned = self.plan_checkpoint(high_watermark)?;
        self.keep_up(planned).map(drop)
    }

    /// Makes everything durable and leaves the mark of a clean stop, so that opening again scans nothing. An upkeep that is out counts for nothing
    /// from now on; one that is being run is waited for.
    ///
    /// # Errors
    /// The disk's, or [`LogError::Poisoned`]. The log is then recovered when it is opened.
    pub fn close(mut self, high_watermark: Offset) -> Result<(), LogError> {
        self.shared.check_not_poisoned()?;
        let shared = Arc::clone(&self.shared);
        let mut upkeep = shared.upkeep();
        *upkeep = NO_GENERATION;
        self.active.cut_back()?;
        let token = self.sync_token();
        // Also where no batch is new: the file was cut.
        token.file.sync()?;
        token.sync()?;
        self.synced(&token)?;
        for job in &self.jobs {
            // What cannot be sealed is sealed when the log is opened.
            let _ = job.seal();
        }
        self.active.segment().index().persist_whole()?;
        if self.producers_saved != Some(self.log_end()) {
            // What cannot be written is derived from the batches again.
            let _ = self.save_producers();
        }
        self.home.sync_dir()?;
        self.high_watermark = high_watermark;
        // The one that is out may have failed.
        self.epochs_changed |= self.upkeep_is_out;
        self.written = self.written.filter(|_| !self.upkeep_is_out);
        match self.checkpoint_work(true, None) {
            Some(work) => work.write(&self.home),
            None => Ok(()),
        }
    }

    /// Writes the snapshot of the log end, which is durable. Its name is after the directory's next sync.
    pub(super) fn save_producers(&mut self) -> Result<(), LogError> {
        let end = self.log_end();
        Snapshot::of(&self.producers, end).write_later(&self.home, self.active.point().segment)?;
        self.producers_saved = Some(end);
        Ok(())
    }
}
