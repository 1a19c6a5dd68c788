//! Fills the map with the keys of the dirty part.

use std::{ops::Range, sync::Arc};

use taffrail_core::Offset;
use taffrail_record::{BatchHeader, visit};

use super::{
    DECOMPRESSED_BYTES_MAX, Halt, Pace,
    offset_map::{KeyHash, OffsetMap},
    walk::walk,
};
use crate::segment::Segment;

/// Puts the keys of all batches in `dirty` into the map. Gives how far the map reaches: less than the end if it is full.
pub(super) fn fill(
    map: &mut OffsetMap,
    segments: &[Arc<Segment>],
    dirty: Range<Offset>,
    pace: &mut Pace<'_>,
) -> Result<Offset, Halt> {
    let mut keys = Vec::new();
    for segment in segments.iter().filter(|s| s.next_offset() > dirty.start) {
        let mut full_at = None;
        let from = dirty.start.max(segment.base());
        walk(segment, &segment.file()?, from, pace, |_, header, batch| {
            if put_batch(map, header, batch, &mut keys) {
                return Ok(true);
            }
            // One that does not fit even into an empty map is held all the same. Were it passed over, its tombstones would go one day, and what they
            // delete would not.
            if header.base_offset <= dirty.start {
                map.hold(&keys);
                return Ok(true);
            }
            full_at = Some(header.base_offset);
            Ok(false)
        })?;
        if let Some(offset) = full_at {
            return Ok(offset);
        }
    }
    Ok(dirty.end)
}

/// False: not all of them fit. Those that did are true.
fn put_batch(
    map: &mut OffsetMap,
    header: &BatchHeader,
    batch: &[u8],
    keys: &mut Vec<(KeyHash, Offset)>,
) -> bool {
    if header.record_count == 0 || header.attributes.is_control() {
        return true;
    }
    keys.clear();
    let read = visit(header, batch, DECOMPRESSED_BYTES_MAX, |record| {
        if let Some(key) = record.key {
            keys.push((map.hash(key), record.offset));
        }
    });
    if read.is_err() {
        // Records that consumers cannot read either take nobody's place.
        return true;
    }
    map.fetch(keys.iter().map(|(key, _)| *key));
    keys.iter().all(|(key, offset)| map.put(*key, *offset))
}
