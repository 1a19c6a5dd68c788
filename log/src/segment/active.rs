//! The writer of the last segment.

use std::{io::IoSlice, sync::Arc};

use bytes::Bytes;
use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::{BatchHeader, stamped_prefix};

use super::{
    EntryBuilder, Segment,
    entry::Entry,
    index::SegmentIndex,
    seal::{Seal, SealJob},
};
use crate::{
    checkpoint::LogPoint, config::LogConfig, disk::OpenMode, error::LogError, file::LogFile,
    names::Part, producers::Snapshot, shared::Home,
};

/// Room that is reserved and zeroed ahead of small appends that are synced one by one: while they stay within it a sync need not also
/// commit the file's new size, which took a third off its median and tenth percentile (ext4, 1 KiB appends). Zeros and not `fallocate`: it
/// was not slower, and every file system can do it.
const RESERVE_BYTES: u64 = 128 << 10;
/// Appends of this size and larger reserve nothing: their sync is dominated by their bytes.
const RESERVE_FOR_APPENDS_BELOW: u64 = 32 << 10;
/// What is zeroed in one write.
static ZEROS: [u8; RESERVE_BYTES as usize] = [0; RESERVE_BYTES as usize];

/// One append: whole verified batches, and what a leader gives them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Append<'a> {
    pub(crate) batches: &'a [Bytes],
    pub(crate) headers: &'a [BatchHeader],
    /// `None`: the batches have their epochs already.
    pub(crate) epoch: Option<LeaderEpoch>,
    pub(crate) now_ms: i64,
    /// All that came before is durable: appends come one sync at a time, and their latency counts.
    pub(crate) follows_sync: bool,
}

impl Append<'_> {
    pub(crate) fn epoch_of(&self, header: &BatchHeader) -> LeaderEpoch {
        self.epoch
            .unwrap_or_else(|| LeaderEpoch(header.leader_epoch.cast_unsigned()))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.batches.iter().map(|b| b.len() as u64).sum()
    }
}

/// Invariants: `point` is the end of what was appended and published; the file has no data beyond it, at most zeros up to `reserved`.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    segment: Arc<Segment>,
    file: LogFile,
    point: LogPoint,
    /// Over the file's bytes before `point`.
    hasher: crc32fast::Hasher,
    entries: EntryBuilder,
    /// The file is this long.
    reserved: u64,
    /// When it was begun, segments were to be this large.
    segment_bytes: u64,
    /// The stamped first bytes of the batches of one append, kept for the next.
    prefixes: Vec<[u8; 16]>,
}

impl ActiveSegment {
    /// A new, empty segment.
    pub(crate) fn create(
        home: &Arc<Home>,
        base: Offset,
        last_append_time_ms: i64,
        config: &LogConfig,
    ) -> Result<Self, LogError> {
        let file = home.open(base, Part::Log, OpenMode::CreateNew)?;
        let point = LogPoint::start_of(base, last_append_time_ms);
        Ok(Self::resume(home, file, point, Vec::new(), 0, 0, config))
    }

    /// Goes on at `point`, where the file ends. Its index has `entries`, of which the files have the first `persisted`.
    pub(crate) fn resume(
        home: &Arc<Home>,
        file: LogFile,
        point: LogPoint,
        entries: Vec<Entry>,
        persisted: usize,
        trusted_from: u64,
        config: &LogConfig,
    ) -> Self {
        let interval = u64::from(config.index_interval_bytes);
        let last = entries.last().copied();
        let builder = EntryBuilder::resume(
            point.segment,
            interval,
            last.into_iter().collect(),
            point.max_record_time_ms,
        );
        let index = SegmentIndex::in_memory(Arc::clone(home), point.segment, entries, persisted);
        let segment = Segment::open(
            Arc::clone(home),
            file.clone(),
            &point,
            index,
            trusted_from,
            config.segment_bytes,
        );
        Self {
            segment: Arc::new(segment),
            file,
            hasher: crc32fast::Hasher::new_with_initial_len(point.crc32, point.position),
            entries: builder,
            reserved: point.position,
            segment_bytes: config.segment_bytes,
            point,
            prefixes: Vec::new(),
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn file(&self) -> &LogFile {
        &self.file
    }

    pub(crate) fn point(&self) -> &LogPoint {
        &self.point
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.point.position == 0
    }

    /// Must a new segment be begun before this append?
    pub(crate) fn is_full_for(&self, append: &Append<'_>, config: &LogConfig) -> bool {
        if self.is_empty() {
            return false;
        }
        let age_ms = append.now_ms - self.point.first_append_time_ms;
        self.point.position + append.bytes() > config.segment_bytes.min(u64::from(u32::MAX))
            || u128::try_from(age_ms).is_ok_and(|age| age >= config.segment_max_age.as_millis())
            // Kafka's limit on offsets relative to the base.
            || self.point.offset.0 - self.point.segment.0 > i32::MAX as u64
    }

    /// Writes into the page cache and publishes. On an error nothing was published; the file may have bytes beyond the end.
    pub(crate) fn append(&mut self, append: &Append<'_>) -> Result<(), LogError> {
        if append.follows_sync {
            self.reserve_for(append.bytes());
        }
        self.stamp(append);
        let mut slices = Vec::with_capacity(2 * append.batches.len());
        for (prefix, batch) in self.prefixes.iter().zip(append.batches) {
            slices.push(IoSlice::new(prefix));
            slices.push(IoSlice::new(&batch[prefix.len()..]));
        }
        self.file
            .write_all_vectored(&mut slices, self.point.position)?;
        self.advance(append);
        self.segment.publish(&self.point);
        Ok(())
    }

    /// Sets offsets and epoch in copies of the batches' first bytes.
    fn stamp(&mut self, append: &Append<'_>) {
        self.prefixes.clear();
        let mut offset = self.point.offset;
        for (batch, header) in append.batches.iter().zip(append.headers) {
            assert_eq!(
                header.total_bytes(),
                batch.len(),
                "headers belong to the batches"
            );
            self.prefixes
                .push(stamped_prefix(batch, offset, append.epoch_of(header)));
            offset = offset.plus(u64::from(header.last_offset_delta) + 1);
        }
    }

    /// Accounts for what was written.
    fn advance(&mut self, append: &Append<'_>) {
        let point = &mut self.point;
        if point.position == 0 {
            point.first_append_time_ms = append.now_ms;
        }
        point.last_append_time_ms = append.now_ms;
        for ((prefix, batch), header) in
            self.prefixes.iter().zip(append.batches).zip(append.headers)
        {
            self.hasher.update(prefix);
            self.hasher.update(&batch[prefix.len()..]);
            let stamped = BatchHeader {
                base_offset: point.offset,
                ..*header
            };
            if let Some(entry) = self.entries.entry(point.position, &stamped, append.now_ms) {
                self.segment.index().push(entry);
            }
            point.position += batch.len() as u64;
            point.offset = stamped.next_offset();
        }
        point.max_record_time_ms = self.entries.max_record_time_ms;
        point.crc32 = self.hasher.clone().finalize();
        self.reserved = self.reserved.max(point.position);
    }

    /// Zeroes room ahead of a small append. If there is none, the append itself will say so.
    fn reserve_for(&mut self, bytes: u64) {
        let end = self.point.position + bytes;
        if bytes >= RESERVE_FOR_APPENDS_BELOW || end <= self.reserved {
            return;
        }
        let from = self.reserved.max(self.point.position);
        let wanted = self
            .segment_bytes
            .max(end)
            .saturating_sub(from)
            .min(RESERVE_BYTES);
        if self.file.write_all(&ZEROS[..wanted as usize], from).is_ok() {
            self.reserved = from + wanted;
        } else {
            // Some of the zeros may have been written.
            self.reserved = u64::MAX;
            if self.cut_back().is_err() {
                // Zeros beyond the end do no harm.
            }
        }
    }

    /// Takes away what a failed append or reservation left beyond the end.
    pub(crate) fn cut_back(&mut self) -> Result<(), LogError> {
        self.file.set_len(self.point.position)?;
        self.reserved = self.point.position;
        Ok(())
    }

    /// What seals this segment, once it was rolled. `epochs`: of its first and last batch. `producers`: at its end.
    pub(crate) fn into_seal_job(
        self,
        home: &Arc<Home>,
        epochs: (LeaderEpoch, LeaderEpoch),
        producers: Option<Snapshot>,
    ) -> SealJob {
        let seal = Seal {
            base: self.point.segment,
            end: self.point.offset,
            bytes: self.point.position,
            crc32: self.point.crc32,
            max_record_time_ms: self.point.max_record_time_ms,
            first_append_time_ms: self.point.first_append_time_ms,
            last_append_time_ms: self.point.last_append_time_ms,
            first_epoch: epochs.0,
            last_epoch: epochs.1,
        };
        SealJob::new(Arc::clone(home), self.segment, self.file, seal, producers)
    }
}
