//! The compressions of the format. Decompression never gives more than the caller allows.

mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use std::{
    borrow::Cow,
    fmt,
    io::{self, Read},
    str::FromStr,
};

use bytes::Bytes;
use thiserror::Error;

use crate::BatchError;

/// How the records of a batch are compressed. The numbers are the format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in the framing of xerial's snappy-java, as Kafka writes it.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

/// A name that is no compression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no compression; choose one of none, gzip, snappy, lz4, zstd")]
pub struct ParseCompressionError(String);

impl Compression {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The compression with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name as Kafka's `compression.type` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// `None`: nothing to do, or the codec could not, and the records are to be stored as they are.
    pub(crate) fn compress(self, plain: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Gzip => gzip::compress(plain).ok(),
            Self::Snappy => snappy::compress(plain).ok(),
            Self::Lz4 => lz4::compress(plain).ok(),
            Self::Zstd => zstandard::compress(plain).ok(),
        }
    }

    pub(crate) fn decompress(self, packed: Bytes, limit_bytes: usize) -> Result<Bytes, BatchError> {
        match self.unpack(&packed, limit_bytes)? {
            Cow::Borrowed(_) => Ok(packed),
            Cow::Owned(plain) => Ok(plain.into()),
        }
    }

    /// Borrowed: it is not compressed.
    pub(crate) fn unpack(
        self,
        packed: &[u8],
        limit_bytes: usize,
    ) -> Result<Cow<'_, [u8]>, BatchError> {
        let plain = match self {
            Self::None => return Ok(Cow::Borrowed(packed)),
            Self::Gzip => gzip::decompress(packed, limit_bytes),
            Self::Snappy => snappy::decompress(packed, limit_bytes),
            Self::Lz4 => lz4::decompress(packed, limit_bytes),
            Self::Zstd => zstandard::decompress(packed, limit_bytes),
        };
        match plain {
            Ok(plain) => Ok(Cow::Owned(plain)),
            Err(Failure::TooLarge) => Err(BatchError::DecompressedTooLarge { limit_bytes }),
            Err(Failure::Malformed(reason)) => Err(BatchError::Decompress {
                compression: self,
                reason,
            }),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(name: &str) -> Result<Self, ParseCompressionError> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| ParseCompressionError(name.to_owned()))
    }
}

/// Why something does not decompress.
enum Failure {
    TooLarge,
    Malformed(String),
}

impl Failure {
    fn malformed(reason: &impl ToString) -> Self {
        Self::Malformed(reason.to_string())
    }
}

/// Reads a decoder to its end, but no further than `limit_bytes`.
fn read_bounded(
    decoder: impl Read,
    packed_bytes: usize,
    limit_bytes: usize,
) -> Result<Vec<u8>, Failure> {
    // A guess that a bomb cannot make large.
    let mut plain = Vec::with_capacity(limit_bytes.min(packed_bytes.saturating_mul(4)));
    let read = decoder
        .take(limit_bytes as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error: io::Error| Failure::malformed(&error))?;
    if read > limit_bytes {
        return Err(Failure::TooLarge);
    }
    Ok(plain)
}
