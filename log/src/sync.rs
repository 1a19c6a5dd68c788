//! Durability, on any thread.

use std::sync::Arc;

use taffrail_core::{
    Offset,
    replica::{Mutant, is_broken},
};

use crate::{
    checkpoint::LogPoint,
    error::LogError,
    file::LogFile,
    segment::seal::SealJob,
    shared::{Shared, SyncedThrough},
};

/// Everything that was appended to a log when the token was made, to be made durable. Tokens of one log may be synced on several threads:
/// they take turns, and one that another has covered returns at once.
///
/// After a success, hand the token to [`crate::PartitionLog::synced`]. After a failure the log is poisoned: what the disk holds is not known.
#[derive(Debug, Clone)]
#[must_use = "nothing is durable before the token is synced and handed back"]
pub struct SyncToken {
    pub(crate) shared: Arc<Shared>,
    /// Raised by every truncation; a completion counts only for its own.
    pub(crate) generation: u64,
    /// What becomes durable.
    pub(crate) point: LogPoint,
    pub(crate) file: LogFile,
    /// Segments that were rolled, whose bytes may not be durable yet. Sealing them is [`crate::Upkeep`]: nobody has to wait for it.
    pub(crate) jobs: Vec<Arc<SealJob>>,
    /// The active segment's name is not durable yet.
    pub(crate) names_file: bool,
}

impl SyncToken {
    /// The end of what becomes durable.
    pub fn end(&self) -> Offset {
        self.point.offset
    }

    /// Blocks until it is durable.
    ///
    /// # Errors
    /// The disk's. The log is poisoned then, and this and every other token fails from now on.
    pub fn sync(&self) -> Result<(), LogError> {
        let mut through = self.shared.sync_state();
        self.shared.check_not_poisoned()?;
        if self.is_covered_by(*through) {
            return Ok(());
        }
        if is_broken(Mutant::FsyncSkipped) {
            // Believed to be durable, and is not.
        } else if let Err(error) = self.sync_files() {
            self.shared.poison(&error.to_string());
            return Err(error);
        }
        // A later token may have come first.
        let before = (through.generation == self.generation).then_some(through.offset);
        *through = SyncedThrough {
            generation: self.generation,
            offset: before.map_or(self.point.offset, |offset| offset.max(self.point.offset)),
        };
        Ok(())
    }

    /// Lets the system's cache go of what this token made durable, but for the last bytes of the segment that is written to: for a log that nobody reads.
    /// What cannot be dropped stays.
    pub fn forget_cached(&self, kept_bytes: u64) {
        for job in &self.jobs {
            job.forget_cached();
        }
        let behind = 0..self.point.position.saturating_sub(kept_bytes);
        let _ = self.file.handle().forget_cached(behind);
    }

    pub(crate) fn is_covered_by(&self, through: SyncedThrough) -> bool {
        let is_durable = |job: &Arc<SealJob>| job.is_over() || job.is_durable();
        match through.generation.cmp(&self.generation) {
            // The log was cut since: this token no longer counts.
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                through.offset >= self.point.offset
                    && !self.names_file
                    && self.jobs.iter().all(is_durable)
            }
            std::cmp::Ordering::Less => false,
        }
    }

    fn sync_files(&self) -> Result<(), LogError> {
        for job in &self.jobs {
            job.make_durable()?;
        }
        if self.names_file {
            self.shared.home.sync_dir()?;
        }
        self.file.sync()
    }
}
