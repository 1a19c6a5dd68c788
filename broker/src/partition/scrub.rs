//! Looking for damage where nobody reads.

use taffrail_core::Offset;
use taffrail_log::LogError;

use super::{Fault, Partition};

impl Partition {
    /// Base offsets of the segments that have a checksum.
    pub(crate) fn sealed_segments(&self) -> Vec<Offset> {
        let segments = self.reader.as_ref().map(taffrail_log::LogReader::segments);
        let sealed = segments.into_iter().flatten().filter(|s| s.crc32.is_some());
        sealed.map(|s| s.base_offset).collect()
    }

    /// Reads a sealed segment and compares its checksum; damage takes the partition offline. Blocking.
    pub(crate) fn scrub(&self, base: Offset) {
        let Some(reader) = &self.reader else { return };
        match reader.verify_segment(base) {
            // Expired meanwhile, if false.
            Ok(_) => {}
            Err(error @ LogError::Damaged { .. }) => self.fail(Fault::of(&error)),
            Err(error) => {
                tracing::warn!(partition = %self.label(), segment = %base, %error, "cannot scrub a segment");
            }
        }
    }
}
