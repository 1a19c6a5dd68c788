//! gzip, several members in a row included, as Java's `GZIPInputStream` reads it.

use std::io::{self, Write};

use flate2::{read::MultiGzDecoder, write::GzEncoder};

use super::{Failure, read_bounded};

pub(super) fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    let out = Vec::with_capacity(plain.len() / 2);
    let mut encoder = GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

pub(super) fn decompress(packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Failure> {
    read_bounded(MultiGzDecoder::new(packed), packed.len(), limit_bytes)
}
