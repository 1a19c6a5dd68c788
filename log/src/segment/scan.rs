//! Checks every batch of a file, from a position on: recovery and offline verification.

use std::ops::Range;

use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::{BatchError, BatchHeader, HEADER_BYTES, verify};

use crate::{error::LogError, file::LogFile};

/// What is read in one go.
const WINDOW_BYTES: usize = 1 << 20;
/// Where the magic byte of a batch is.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// What is at a position.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The file ends here, or has only zeros from here on (room that was reserved).
    End,
    /// A batch that is whole, has the expected offset, an epoch that is not lower than the one before, and the right checksum.
    Batch(BatchHeader, &'a [u8]),
    /// Something else.
    Bad(String),
}

/// Reads a file from front to back through one buffer.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: LogFile,
    bytes: u64,
    /// What `buffer` has of the file.
    held: Range<u64>,
    buffer: Vec<u8>,
}

impl Scanner {
    pub(crate) fn new(file: &LogFile) -> Result<Self, LogError> {
        Ok(Self {
            bytes: file.bytes()?,
            file: file.clone(),
            held: 0..0,
            buffer: Vec::new(),
        })
    }

    /// What is at `position`, where the batch of `expected` should start.
    pub(crate) fn at(
        &mut self,
        position: u64,
        expected: Offset,
        last_epoch: Option<LeaderEpoch>,
    ) -> Result<Found<'_>, LogError> {
        let left = self.bytes.saturating_sub(position);
        let head = self.get(position, HEADER_BYTES.min(left as usize))?;
        if head.iter().all(|b| *b == 0) && self.is_zero_from(position)? {
            return Ok(Found::End);
        }
        let header = match BatchHeader::parse(self.get(position, HEADER_BYTES.min(left as usize))?)
        {
            Ok(header) => header,
            Err(e) => return Ok(Found::Bad(e.to_string())),
        };
        if header.total_bytes() as u64 > left {
            let cut_short = BatchError::Truncated {
                needed: header.total_bytes(),
                available: left as usize,
            };
            return Ok(Found::Bad(cut_short.to_string()));
        }
        let batch = self.get(position, header.total_bytes())?;
        Ok(match check(batch, expected, last_epoch) {
            Ok(header) => Found::Batch(header, batch),
            Err(reason) => Found::Bad(reason),
        })
    }

    /// Is there a valid batch of a higher offset than `offset` after `position`? Then what is at `position` is no torn tail.
    pub(crate) fn has_batch_after(
        &mut self,
        position: u64,
        offset: Offset,
    ) -> Result<bool, LogError> {
        let mut has = false;
        self.batches_after(position, offset, |_| {
            has = true;
            false
        })?;
        Ok(has)
    }

    /// Valid batches of higher offsets than `offset` after `position`, whatever is between them, until `more` says that it is enough.
    pub(crate) fn batches_after(
        &mut self,
        mut position: u64,
        offset: Offset,
        mut more: impl FnMut(&BatchHeader) -> bool,
    ) -> Result<(), LogError> {
        while position + HEADER_BYTES as u64 <= self.bytes {
            let len = WINDOW_BYTES.min((self.bytes - position) as usize);
            let candidates = candidates(self.get(position, len)?, offset);
            for (at, total) in candidates {
                let start = position + at as u64;
                if start + total as u64 <= self.bytes
                    && let Ok(header) = verify(self.get(start, total)?)
                    && !more(&header)
                {
                    return Ok(());
                }
            }
            position += (len - HEADER_BYTES + 1) as u64;
        }
        Ok(())
    }

    /// Where the zeros at the end of the file start, if `position` is the end of what is known.
    pub(crate) fn end_of_data(&mut self, position: u64) -> Result<u64, LogError> {
        let mut end = position;
        let mut at = position;
        while at < self.bytes {
            let len = WINDOW_BYTES.min((self.bytes - at) as usize);
            if let Some(last) = self.get(at, len)?.iter().rposition(|b| *b != 0) {
                end = at + last as u64 + 1;
            }
            at += len as u64;
        }
        Ok(end)
    }

    fn is_zero_from(&mut self, position: u64) -> Result<bool, LogError> {
        let mut at = position;
        while at < self.bytes {
            let len = WINDOW_BYTES.min((self.bytes - at) as usize);
            if self.get(at, len)?.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            at += len as u64;
        }
        Ok(true)
    }

    fn get(&mut self, position: u64, len: usize) -> Result<&[u8], LogError> {
        let end = position + len as u64;
        if position < self.held.start || end > self.held.end {
            let want = len.max(WINDOW_BYTES.min((self.bytes - position) as usize));
            self.buffer.resize(want, 0);
            self.held = 0..0;
            self.file.read_exact(&mut self.buffer, position)?;
            self.held = position..position + want as u64;
        }
        let at = (position - self.held.start) as usize;
        Ok(&self.buffer[at..at + len])
    }
}

fn check(
    batch: &[u8],
    expected: Offset,
    last_epoch: Option<LeaderEpoch>,
) -> Result<BatchHeader, String> {
    let header = verify(batch).map_err(|e| e.to_string())?;
    if header.base_offset != expected {
        return Err(format!(
            "batch has base offset {}, expected was {expected}",
            header.base_offset
        ));
    }
    let epoch = epoch_of(&header).ok_or("batch has no leader epoch")?;
    match last_epoch {
        Some(last) if epoch < last => Err(format!(
            "batch has leader epoch {epoch}, the one before had {last}"
        )),
        _ => Ok(header),
    }
}

/// The epoch of a batch that a leader appended.
pub(crate) fn epoch_of(header: &BatchHeader) -> Option<LeaderEpoch> {
    u32::try_from(header.leader_epoch).ok().map(LeaderEpoch)
}

/// Everything in `window` that looks like the header of a batch above `offset`.
fn candidates(window: &[u8], offset: Offset) -> Vec<(usize, usize)> {
    let starts = 0..=window.len() - HEADER_BYTES;
    starts
        .filter(|at| window[at + MAGIC_AT] == MAGIC)
        .filter_map(|at| Some((at, BatchHeader::parse(&window[at..]).ok()?)))
        .filter(|(_, header)| header.base_offset > offset && header.leader_epoch >= 0)
        .map(|(at, header)| (at, header.total_bytes()))
        .collect()
}
