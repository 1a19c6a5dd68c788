//! The log of one partition, as its one owner sees it.
//!
//! ```text
//! open       create; open after a clean stop or a crash
//! recover    what a crash left: scan, cut a torn tail, tell damage apart
//! append     append and roll
//! durable    sync tokens, checkpoints, clean stop
//! retention  expire whole segments
//! compact    plan passes of compaction, and take in what they exchanged
//! truncate   cut the end off
//! restart    remove everything and begin at another offset
//! delete     remove everything, on an explicit order; or give it another place
//! upkeep     plan seals, checkpoints and removals for other threads
//! ```

mod append;
mod compact;
mod delete;
mod durable;
mod open;
mod recover;
mod restart;
mod retention;
mod truncate;
mod upkeep;

use std::sync::Arc;

use taffrail_core::{
    LeaderEpoch, Offset,
    producers::ProducerTable,
    replica::{EpochStart, EpochTable, LogState},
};

pub use append::Appended;
pub use compact::Cleanliness;
pub use delete::{delete_dir, set_aside_dir};
pub use open::{Opened, RecoveryReport, Torn};
pub use retention::Expired;

use compact::PassOut;

use crate::{
    checkpoint::{Checkpoint, LogPoint},
    compaction::cleaned::Cleaned,
    config::LogConfig,
    identity::PartitionIdentity,
    reader::LogReader,
    segment::{active::ActiveSegment, seal::SealJob},
    shared::{Home, Shared},
};

/// The writer of a partition's log.
///
/// Invariants: `log_start <= durable_end <= log_end`; `high_watermark <= durable_end` in every checkpoint; `jobs` are the segments that were
/// rolled and have no seal yet, oldest first.
#[derive(Debug)]
pub struct PartitionLog {
    home: Arc<Home>,
    shared: Arc<Shared>,
    identity: PartitionIdentity,
    config: LogConfig,
    active: ActiveSegment,
    jobs: Vec<Arc<SealJob>>,
    epochs: EpochTable,
    /// The epochs file does not have all of `epochs`.
    epochs_changed: bool,
    /// Of every batch in the log.
    producers: ProducerTable,
    /// What was appended since the newest snapshot of them.
    producers_unsaved_bytes: u64,
    /// The active segment's name may not be durable.
    active_unnamed: bool,
    /// One was planned and has not come back.
    upkeep_is_out: bool,
    /// A pass of compaction that was planned and has not come back.
    pass_out: Option<PassOut>,
    /// What the file of that name has.
    cleaned: Cleaned,
    durable: LogPoint,
    high_watermark: Offset,
    /// Raised by every truncation.
    generation: u64,
    /// What the checkpoint file has; `None`: it is not readable.
    written: Option<Checkpoint>,
}

impl PartitionLog {
    /// A handle for readers.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Whose log this is.
    pub fn identity(&self) -> &PartitionIdentity {
        &self.identity
    }

    /// How it rolls and forgets.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes that, from the next append or expiry on.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset there is.
    pub fn log_start(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset that the next append gets.
    pub fn log_end(&self) -> Offset {
        self.active.point().offset
    }

    /// Everything before it survives a crash.
    pub fn durable_end(&self) -> Offset {
        self.durable.offset
    }

    /// Has something failed after which it is not known what the disk holds?
    pub fn is_poisoned(&self) -> bool {
        self.shared.check_not_poisoned().is_err()
    }

    /// As last given to [`Self::checkpoint`], [`Self::expire`] or found on opening.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Leader epoch of the last batch; `None` if there never was one.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last()
    }

    /// The epochs in this log, oldest first.
    pub fn epochs(&self) -> &[EpochStart] {
        self.epochs.as_slice()
    }

    /// The idempotent producers of the batches in this log.
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// What decisions about the replica have to know.
    pub fn state(&self) -> LogState {
        LogState {
            start: self.log_start(),
            end: self.log_end(),
            durable_end: self.durable_end(),
            // With `pageCache` it may be ahead.
            high_watermark: self.high_watermark.min(self.durable_end()),
            epochs: self.epochs.clone(),
            generation: self.generation,
            delete_horizon: self.cleaned.delete_horizon(),
        }
    }

    /// Size of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.segments().iter().map(|s| s.bytes()).sum()
    }

    /// When the oldest segment got its first batch; `None` if the log is empty.
    pub fn oldest_append_time_ms(&self) -> Option<i64> {
        let segments = self.shared.segments();
        let oldest = segments.iter().find(|s| s.bytes() > 0)?;
        Some(oldest.first_append_time_ms())
    }

    /// Segments that were rolled and are not sealed yet. It is a bad sign if they become many: index files cannot be written.
    pub fn unsealed_segments(&self) -> usize {
        self.jobs.len()
    }

    /// Is there a rolled segment that the next sync has to make durable before it can be sealed?
    pub fn has_rolled(&self) -> bool {
        self.jobs.iter().any(|job| !job.is_durable())
    }

    /// Takes the log offline after a disk error that the caller saw. Readers go on; every write fails from now on.
    pub fn poison(&mut self, reason: &str) {
        self.shared.poison(reason);
    }
}
