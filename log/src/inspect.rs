//! A look into a partition's directory from outside: nothing is written, nothing is repaired. For `taffrail log dump` and `taffrail log verify`.
//!
//! The log may be open in a broker; its last batches may then look torn.

mod verify;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::BatchHeader;

use crate::{
    disk::{Disk, OpenMode},
    error::{AtPath, LogError},
    file::LogFile,
    names::{self, Part},
    segment::scan::{Found, Scanner, epoch_of},
    shared::Home,
};
pub(crate) use verify::verify_sealed;
pub use verify::{Finding, Verified, verify};

/// A batch as it lies in its file.
#[derive(Debug, Clone)]
pub struct BatchAt {
    /// Where it starts.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: Bytes,
}

/// The base offsets of the segments in a directory, in order.
///
/// # Errors
/// The disk's.
pub fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Offset>, LogError> {
    let listed = disk.list(dir).at("list", dir)?;
    let logs = listed
        .iter()
        .filter_map(|name| match names::parse_segment(name) {
            Some((base, Part::Log)) => Some(base),
            _ => None,
        });
    let mut bases: Vec<Offset> = logs.collect();
    bases.sort_unstable();
    Ok(bases)
}

/// The batches of one segment, each checked. Ends at the end of the data, or after the first error.
///
/// # Errors
/// The disk's.
pub fn batches(disk: Arc<dyn Disk>, dir: &Path, base: Offset) -> Result<Batches, LogError> {
    let home = Home {
        disk,
        dir: dir.to_owned(),
    };
    let file = home.open(base, Part::Log, OpenMode::Read)?;
    Batches::of(&file, base)
}

/// The iterator of [`batches`].
#[derive(Debug)]
pub struct Batches {
    file: LogFile,
    scanner: Scanner,
    position: u64,
    offset: Offset,
    last_epoch: Option<LeaderEpoch>,
    is_over: bool,
}

impl Batches {
    pub(crate) fn of(file: &LogFile, base: Offset) -> Result<Self, LogError> {
        Ok(Self {
            scanner: Scanner::new(file)?,
            file: file.clone(),
            position: 0,
            offset: base,
            last_epoch: None,
            is_over: false,
        })
    }

    /// Where the next batch would start.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset that the next batch would have.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    fn step(&mut self) -> Result<Option<BatchAt>, LogError> {
        let reason = match self
            .scanner
            .at(self.position, self.offset, self.last_epoch)?
        {
            Found::End => return Ok(None),
            Found::Bad(reason) => reason,
            Found::Batch(header, bytes) => {
                let batch = BatchAt {
                    position: self.position,
                    header,
                    bytes: Bytes::copy_from_slice(bytes),
                };
                self.position += bytes.len() as u64;
                self.offset = header.next_offset();
                self.last_epoch = epoch_of(&header);
                return Ok(Some(batch));
            }
        };
        Err(LogError::Damaged {
            path: self.file.path().to_owned(),
            position: self.position,
            offset: self.offset,
            reason,
        })
    }
}

impl Iterator for Batches {
    type Item = Result<BatchAt, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.step().transpose();
        self.is_over = !matches!(step, Some(Ok(_)));
        step
    }
}
