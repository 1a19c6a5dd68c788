//! Giving up what is damaged, where there is no other copy: for `taffrail log repair`, on a log that nobody has open.
//!
//! Offsets have no gaps, so everything from the damage on goes, as far as the log is concerned. None of it is deleted: the files are kept elsewhere.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_core::Offset;

use crate::{
    checkpoint::{Checkpoint, LogPoint},
    compaction::swap,
    disk::{Disk, OpenMode},
    error::{AtPath, LogError},
    file::LogFile,
    identity::read_identity,
    inspect::{self, Batches, verify_sealed},
    names::{self, Part},
    segment::{scan::Scanner, seal::Seal},
    shared::Home,
};

const COPY_BYTES: usize = 1 << 20;

/// Where a log has to be cut to be sound again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The log will begin here.
    pub log_start: Offset,
    /// And end here.
    pub log_end: Offset,
    /// Offsets that had records, as far as that can be seen, and will have none.
    pub lost: Vec<Range<Offset>>,
    /// The damaged file, or the one that is missing.
    pub path: PathBuf,
    /// Where in the file the damage begins.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
    segment: Offset,
    checkpoint: Option<Checkpoint>,
}

/// Looks for the first damage in the batches of a log, from its start to its end. `None`: there is none that keeps it from being opened.
///
/// # Errors
/// The disk's; the identity's, without which nobody knows whose log it is.
pub fn plan(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Cut>, LogError> {
    read_identity(&*disk, dir)?;
    let home = Home {
        disk,
        dir: dir.to_owned(),
    };
    // As opening would: until then a segment's files may belong to two.
    swap::finish_all(&home)?;
    let checkpoint = match Checkpoint::read(&*home.disk, dir) {
        Err(LogError::Unreadable { .. }) => None,
        read => read?,
    };
    let mut bases = inspect::segments(&*home.disk, dir)?;
    let log_start = checkpoint.map_or(bases.first().copied().unwrap_or_default(), |c| c.log_start);
    let expired = bases.windows(2).take_while(|pair| pair[1] <= log_start);
    let expired = expired.count();
    bases.drain(..expired);
    let walk = Walk {
        home,
        checkpoint,
        log_start,
        bases,
    };
    walk.first_damage()
}

struct Walk {
    home: Home,
    checkpoint: Option<Checkpoint>,
    log_start: Offset,
    bases: Vec<Offset>,
}

/// The end of what is good in a segment, and what is wrong there, if anything.
struct Good {
    offset: Offset,
    position: u64,
    reason: Option<String>,
}

impl Walk {
    fn first_damage(&self) -> Result<Option<Cut>, LogError> {
        // A batch may begin before the log does. If the first segments are missing, the log begins with the next one.
        let mut end = self.bases.first().copied().unwrap_or(self.log_start);
        let mut last = (end, 0);
        for (i, base) in self.bases.iter().enumerate() {
            if *base != end {
                let reason = format!("the segment is missing, the next one begins at {base}");
                return self.cut(end, (end, 0), reason).map(Some);
            }
            let good = self.good_of(*base, i + 1 == self.bases.len())?;
            if let Some(reason) = good.reason {
                let at = (*base, good.position);
                return self.cut(good.offset, at, reason).map(Some);
            }
            (end, last) = (good.offset, (*base, good.position));
        }
        let floor = self.floor();
        if end < floor {
            let reason = format!("the batches end too early: offsets up to {floor} were durable");
            return self.cut(end, last, reason).map(Some);
        }
        let first = self.bases.first().filter(|base| **base > self.log_start);
        first.map_or(Ok(None), |first| {
            let reason = format!("the segments before offset {first} are missing");
            self.cut(end, last, reason).map(Some)
        })
    }

    /// Up to here the log is known to have been durable.
    fn floor(&self) -> Offset {
        let floor = |c: Checkpoint| c.recovery.offset.max(c.high_watermark);
        self.checkpoint.map_or(Offset::ZERO, floor)
    }

    fn good_of(&self, base: Offset, is_last: bool) -> Result<Good, LogError> {
        let seal = match Seal::read(&self.home, base) {
            Err(LogError::Unreadable { .. }) => None,
            read => read?,
        };
        let file = self.home.open(base, Part::Log, OpenMode::Read)?;
        let mut batches = Batches::of(&file, base)?;
        let mut reason = None;
        for batch in &mut batches {
            match batch {
                Ok(_) => {}
                Err(LogError::Damaged { reason: found, .. }) => reason = Some(found),
                Err(error) => return Err(error),
            }
        }
        let mut good = Good {
            offset: batches.offset(),
            position: batches.position(),
            reason,
        };
        match (seal, &good.reason) {
            (Some(seal), None) => {
                if let Err(LogError::Damaged { reason, .. }) = verify_sealed(&file, &seal) {
                    // No batch says where: the segment goes as a whole, unless it is only cut short.
                    if good.offset == seal.end {
                        (good.offset, good.position) = (base, 0);
                    }
                    good.reason = Some(reason);
                }
            }
            (None, Some(_)) if is_last => {
                let mut rest = Scanner::new(&file)?;
                let is_torn = !rest.has_batch_after(good.position + 1, good.offset)?;
                // Opening cuts a torn tail, unless it was there durably.
                if is_torn && good.offset >= self.floor() && self.checkpoint.is_some() {
                    good.reason = None;
                }
            }
            (Some(_), Some(_)) | (None, _) => {}
        }
        Ok(good)
    }

    fn cut(
        &self,
        log_end: Offset,
        (segment, position): (Offset, u64),
        reason: String,
    ) -> Result<Cut, LogError> {
        let mut to = self.floor().max(log_end);
        for base in self.bases.iter().filter(|base| **base >= segment) {
            to = to.max(self.last_of(*base, log_end)?);
        }
        let first = self.bases.first().copied().unwrap_or(log_end);
        let mut lost = vec![self.log_start..first, log_end..to];
        lost.retain(|range| range.start < range.end);
        Ok(Cut {
            log_start: self.log_start.max(first).min(log_end),
            log_end,
            lost,
            path: self.home.path(segment, Part::Log),
            position,
            reason,
            segment,
            checkpoint: self.checkpoint,
        })
    }

    /// After the last record of a segment that may be damaged.
    fn last_of(&self, base: Offset, after: Offset) -> Result<Offset, LogError> {
        if let Ok(Some(seal)) = Seal::read(&self.home, base) {
            return Ok(seal.end);
        }
        let file = self.home.open(base, Part::Log, OpenMode::Read)?;
        let mut end = after;
        Scanner::new(&file)?.batches_after(0, after, |header| {
            end = end.max(header.next_offset());
            true
        })?;
        Ok(end)
    }
}

/// Cuts a log. What goes is in `aside` then, a directory that is made for it. If that is interrupted, a broker finds the log damaged as before or
/// already shorter, and cutting it again goes on.
///
/// # Errors
/// The disk's.
pub fn cut(disk: Arc<dyn Disk>, dir: &Path, cut: &Cut, aside: &Path) -> Result<(), LogError> {
    let home = Home {
        disk,
        dir: dir.to_owned(),
    };
    home.disk.create_dir(aside).at("create", aside)?;
    let there = Home {
        disk: Arc::clone(&home.disk),
        dir: aside.to_owned(),
    };
    let has_segment = home.disk.stat(&home.path(cut.segment, Part::Log)).is_ok();
    if has_segment {
        let damaged = home.open(cut.segment, Part::Log, OpenMode::Read)?;
        let kept = there.open(cut.segment, Part::Log, OpenMode::Create)?;
        copy(&damaged, &kept, damaged.bytes()?)?;
    }
    // It is there for good before the original goes.
    for made in [aside, aside.parent().unwrap_or(aside)] {
        home.disk.sync_dir(made).at("sync", made)?;
    }
    lower_marks(&home, cut)?;
    for table in [names::EPOCHS, names::CLEANED] {
        move_file(&home.disk, &dir.join(table), aside)?;
    }
    let bases = inspect::segments(&*home.disk, dir)?;
    let later = bases.iter().filter(|base| **base > cut.segment);
    for base in later.rev() {
        for part in Part::ALL {
            move_file(&home.disk, &home.path(*base, part), aside)?;
        }
    }
    for part in [Part::Seal, Part::Index, Part::TimeIndex] {
        move_file(&home.disk, &home.path(cut.segment, part), aside)?;
    }
    if has_segment {
        let path = home.path(cut.segment, Part::Log);
        let temporary = names::temporary(&path);
        let short = LogFile::open(&*home.disk, temporary.clone(), OpenMode::Create)?;
        let whole = home.open(cut.segment, Part::Log, OpenMode::Read)?;
        copy(&whole, &short, cut.position)?;
        home.disk.rename(&temporary, &path).at("replace", &path)?;
    }
    for changed in [aside, dir] {
        home.disk.sync_dir(changed).at("sync", changed)?;
    }
    Ok(())
}

/// No mark may point beyond the new end, before anything is removed: else what is missing would count as damage.
fn lower_marks(home: &Home, cut: &Cut) -> Result<(), LogError> {
    let high_watermark = cut.checkpoint.map_or(Offset::ZERO, |c| c.high_watermark);
    let last_append_time_ms = cut.checkpoint.map(|c| c.recovery.last_append_time_ms);
    let start = cut.log_start.min(cut.segment);
    let checkpoint = Checkpoint {
        log_start: cut.log_start.min(cut.segment),
        high_watermark: high_watermark.min(cut.segment).max(start),
        recovery: LogPoint::start_of(cut.segment, last_append_time_ms.unwrap_or(0)),
        clean: false,
    };
    checkpoint.write(&*home.disk, &home.dir)
}

fn move_file(disk: &Arc<dyn Disk>, path: &Path, to: &Path) -> Result<(), LogError> {
    let name = path.file_name().unwrap_or_default();
    match disk.rename(path, &to.join(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        moved => moved.at("move", path),
    }
}

fn copy(from: &LogFile, to: &LogFile, bytes: u64) -> Result<(), LogError> {
    let mut buffer = vec![0; COPY_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let part = &mut buffer[..COPY_BYTES.min((bytes - at) as usize)];
        from.read_exact(part, at)?;
        to.write_all(part, at)?;
        at += part.len() as u64;
    }
    to.sync()
}
