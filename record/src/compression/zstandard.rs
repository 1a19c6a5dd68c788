//! Zstandard.

use std::io;

use zstd::{bulk, stream::read::Decoder};

use super::{Failure, read_bounded};

/// Kafka's default, and zstd's own.
const LEVEL: i32 = 3;
/// Every decoder should read windows of 8 MiB (RFC 8878); larger ones only where the limit is larger too.
const WINDOW_LOG_MIN: u32 = 23;
/// The largest window that the library decodes on 64-bit machines.
const WINDOW_LOG_MAX: u32 = 31;

pub(super) fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    bulk::compress(plain, LEVEL)
}

pub(super) fn decompress(packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = Decoder::new(packed).map_err(|error| Failure::malformed(&error))?;
    let window_log = limit_bytes.checked_ilog2().unwrap_or(0) + 1;
    decoder
        .window_log_max(window_log.clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX))
        .map_err(|error| Failure::malformed(&error))?;
    read_bounded(decoder, packed.len(), limit_bytes)
}
