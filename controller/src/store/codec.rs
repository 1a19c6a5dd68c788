//! One object as bytes.
//!
//! ```text
//!  0  magic      8  "TFRLMETA"
//!  8  format     4  u32, little endian as all numbers here: 1
//! 12  crc        4  CRC-32 of everything behind it
//! 16  version    8  u64, raised by every put
//! 24  length     8  u64, bytes of the value
//! 32  value         a protobuf message of store.proto
//! ```

use std::path::Path;

use prost::Message;

use crate::store::StoreError;

const MAGIC: [u8; 8] = *b"TFRLMETA";
/// Raised when old programs must not read what this one writes.
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 32;
const CRC_FROM: usize = 16;

/// The bytes of `value` at `version`.
pub(super) fn encode(version: u64, value: &impl Message) -> Vec<u8> {
    let length = value.encoded_len();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
    bytes.extend_from_slice(&value.encode_to_vec());
    let crc = crc32fast::hash(&bytes[CRC_FROM..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The version and value in `bytes`, which were read from `path`.
pub(super) fn decode<T: Message + Default>(
    path: &Path,
    bytes: &[u8],
) -> Result<(u64, T), StoreError> {
    let unreadable = |reason: String| StoreError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let Some((header, value)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(unreadable(format!("it has only {} bytes", bytes.len())));
    };
    if header[..8] != MAGIC {
        return Err(unreadable("it does not begin with TFRLMETA".to_owned()));
    }
    let format = u32::from_le_bytes(array(header, 8));
    if format == 0 {
        return Err(unreadable("there is no format version 0".to_owned()));
    }
    if format > FORMAT {
        return Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found: format,
            supported: FORMAT,
        });
    }
    let (expected, actual) = (
        u32::from_le_bytes(array(header, 12)),
        crc32fast::hash(&bytes[CRC_FROM..]),
    );
    if expected != actual {
        return Err(unreadable(format!(
            "its CRC-32 is {actual:08x}, its header says {expected:08x}"
        )));
    }
    let length = u64::from_le_bytes(array(header, 24));
    if length != value.len() as u64 {
        return Err(unreadable(format!(
            "it holds {} bytes, its header says {length}",
            value.len()
        )));
    }
    let message = T::decode(value).map_err(|e| unreadable(e.to_string()))?;
    Ok((u64::from_le_bytes(array(header, 16)), message))
}

/// `N` bytes of `header` from `at`. The header's size is fixed.
fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use taffrail_api::v1::PartitionMap;

    use super::*;

    fn map() -> PartitionMap {
        PartitionMap {
            name: "map-00000".to_owned(),
            controller_epoch: 7,
            partitions: vec![],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = encode(3, &map());
        let (version, read): (u64, PartitionMap) =
            decode(Path::new("x"), &bytes).expect("just encoded");
        assert_eq!((version, read), (3, map()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = encode(3, &map());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error =
                decode::<PartitionMap>(Path::new("store/x"), &damaged).expect_err("a bit is wrong");
            assert!(error.to_string().contains("store/x"), "bit {bit}: {error}");
        }
    }

    #[test]
    fn every_torn_write_is_found() {
        let bytes = encode(3, &map());
        for length in 0..bytes.len() {
            assert!(decode::<PartitionMap>(Path::new("x"), &bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_newer_format_says_which_version_to_run() {
        let mut bytes = encode(3, &map());
        bytes[8] = 2;
        let error = decode::<PartitionMap>(Path::new("x"), &bytes).expect_err("format 2");
        assert!(matches!(error, StoreError::NewerFormat { found: 2, .. }));
    }

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        assert_eq!(
            encode(3, &map()),
            [
                b"TFRLMETA".as_slice(),
                &[1, 0, 0, 0],
                &crc32fast::hash(&encode(3, &map())[16..]).to_le_bytes(),
                &[3, 0, 0, 0, 0, 0, 0, 0],
                &[13, 0, 0, 0, 0, 0, 0, 0],
                b"\x0a\x09map-00000\x10\x07",
            ]
            .concat()
        );
    }
}
