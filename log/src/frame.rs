//! The frame of all small files: identity, checkpoint, epochs, seals. Replaced as a whole, never in part.
//!
//! ```text
//! 0   "taffrail"             8 bytes
//! 8   kind                   4 bytes of ASCII
//! 12  version                u16
//! 14  payload length n       u32
//! 18  payload                n bytes
//! 18+n  CRC-32 of all before u32          numbers are big-endian, as in batches
//! ```

use std::path::Path;

use crate::{
    disk::{Disk, OpenMode},
    error::{AtPath, LogError},
    file::LogFile,
    names,
};

const MAGIC: &[u8; 8] = b"taffrail";
const HEADER_BYTES: usize = 18;
/// No small file comes near: an epoch table of this size has five million epochs.
const BYTES_MAX: u64 = 64 << 20;

/// What a framed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) tag: [u8; 4],
    /// The newest version that is understood, and the one written.
    pub(crate) version: u16,
}

/// Frames a payload.
pub(crate) fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&kind.tag);
    out.extend_from_slice(&kind.version.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// The payload of a framed file's bytes.
fn decode<'a>(kind: Kind, bytes: &'a [u8], path: &Path) -> Result<&'a [u8], LogError> {
    let unreadable = |reason| LogError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let (framed, crc) = bytes
        .split_last_chunk::<4>()
        .filter(|(framed, _)| framed.len() >= HEADER_BYTES)
        .ok_or_else(|| unreadable("it is cut short"))?;
    if crc32fast::hash(framed) != u32::from_be_bytes(*crc) {
        return Err(unreadable("its checksum is wrong"));
    }
    let mut fields = Fields(framed);
    let (magic, tag) = (fields.array::<8>(), fields.array::<4>());
    if magic != Some(*MAGIC) || tag != Some(kind.tag) {
        return Err(unreadable("it is a file of another kind"));
    }
    let found = fields
        .u16()
        .ok_or_else(|| unreadable("it has no version"))?;
    if found > kind.version {
        return Err(LogError::NewerFormat {
            path: path.to_owned(),
            found,
            supported: kind.version,
        });
    }
    match fields.u32() {
        Some(length) if length as usize == fields.0.len() => Ok(fields.0),
        _ => Err(unreadable("its length is wrong")),
    }
}

/// Reads a framed file's payload; `None` if there is no such file.
pub(crate) fn read(disk: &dyn Disk, path: &Path, kind: Kind) -> Result<Option<Vec<u8>>, LogError> {
    let file = match LogFile::open(disk, path.to_owned(), OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    let bytes = file.bytes()?;
    if bytes > BYTES_MAX {
        return Err(LogError::Unreadable {
            path: path.to_owned(),
            reason: "it is too large",
        });
    }
    let mut content = vec![0; bytes as usize];
    file.read_exact(&mut content, 0)?;
    decode(kind, &content, path).map(|payload| Some(payload.to_vec()))
}

/// Replaces a framed file so that a crash leaves the old or the new one. Durable on return.
pub(crate) fn replace(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    payload: &[u8],
) -> Result<(), LogError> {
    replace_later(disk, path, kind, payload)?;
    let dir = path.parent().unwrap_or(path);
    disk.sync_dir(dir).at("sync", dir)
}

/// The same, but the new name is durable only after the directory's next sync.
pub(crate) fn replace_later(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    payload: &[u8],
) -> Result<(), LogError> {
    let temporary = names::temporary(path);
    let file = LogFile::open(disk, temporary.clone(), OpenMode::Create)?;
    file.write_all(&encode(kind, payload), 0)?;
    file.sync()?;
    disk.rename(&temporary, path).at("replace", path)
}

/// Takes a payload apart. Every method is `None` where the payload ends too early.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn slice(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(slice)
    }

    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
