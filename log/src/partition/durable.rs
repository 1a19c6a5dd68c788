//! Sync tokens, checkpoints, clean stop.

use std::sync::Arc;

use taffrail_core::Offset;

use super::PartitionLog;
use crate::{checkpoint::Checkpoint, error::LogError, sync::SyncToken};

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

    /// Notes on disk where recovery starts, the high watermark (at most the durable end is noted), the log start and the epochs. Call it
    /// every few seconds; it does nothing if nothing changed.
    ///
    /// # Errors
    /// The disk's. The checkpoint before stays in force; the log goes on.
    pub fn checkpoint(&mut self, high_watermark: Offset) -> Result<(), LogError> {
        self.shared.check_not_poisoned()?;
        self.high_watermark = high_watermark;
        self.write_checkpoint(false)
    }

    /// Makes everything durable and leaves the mark of a clean stop, so that opening again scans nothing.
    ///
    /// # Errors
    /// The disk's, or [`LogError::Poisoned`]. The log is then recovered when it is opened.
    pub fn close(mut self, high_watermark: Offset) -> Result<(), LogError> {
        self.shared.check_not_poisoned()?;
        self.active.cut_back()?;
        let token = self.sync_token();
        // Also where no batch is new: the file was cut.
        token.file.sync()?;
        token.sync()?;
        self.synced(&token)?;
        self.active.segment().index().persist_whole()?;
        self.home.sync_dir()?;
        self.high_watermark = high_watermark;
        self.write_checkpoint(true)
    }

    pub(super) fn write_checkpoint(&mut self, clean: bool) -> Result<(), LogError> {
        let checkpoint = Checkpoint {
            log_start: self.log_start(),
            high_watermark: self.high_watermark.min(self.durable.offset),
            recovery: self.durable,
            clean,
        };
        if self.epochs_changed {
            self.epochs.write(&*self.home.disk, &self.home.dir)?;
            self.epochs_changed = false;
        }
        // The mark of a clean stop stays good until something is appended.
        let same = |written: &Checkpoint| {
            let clean = written.clean;
            Checkpoint {
                clean,
                ..checkpoint
            } == *written
                && (clean || !checkpoint.clean)
        };
        if self.written.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.active.segment().index().persist()?;
        checkpoint.write(&*self.home.disk, &self.home.dir)?;
        self.written = Some(checkpoint);
        Ok(())
    }
}
