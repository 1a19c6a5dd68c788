//! Checks everything in a directory against everything else.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_core::{Offset, replica::EpochTable};

use super::Batches;
use crate::{
    checkpoint::Checkpoint,
    compaction::{cleaned::Cleaned, swap},
    disk::{Disk, OpenMode},
    epochs,
    error::LogError,
    file::LogFile,
    identity::{PartitionIdentity, read_identity},
    names::{self, Part},
    producers,
    segment::{
        entry::Entry,
        index_file,
        scan::{Scanner, epoch_of},
        seal::Seal,
    },
    shared::Home,
};

const READ_BYTES: usize = 1 << 20;

/// What a verification counted and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Whose log it is, if that can be read.
    pub identity: Option<PartitionIdentity>,
    /// Segment files.
    pub segments: usize,
    /// Of them, those that are sealed.
    pub sealed: usize,
    /// Valid batches.
    pub batches: u64,
    /// Their records, as the headers say.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first offset.
    pub log_start: Offset,
    /// After the last valid batch.
    pub log_end: Offset,
    /// Bytes after the last valid batch of the last segment, if they are no damage by themselves: opening cuts them, or refuses.
    pub torn_bytes: u64,
    /// Everything that is wrong. Empty: the log is sound.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub path: PathBuf,
    /// What, in a sentence.
    pub problem: String,
}

impl Verified {
    fn note(&mut self, path: PathBuf, problem: impl Into<String>) {
        let problem = problem.into();
        self.findings.push(Finding { path, problem });
    }

    /// Errors of the content are findings; only errors of the disk end the verification.
    fn found<T>(
        &mut self,
        path: &Path,
        result: Result<T, LogError>,
    ) -> Result<Option<T>, LogError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ (LogError::Io { .. } | LogError::DiskFull { .. })) => Err(error),
            Err(error) => {
                self.note(path.to_owned(), error.to_string());
                Ok(None)
            }
        }
    }
}

/// Checks a partition's directory: every batch, seals, indexes, checkpoint and epochs.
///
/// # Errors
/// The disk's. What is wrong with the content is in [`Verified::findings`].
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<Verified, LogError> {
    let home = Home {
        disk,
        dir: dir.to_owned(),
    };
    let mut verified = Verified::default();
    let identity = read_identity(&*home.disk, dir);
    verified.identity = verified.found(&dir.join(names::IDENTITY), identity)?;
    let (checkpoint_path, epochs_path) = (dir.join(names::CHECKPOINT), dir.join(names::EPOCHS));
    let checkpoint = Checkpoint::read(&*home.disk, dir);
    let checkpoint = verified.found(&checkpoint_path, checkpoint)?.flatten();
    if checkpoint.is_none() {
        verified.note(checkpoint_path.clone(), "there is no readable checkpoint");
    }
    let mut bases = super::segments(&*home.disk, dir)?;
    verified.log_start =
        checkpoint.map_or(bases.first().copied().unwrap_or_default(), |c| c.log_start);
    let expired = bases
        .windows(2)
        .take_while(|pair| pair[1] <= verified.log_start)
        .count();
    bases.drain(..expired);
    let mut table = EpochTable::default();
    verified.log_end = bases.first().copied().unwrap_or(verified.log_start);
    for (i, base) in bases.iter().enumerate() {
        if *base != verified.log_end {
            let gap = format!("the segment before ends at offset {}", verified.log_end);
            verified.note(home.path(*base, Part::Log), gap);
        }
        verify_segment(
            &home,
            *base,
            i + 1 == bases.len(),
            &mut verified,
            &mut table,
        )?;
    }
    if let Some(c) = checkpoint
        && verified.log_end < c.recovery.offset.max(c.high_watermark)
    {
        let end = verified.log_end;
        verified.note(
            checkpoint_path,
            format!(
                "offsets up to {} were durable, the log ends at {end}",
                c.recovery.offset
            ),
        );
    }
    let cleaned = verified.found(&dir.join(names::CLEANED), Cleaned::read(&home))?;
    if let Some(cleaned) = cleaned.filter(|cleaned| cleaned.up_to() > verified.log_end) {
        let beyond = format!(
            "it says that the log is compacted up to {}",
            cleaned.up_to()
        );
        verified.note(dir.join(names::CLEANED), beyond);
    }
    let epochs = epochs::read(&*home.disk, dir);
    if let Some(Some(epochs)) = verified.found(&epochs_path, epochs)?
        && table
            .as_slice()
            .iter()
            .any(|s| epochs.at(s.start).is_some_and(|e| e != s.epoch))
    {
        verified.note(epochs_path, "its epochs are not those of the batches");
    }
    Ok(verified)
}

fn verify_segment(
    home: &Home,
    base: Offset,
    is_last: bool,
    verified: &mut Verified,
    table: &mut EpochTable,
) -> Result<(), LogError> {
    let path = home.path(base, Part::Log);
    let seal_path = home.path(base, Part::Seal);
    let seal = verified
        .found(&seal_path, Seal::read(home, base))?
        .flatten();
    // Opening finishes it; until then each file is good, but they may belong to two segments.
    let is_changing = swap::is_under_way(home, base);
    let seal = seal.filter(|_| !is_changing);
    verified.segments += 1;
    verified.sealed += usize::from(seal.is_some());
    let file = home.open(base, Part::Log, OpenMode::Read)?;
    let mut batches = Batches::of(&file, base)?;
    let entries = index_file::load(home, base)?;
    let mut unmet = entries.iter().peekable();
    let mut wrong = None;
    let mut bad = None;
    for batch in &mut batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error @ LogError::Io { .. }) => return Err(error),
            Err(error) => {
                bad = Some(error);
                break;
            }
        };
        while let Some(entry) = unmet.next_if(|e| u64::from(e.position) <= batch.position) {
            wrong = wrong.or(mismatch(entry, base, &batch));
        }
        verified.batches += 1;
        verified.records += u64::from(batch.header.record_count);
        verified.bytes += batch.bytes.len() as u64;
        if let Some(epoch) = epoch_of(&batch.header) {
            table.note(epoch, batch.header.base_offset);
        }
    }
    verified.log_end = batches.offset();
    let snapshot = producers::read(home, base);
    verified.found(&home.path(base, Part::Producers), snapshot)?;
    if let Some(problem) = wrong.filter(|_| !is_changing) {
        verified.note(home.path(base, Part::Index), problem);
    }
    if let Some(seal) = seal {
        if let Some(error) = bad {
            verified.note(path.clone(), error.to_string());
        }
        let sealed = verify_sealed(&file, &seal);
        verified.found(&path, sealed)?;
    } else if let Some(error) = bad {
        let mut scanner = Scanner::new(&file)?;
        if !is_last || scanner.has_batch_after(batches.position() + 1, batches.offset())? {
            verified.note(path, error.to_string());
        } else {
            verified.torn_bytes = scanner.end_of_data(batches.position())? - batches.position();
        }
    }
    Ok(())
}

fn mismatch(entry: &Entry, base: Offset, batch: &super::BatchAt) -> Option<String> {
    let said = base.plus(u64::from(entry.relative));
    let fits = said == batch.header.base_offset && u64::from(entry.position) == batch.position;
    (!fits).then(|| {
        format!(
            "an entry says that offset {said} is at byte {}",
            entry.position
        )
    })
}

/// Compares a sealed segment's file with its checksum. If they differ, the batches tell where.
pub(crate) fn verify_sealed(file: &LogFile, seal: &Seal) -> Result<(), LogError> {
    let bytes = file.bytes()?;
    let damaged = |position, reason: &str| LogError::Damaged {
        path: file.path().to_owned(),
        position,
        offset: seal.base,
        reason: reason.to_owned(),
    };
    if bytes != seal.bytes {
        return Err(damaged(
            bytes.min(seal.bytes),
            "it is not as long as when it was sealed",
        ));
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; READ_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let part = &mut buffer[..READ_BYTES.min((bytes - at) as usize)];
        file.read_exact(part, at)?;
        hasher.update(part);
        at += part.len() as u64;
    }
    if hasher.finalize() == seal.crc32 {
        return Ok(());
    }
    for batch in Batches::of(file, seal.base)? {
        batch?;
    }
    Err(damaged(0, "its checksum is not that of its seal"))
}
