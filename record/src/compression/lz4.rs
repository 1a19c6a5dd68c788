//! LZ4 frames with independent blocks of 64 KiB and without checksums: what Kafka's Java client writes, and all that it reads.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, Error, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Failure, read_bounded};

pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, Error> {
    let frame = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let out = Vec::with_capacity(plain.len() / 2);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(plain)?;
    encoder.finish()
}

pub(super) fn decompress(packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Failure> {
    read_bounded(FrameDecoder::new(packed), packed.len(), limit_bytes)
}
