//! Create and open.

use std::{path::Path, sync::Arc};

use taffrail_core::{Offset, producers::ProducerTable, replica::EpochTable};

use super::{PartitionLog, recover};
use crate::{
    checkpoint::{Checkpoint, LogPoint},
    compaction::cleaned::Cleaned,
    config::LogConfig,
    disk::Disk,
    epochs,
    error::{AtPath, LogError},
    identity::{PartitionIdentity, read_identity},
    names::{self, Part},
    producers::{self, Derived, NOTHING_SAVED},
    segment::{Segment, active::ActiveSegment},
    shared::{Home, Shared},
};

/// An opened log, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: PartitionLog,
    /// What was found.
    pub recovery: RecoveryReport,
}

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// The log was closed properly: nothing was scanned.
    pub clean_stop: bool,
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// A torn tail that was cut.
    pub torn: Option<Torn>,
    /// Segments that had no seal and got one.
    pub segments_sealed: usize,
    /// Segments whose index or time index was missing or damaged, and was built from the batches.
    pub indexes_rebuilt: usize,
    /// The epochs file was missing, unreadable or contradicted the batches, and was built from them.
    pub epochs_rebuilt: bool,
    /// The checkpoint was missing or unreadable. Everything without a seal was scanned; the high watermark is not known.
    pub checkpoint_rebuilt: bool,
    /// Batches that no snapshot of the producers has, whose headers were read for it.
    pub producer_batches_read: u64,
}

/// Bytes at the end of the log that were no whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// The log ends here now.
    pub offset: Offset,
    /// How many bytes were cut, reserved room not counted.
    pub bytes: u64,
}

impl PartitionLog {
    /// Makes the directory of a new, empty log. The identity is written last: a crash before leaves a directory that can be made again.
    ///
    /// # Errors
    /// [`LogError::AlreadyExists`]; [`LogError::NoIdentity`] if there are batches but nobody knows whose; the disk's.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: &PartitionIdentity,
        config: LogConfig,
    ) -> Result<Self, LogError> {
        disk.create_dir(dir).at("create", dir)?;
        match read_identity(&*disk, dir) {
            Err(LogError::NoIdentity { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(LogError::AlreadyExists {
                    dir: dir.to_owned(),
                });
            }
        }
        remove_remains(&*disk, dir)?;
        let home = Arc::new(Home {
            disk,
            dir: dir.to_owned(),
        });
        let active = ActiveSegment::create(&home, Offset::ZERO, 0, &config)?;
        let checkpoint = Checkpoint {
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            recovery: LogPoint::start_of(Offset::ZERO, 0),
            clean: false,
        };
        active.file().sync()?;
        checkpoint.write(&*home.disk, dir)?;
        epochs::write(&EpochTable::default(), &*home.disk, dir)?;
        identity.write(&*home.disk, dir)?;
        let parent = dir.parent().unwrap_or(dir);
        home.disk.sync_dir(parent).at("sync", parent)?;
        let parts = Parts {
            identity: identity.clone(),
            config,
            sealed: Vec::new(),
            active,
            epochs: EpochTable::default(),
            log_start: Offset::ZERO,
            written: Some(checkpoint),
            producers: ProducerTable::default(),
        };
        Ok(Self::assemble(home, parts))
    }

    /// Opens a log. After a clean stop nothing is scanned; after a crash what follows the recovery point is, and a torn tail is cut.
    ///
    /// # Errors
    /// [`LogError::Damaged`] if the log cannot be what was written: nothing is cut then. [`LogError::NoIdentity`],
    /// [`LogError::NewerFormat`], [`LogError::Unreadable`]; the disk's.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig) -> Result<Opened, LogError> {
        let identity = read_identity(&*disk, dir)?;
        let home = Arc::new(Home {
            disk,
            dir: dir.to_owned(),
        });
        let mut recovered = recover::recover(&home, &config)?;
        let derived = producers_of(&home, &recovered)?;
        recovered.report.producer_batches_read = derived.batches_read;
        let parts = Parts {
            identity,
            config,
            sealed: recovered.sealed,
            active: recovered.active,
            epochs: recovered.epochs,
            log_start: recovered.log_start,
            written: recovered.checkpoint,
            producers: derived.table,
        };
        let mut log = Self::assemble(home, parts);
        log.epochs_changed = recovered.epochs_changed;
        log.open_cleaned()?;
        if derived.batches_read > 0 || !derived.beyond.is_empty() {
            log.producers_unsaved_bytes = NOTHING_SAVED;
            // So that the next opening need not read them again. If there is no room, it does.
            or_full(log.save_producers())?;
            log.home.sync_dir()?;
        }
        if !recovered.report.clean_stop || log.epochs_changed {
            // Reads need no room. Until a later checkpoint finds some, the next crash means the same recovery again.
            or_full(log.checkpoint(log.high_watermark))?;
        }
        Ok(Opened {
            log,
            recovery: recovered.report,
        })
    }

    fn assemble(home: Arc<Home>, parts: Parts) -> Self {
        let mut segments = parts.sealed;
        segments.push(Arc::clone(parts.active.segment()));
        let log_start = parts.log_start;
        Self {
            shared: Arc::new(Shared::new(Arc::clone(&home), segments, log_start)),
            home,
            identity: parts.identity,
            config: parts.config,
            durable: *parts.active.point(),
            producers_unsaved_bytes: 0,
            active: parts.active,
            jobs: Vec::new(),
            epochs: parts.epochs,
            epochs_changed: false,
            producers: parts.producers,
            active_unnamed: false,
            upkeep_is_out: false,
            pass_out: None,
            cleaned: Cleaned::default(),
            high_watermark: parts.written.map_or(log_start, |w| w.high_watermark),
            generation: 0,
            written: parts.written,
        }
    }
}

struct Parts {
    identity: PartitionIdentity,
    config: LogConfig,
    sealed: Vec<Arc<Segment>>,
    active: ActiveSegment,
    epochs: EpochTable,
    log_start: Offset,
    written: Option<Checkpoint>,
    producers: ProducerTable,
}

/// The producers of a log that was recovered. Snapshots that have more than the log go, durably: it will grow, and then they would be believed.
fn producers_of(home: &Home, recovered: &recover::Recovered) -> Result<Derived, LogError> {
    let mut segments = recovered.sealed.clone();
    segments.push(Arc::clone(recovered.active.segment()));
    let end = recovered.active.point().offset;
    let mut derived = producers::derive(home, &segments, end, &ProducerTable::default())?;
    // If there is no room, the table in memory still has it, and the next checkpoint saves that.
    let has_beyond = !derived.beyond.is_empty();
    or_full(derived.keep_oldest(home))?;
    derived.remove_beyond(home)?;
    if has_beyond {
        home.sync_dir()?;
    }
    Ok(derived)
}

fn or_full(result: Result<(), LogError>) -> Result<(), LogError> {
    match result {
        Err(LogError::DiskFull { .. }) => Ok(()),
        result => result,
    }
}

/// Removes what a crash in the middle of [`PartitionLog::create`] left. It never had a batch.
fn remove_remains(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let listed = disk.list(dir).at("list", dir)?;
    for name in &listed {
        let path = dir.join(name);
        let is_log = matches!(names::parse_segment(name), Some((_, Part::Log)));
        if is_log && disk.stat(&path).at("measure", &path)?.bytes > 0 {
            return Err(LogError::NoIdentity {
                dir: dir.to_owned(),
            });
        }
    }
    for name in &listed {
        let path = dir.join(name);
        disk.remove(&path).at("remove", &path)?;
    }
    Ok(())
}
