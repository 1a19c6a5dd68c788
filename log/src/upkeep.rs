//! Work on a log's files that no producer waits for, on any thread.

use std::sync::Arc;

use taffrail_core::{Offset, replica::EpochTable};

use crate::{
    checkpoint::Checkpoint,
    epochs,
    error::LogError,
    partition::Expired,
    producers::Snapshot,
    segment::{Segment, seal::SealJob},
    shared::{Home, NO_GENERATION, Shared},
};

/// A seal, a checkpoint or a removal, planned by the log's owner: run it on any thread, then hand it back to
/// [`crate::PartitionLog::upkeep_done`]. A log has at most one out at a time.
///
/// A crash at any point leaves what recovery understands: nothing is acknowledged on the strength of an upkeep. One that the log was cut, closed
/// or deleted under does no harm any more.
#[derive(Debug)]
#[must_use = "the log plans no other before this one is handed back"]
pub struct Upkeep {
    pub(crate) shared: Arc<Shared>,
    /// As in a sync token.
    pub(crate) generation: u64,
    pub(crate) work: Work,
}

#[derive(Debug)]
pub(crate) enum Work {
    /// Indexes and seals of segments that were rolled.
    Seal(Vec<Arc<SealJob>>),
    Checkpoint(CheckpointWork),
    /// Files of segments below the log start.
    Remove(Vec<Offset>),
}

/// What a checkpoint writes.
#[derive(Debug)]
pub(crate) struct CheckpointWork {
    pub(crate) checkpoint: Checkpoint,
    /// If the file has others.
    pub(crate) epochs: Option<EpochTable>,
    /// If enough was appended since the newest snapshot of them.
    pub(crate) producers: Option<Snapshot>,
    /// Whose index is written as far as it is known.
    pub(crate) active: Arc<Segment>,
    /// What goes once the checkpoint, with its new log start, is durable.
    pub(crate) expires: Option<Expired>,
}

impl Upkeep {
    /// Blocks until it is done.
    ///
    /// # Errors
    /// The disk's. The log goes on; the same is planned again when it is due.
    pub fn run(&self) -> Result<(), LogError> {
        let valid = self.shared.upkeep();
        let home = &self.shared.home;
        match &self.work {
            Work::Seal(jobs) => jobs.iter().try_for_each(|job| job.seal()),
            // Of a log that is deleted or closed: another may lie in its place by now, and what is left goes when the log is opened.
            Work::Remove(_) if *valid == NO_GENERATION => Ok(()),
            Work::Remove(bases) => bases.iter().try_for_each(|base| home.remove_segment(*base)),
            // Of a log that has other marks by now.
            Work::Checkpoint(_) if *valid != self.generation => Ok(()),
            Work::Checkpoint(work) => {
                self.shared.check_not_poisoned()?;
                work.write(home)
            }
        }
    }

    /// Is it the sealing of segments?
    pub fn seals(&self) -> bool {
        matches!(self.work, Work::Seal(_))
    }
}

impl CheckpointWork {
    pub(crate) fn write(&self, home: &Home) -> Result<(), LogError> {
        if let Some(epochs) = &self.epochs {
            epochs::write(epochs, &*home.disk, &home.dir)?;
        }
        self.active.index().persist()?;
        if let Some(producers) = &self.producers {
            producers.write_later(home, self.active.base())?;
        }
        self.checkpoint.write(&*home.disk, &home.dir)
    }
}
