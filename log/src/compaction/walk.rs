//! The batches of sealed segments, each checked: nothing is cleaned on the word of a damaged one.

use taffrail_core::{LeaderEpoch, Offset};
use taffrail_record::BatchHeader;

use super::{Halt, Pace};
use crate::{
    file::LogFile,
    segment::{
        Segment,
        scan::{Found, Scanner, epoch_of},
    },
};

/// How often the pace is asked.
const PACE_BYTES: u64 = 1 << 20;

/// Visits the batches of a segment from the one that holds `from` on, until `visit` says false.
pub(super) fn walk(
    segment: &Segment,
    file: &LogFile,
    from: Offset,
    pace: &mut Pace<'_>,
    mut visit: impl FnMut(&mut Pace<'_>, &BatchHeader, &[u8]) -> Result<bool, Halt>,
) -> Result<(), Halt> {
    let (mut position, mut offset) = if from > segment.base() {
        segment.batch_of(from)?
    } else {
        (0, segment.base())
    };
    let end = segment.bytes();
    let mut last_epoch: Option<LeaderEpoch> = None;
    let mut scanner = Scanner::new(file)?;
    let mut unpaced = 0;
    while position < end {
        let (header, batch) = match scanner.at(position, offset, last_epoch)? {
            Found::Batch(header, batch) => (header, batch),
            Found::End => {
                let reason = "the segment ends too early";
                return Err(segment.damaged(position, offset, reason).into());
            }
            Found::Bad(reason) => return Err(segment.damaged(position, offset, &reason).into()),
        };
        if !visit(pace, &header, batch)? {
            return Ok(());
        }
        position += batch.len() as u64;
        offset = header.next_offset();
        last_epoch = epoch_of(&header);
        unpaced += batch.len() as u64;
        if unpaced >= PACE_BYTES {
            if !pace(unpaced) {
                return Err(Halt::Stopped);
            }
            unpaced = 0;
        }
    }
    if pace(unpaced) {
        Ok(())
    } else {
        Err(Halt::Stopped)
    }
}
