//! The files of a new segment, under names of their own until they are exchanged for the old ones.

use std::sync::Arc;

use taffrail_core::Offset;
use taffrail_record::BatchHeader;

use super::{
    Compaction, Halt, Pace,
    swap::{self, PARTS},
};
use crate::{
    file::LogFile,
    segment::{EntryBuilder, Segment, seal::Seal},
};

/// What is written or copied in one go.
const WRITE_BYTES: usize = 1 << 20;
/// What is synced in one go: a sync of a whole segment would hold up those that producers wait for.
const SYNC_BYTES: u64 = 8 << 20;

/// Nothing is written before something differs from the one segment whose place it takes.
///
/// Invariant: the file has the batches before `position`, less those in `buffer`; while there is none, these are the old file's first bytes.
pub(super) struct Output<'a> {
    compaction: &'a Compaction,
    group: &'a [Arc<Segment>],
    files: Option<[LogFile; PARTS.len()]>,
    buffer: Vec<u8>,
    position: u64,
    written: u64,
    unsynced: u64,
    hasher: crc32fast::Hasher,
    entries: EntryBuilder,
}

impl<'a> Output<'a> {
    /// For the segment that takes the place of `group`.
    pub(super) fn new(compaction: &'a Compaction, group: &'a [Arc<Segment>]) -> Self {
        let interval = compaction.index_interval_bytes;
        Self {
            compaction,
            group,
            files: None,
            buffer: Vec::new(),
            position: 0,
            written: 0,
            unsynced: 0,
            hasher: crc32fast::Hasher::new(),
            entries: EntryBuilder::new(group[0].base(), interval),
        }
    }

    /// The next batch. `is_old`: it comes next in the old file too.
    pub(super) fn put(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        append_time_ms: i64,
        is_old: bool,
        pace: &mut Pace<'_>,
    ) -> Result<(), Halt> {
        if self.files.is_none() && !(is_old && self.group.len() == 1) {
            self.begin(pace)?;
        }
        self.entries.note(self.position, header, append_time_ms);
        self.position += batch.len() as u64;
        if self.files.is_some() {
            self.buffer.extend_from_slice(batch);
            if self.buffer.len() >= WRITE_BYTES {
                self.flush(pace)?;
            }
        }
        Ok(())
    }

    /// Makes everything durable but the names. `None`: nothing is different.
    pub(super) fn finish(&mut self, pace: &mut Pace<'_>) -> Result<Option<Seal>, Halt> {
        self.flush(pace)?;
        let Some([log, index, times]) = &self.files else {
            return Ok(None);
        };
        log.sync()?;
        let (first, last) = (&self.group[0], &self.group[self.group.len() - 1]);
        let (mut index_bytes, mut times_bytes) = (Vec::new(), Vec::new());
        for entry in &self.entries.entries {
            index_bytes.extend_from_slice(&entry.index_bytes(first.base()));
            times_bytes.extend_from_slice(&entry.time_bytes(first.base()));
        }
        for (file, bytes) in [(index, index_bytes), (times, times_bytes)] {
            file.write_all(&bytes, 0)?;
            file.sync()?;
        }
        let epochs = first.seal().zip(last.seal());
        let (first_seal, last_seal) = epochs.expect("only sealed segments are compacted");
        Ok(Some(Seal {
            base: first.base(),
            end: last.next_offset(),
            bytes: self.position,
            crc32: self.hasher.clone().finalize(),
            max_record_time_ms: self.entries.max_record_time_ms,
            first_append_time_ms: first_seal.first_append_time_ms,
            last_append_time_ms: last_seal.last_append_time_ms,
            first_epoch: first_seal.first_epoch,
            last_epoch: last_seal.last_epoch,
        }))
    }

    /// What is the same so far is copied.
    fn begin(&mut self, pace: &mut Pace<'_>) -> Result<(), Halt> {
        self.files = Some(self.compaction.create(self.group[0].base())?);
        let old = self.group[0].file()?;
        let (mut at, end) = (0, self.position);
        while at < end {
            let bytes = WRITE_BYTES.min((end - at) as usize);
            self.buffer.resize(bytes, 0);
            old.read_exact(&mut self.buffer, at)?;
            self.flush(pace)?;
            at += bytes as u64;
        }
        Ok(())
    }

    fn flush(&mut self, pace: &mut Pace<'_>) -> Result<(), Halt> {
        let Some([log, ..]) = &self.files else {
            return Ok(());
        };
        log.write_all(&self.buffer, self.written)?;
        self.hasher.update(&self.buffer);
        let bytes = self.buffer.len() as u64;
        self.written += bytes;
        self.unsynced += bytes;
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            log.sync()?;
            self.unsynced = 0;
        }
        if pace(bytes) {
            Ok(())
        } else {
            Err(Halt::Stopped)
        }
    }
}

impl Compaction {
    /// New files, as long as the log is the one that the pass was planned for: a directory that is being removed gets none.
    fn create(&self, base: Offset) -> Result<[LogFile; PARTS.len()], Halt> {
        let valid = self.shared.upkeep();
        if *valid != self.generation {
            return Err(Halt::Stopped);
        }
        let home = &self.shared.home;
        let [log, index, times] = PARTS.map(|part| swap::create(home, base, part));
        Ok([log?, index?, times?])
    }
}
