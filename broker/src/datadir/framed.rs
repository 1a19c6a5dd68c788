//! Small files that are replaced atomically and carry their kind, format and checksum in a first line that people can read:
//! `taffrail-identity format=1 bytes=143 crc32=0badcafe`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use super::io_error;
use crate::error::BrokerError;

/// What a file is, and its newest format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) format: u32,
}

/// Replaces the file. When this returns, a crash leaves the new content; when it fails or crashes, the old or the new one.
pub(super) fn replace(path: &Path, kind: Kind, payload: &[u8]) -> Result<(), BrokerError> {
    let temporary = path.with_extension("new");
    let head = format!(
        "taffrail-{} format={} bytes={} crc32={:08x}\n",
        kind.name,
        kind.format,
        payload.len(),
        crc32fast::hash(payload)
    );
    let mut file = File::create(&temporary).map_err(io_error("create", &temporary))?;
    file.write_all(head.as_bytes())
        .and_then(|()| file.write_all(payload))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("rename", &temporary))?;
    sync_parent(path)
}

/// The payload; `None` if there is no such file.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Option<Vec<u8>>, BrokerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", path)(e)),
    };
    let unreadable = |reason: &str| BrokerError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let line_end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(|| unreadable("its first line is missing"))?;
    let head = std::str::from_utf8(&bytes[..line_end])
        .ok()
        .and_then(|line| line.strip_prefix(&format!("taffrail-{} ", kind.name)))
        .ok_or_else(|| unreadable("its first line does not say what it is"))?;
    let field = |name: &str| {
        head.split(' ')
            .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
    };
    let format: u32 = field("format")
        .and_then(|f| f.parse().ok())
        .ok_or_else(|| unreadable("its first line has no format"))?;
    if format > kind.format {
        return Err(BrokerError::NewerFormat {
            path: path.to_owned(),
            found: format,
            supported: kind.format,
        });
    }
    let payload = &bytes[line_end + 1..];
    let crc32 = field("crc32").and_then(|c| u32::from_str_radix(c, 16).ok());
    if crc32 != Some(crc32fast::hash(payload)) {
        return Err(unreadable("its checksum is wrong"));
    }
    Ok(Some(payload.to_vec()))
}

fn sync_parent(path: &Path) -> Result<(), BrokerError> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(io_error("sync", dir))
}

#[cfg(test)]
mod tests {
    use taffrail_core::ErrorCode;

    use super::*;

    const KIND: Kind = Kind {
        name: "test",
        format: 2,
    };

    #[test]
    fn what_is_written_is_read_and_a_flipped_bit_is_told() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        assert_eq!(read(&path, KIND).expect("no file is fine"), None);
        replace(&path, KIND, b"payload\n").expect("writes");
        assert_eq!(
            read(&path, KIND).expect("reads").as_deref(),
            Some(&b"payload\n"[..])
        );

        let mut bytes = fs::read(&path).expect("reads");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("writes");
        let error = read(&path, KIND).expect_err("damaged");
        assert!(error.to_string().contains("checksum"), "{error}");
    }

    #[test]
    fn a_newer_format_is_an_unsupported_version() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        replace(&path, Kind { format: 3, ..KIND }, b"").expect("writes");
        let error = read(&path, KIND).expect_err("newer");
        assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
    }
}
