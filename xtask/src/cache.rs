//! Where built tools live: outside the tree, keyed by what they are built from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// `$TAFFRAIL_CACHE`, or `taffrail` in the user's cache folder.
pub fn root() -> PathBuf {
    if let Some(dir) = std::env::var_os("TAFFRAIL_CACHE") {
        return PathBuf::from(dir);
    }
    let user = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache"),
        PathBuf::from,
    );
    user.join("taffrail")
}

/// The folder `<name>-<hash of the files' bytes>` in the cache, made if it is not there.
///
/// # Errors
/// If a file cannot be read or the folder cannot be made.
pub fn keyed(name: &str, files: &[PathBuf], extra: &str) -> Result<PathBuf> {
    let mut hash = Fnv::default();
    hash.write(extra.as_bytes());
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.write(&bytes);
    }
    let dir = root().join(format!("{name}-{:016x}", hash.0));
    make(&dir)?;
    Ok(dir)
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// FNV-1a: stable across releases of the compiler, which the standard hasher is not.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Fnv::default();
        hash.write(b"a");
        assert_eq!(hash.0, 0xaf63_dc4c_8601_ec8c);
    }
}
