//! Snappy: written in the framing of xerial's snappy-java, as Kafka's clients do; read in that or as one raw block, which some clients write.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version 1 (i32) | compatible version 1 (i32) | { length (i32) | raw snappy block } ...
//! ```

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Failure;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: [u8; 4] = 1u32.to_be_bytes();
const FRAME_HEADER_BYTES: usize = MAGIC.len() + 2 * VERSION.len();
/// What snappy-java puts into one block.
const BLOCK_BYTES: usize = 32 << 10;

pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + plain.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&VERSION);
    let mut encoder = Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[block_at..])?;
        out[length_at..block_at].copy_from_slice(&(length as u32).to_be_bytes());
        out.truncate(block_at + length);
    }
    Ok(out)
}

pub(super) fn decompress(packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    if !packed.starts_with(&MAGIC) {
        append_block(&mut plain, packed, limit_bytes)?;
        return Ok(plain);
    }
    let Some(mut rest) = packed.get(FRAME_HEADER_BYTES..) else {
        return Err(Failure::malformed(&"the frame's header is cut short"));
    };
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Err(Failure::malformed(&"a block's length is cut short"));
        };
        let length = u32::from_be_bytes(*length) as usize;
        let Some((block, after)) = after.split_at_checked(length) else {
            return Err(Failure::malformed(&"a block is cut short"));
        };
        append_block(&mut plain, block, limit_bytes)?;
        rest = after;
    }
    Ok(plain)
}

fn append_block(plain: &mut Vec<u8>, block: &[u8], limit_bytes: usize) -> Result<(), Failure> {
    let length = decompress_len(block).map_err(|error| Failure::malformed(&error))?;
    let at = plain.len();
    // The length is a claim: one byte of snappy can make at most 64 of plain text, so a larger claim is a lie and not worth the memory.
    if length > block.len().saturating_mul(64) {
        return Err(Failure::malformed(&"a block claims an impossible length"));
    }
    if at + length > limit_bytes {
        return Err(Failure::TooLarge);
    }
    plain.resize(at + length, 0);
    let written = Decoder::new()
        .decompress(block, &mut plain[at..])
        .map_err(|error| Failure::malformed(&error))?;
    plain.truncate(at + written);
    Ok(())
}
