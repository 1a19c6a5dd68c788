//! Scans one segment without a seal.

use taffrail_core::{LeaderEpoch, Offset, replica::EpochStart};
use taffrail_record::{BatchHeader, HEADER_BYTES};

use crate::{
    checkpoint::LogPoint,
    config::LogConfig,
    disk::OpenMode,
    error::{AtPath, LogError},
    file::LogFile,
    names::Part,
    segment::{
        EntryBuilder,
        entry::{Entry, INDEX_ENTRY_BYTES, TIME_ENTRY_BYTES, TimeEntry},
        index_file,
        scan::{Found, Scanner, epoch_of},
    },
    shared::Home,
};

/// A segment as it is on disk.
pub(super) struct Scanned {
    pub(super) file: LogFile,
    /// The end of its valid batches.
    pub(super) point: LogPoint,
    pub(super) entries: Vec<Entry>,
    /// So many of the entries are in the index files, and nothing else is.
    pub(super) persisted: usize,
    /// Checked from here on.
    pub(super) trusted_from: u64,
    /// Why the scan stopped before the end of the bytes, if it did.
    pub(super) stop: Option<String>,
    /// The starts of epochs among the scanned batches; the first batch's epoch is always among them.
    pub(super) epochs: Vec<EpochStart>,
    /// Of the last batch, in this segment or before it.
    pub(super) last_epoch: Option<LeaderEpoch>,
    /// A batch before the start of the scan, and its epoch.
    pub(super) before_start: Option<(Offset, LeaderEpoch)>,
    /// The index files did not reach the start of the scan.
    pub(super) index_lost: bool,
}

/// Scans the batches of `file` from `start` on, all of them if it is not `is_clean`. What is before `start` was durable: if it cannot be
/// understood, it is damaged.
pub(super) fn scan_segment(
    home: &Home,
    file: LogFile,
    start: LogPoint,
    last_epoch: Option<LeaderEpoch>,
    config: &LogConfig,
    is_clean: bool,
) -> Result<Scanned, LogError> {
    let bytes = file.bytes()?;
    if bytes < start.position {
        return Err(LogError::Damaged {
            path: file.path().to_owned(),
            position: bytes,
            offset: start.segment,
            reason: format!("it has {bytes} bytes, {} were durable", start.position),
        });
    }
    let kept = kept_entries(home, &start)?;
    let persisted = kept.len();
    let (builder, before_start, index_lost) = entries_up_to(&file, &start, kept, config)?;
    let mut scanned = Scanned {
        point: start,
        entries: Vec::new(),
        persisted,
        trusted_from: start.position,
        stop: None,
        epochs: Vec::new(),
        last_epoch: before_start.map(|(_, epoch)| epoch).or(last_epoch),
        before_start,
        index_lost,
        file,
    };
    if is_clean {
        scanned.entries = builder.entries;
    } else {
        scanned.scan(home, builder)?;
    }
    cut_index(
        home,
        start.segment,
        Part::Index,
        persisted * INDEX_ENTRY_BYTES,
    )?;
    cut_index(
        home,
        start.segment,
        Part::TimeIndex,
        persisted * TIME_ENTRY_BYTES,
    )?;
    Ok(scanned)
}

/// The index entries of batches before the scan, as far as the files have them.
fn kept_entries(home: &Home, start: &LogPoint) -> Result<Vec<Entry>, LogError> {
    let mut entries = index_file::load(home, start.segment)?;
    entries.retain(|e| u64::from(e.position) < start.position);
    Ok(entries)
}

/// Entries for everything before `start`: those that the files had, and from the last of them on what the headers say.
#[expect(
    clippy::type_complexity,
    reason = "the three results belong to one walk"
)]
fn entries_up_to(
    file: &LogFile,
    start: &LogPoint,
    kept: Vec<Entry>,
    config: &LogConfig,
) -> Result<(EntryBuilder, Option<(Offset, LeaderEpoch)>, bool), LogError> {
    let interval = u64::from(config.index_interval_bytes);
    let from = kept.last().copied();
    let (mut position, mut offset) = from.map_or((0, start.segment), |e| {
        (
            u64::from(e.position),
            start.segment.plus(u64::from(e.relative)),
        )
    });
    // Times that are lost become those of the entry before.
    let time_ms = from.map_or(start.first_append_time_ms, |e| e.append_time_ms);
    let max_before = from.map_or(i64::MIN, |e| e.max_before_ms);
    let (had, mut before_start) = (kept.len(), None);
    let mut builder = EntryBuilder::resume(start.segment, interval, kept, max_before);
    while position < start.position {
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes, position)?;
        let damaged = |reason: String| LogError::Damaged {
            path: file.path().to_owned(),
            position,
            offset,
            reason,
        };
        let header = BatchHeader::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
        if header.base_offset != offset {
            return Err(damaged(format!(
                "batch has base offset {}",
                header.base_offset
            )));
        }
        builder.note(position, &header, time_ms);
        before_start = epoch_of(&header).map(|epoch| (offset, epoch));
        position += header.total_bytes() as u64;
        offset = header.next_offset();
    }
    if position != start.position || offset != start.offset {
        return Err(LogError::Damaged {
            path: file.path().to_owned(),
            position: start.position,
            offset: start.offset,
            reason: "no batch starts at the recovery point".to_owned(),
        });
    }
    builder.max_record_time_ms = builder.max_record_time_ms.max(start.max_record_time_ms);
    let index_lost = builder.entries.len() > had;
    Ok((builder, before_start, index_lost))
}

impl Scanned {
    fn scan(&mut self, home: &Home, mut builder: EntryBuilder) -> Result<(), LogError> {
        let times = AppendTimes::read(home, &self.point)?;
        let mut hasher =
            crc32fast::Hasher::new_with_initial_len(self.point.crc32, self.point.position);
        let file = self.file.clone();
        // If that fails the scan sees the cache, as after any crash without a failed sync.
        let _ = file.handle().forget_cached(self.point.position..u64::MAX);
        let mut scanner = Scanner::new(&file)?;
        loop {
            let point = &mut self.point;
            let (header, batch) = match scanner.at(point.position, point.offset, self.last_epoch)? {
                Found::Batch(header, batch) => (header, batch),
                Found::End => break,
                Found::Bad(reason) => {
                    self.stop = Some(reason);
                    break;
                }
            };
            hasher.update(batch);
            let time = times.of(&header, point);
            builder.note(point.position, &header, time);
            if point.position == 0 {
                point.first_append_time_ms = time;
            }
            point.last_append_time_ms = time;
            point.position += batch.len() as u64;
            point.offset = header.next_offset();
            let epoch = epoch_of(&header).expect("a scanned batch has an epoch");
            if self.epochs.is_empty() || self.last_epoch != Some(epoch) {
                self.epochs.push(EpochStart {
                    epoch,
                    start: header.base_offset,
                });
            }
            self.last_epoch = Some(epoch);
        }
        self.point.crc32 = hasher.finalize();
        self.point.max_record_time_ms = builder.max_record_time_ms;
        self.entries = builder.entries;
        Ok(())
    }
}

/// When batches after the recovery point were appended: as the time index says where it got so far, else not later than the file's last write.
struct AppendTimes {
    base: Offset,
    known: Vec<TimeEntry>,
    modified_ms: i64,
}

impl AppendTimes {
    fn read(home: &Home, start: &LogPoint) -> Result<Self, LogError> {
        let path = home.path(start.segment, Part::Log);
        Ok(Self {
            base: start.segment,
            known: index_file::load_times(home, start.segment)?,
            modified_ms: home.disk.stat(&path).at("measure", &path)?.modified_ms,
        })
    }

    fn of(&self, header: &BatchHeader, point: &LogPoint) -> i64 {
        let relative = header.base_offset.0 - self.base.0;
        let known = self
            .known
            .binary_search_by_key(&relative, |t| u64::from(t.relative));
        let time = known.map_or(self.modified_ms, |i| self.known[i].append_time_ms);
        time.max(point.last_append_time_ms)
    }
}

/// Leaves so many bytes of an index file. Durable at once: entries of batches that are cut must not come back among later ones.
fn cut_index(home: &Home, base: Offset, part: Part, bytes: usize) -> Result<(), LogError> {
    let path = home.path(base, part);
    match home.disk.stat(&path) {
        Ok(stat) if stat.bytes != bytes as u64 => {
            let file = home.open(base, part, OpenMode::ReadWrite)?;
            file.set_len(bytes as u64)?;
            file.sync()
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(LogError::io("measure", &path, e))
        }
        _ => Ok(()),
    }
}
