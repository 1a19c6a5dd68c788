//! The names of a partition directory's files.

use std::path::{Path, PathBuf};

use taffrail_core::Offset;

pub(crate) const IDENTITY: &str = "identity";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const EPOCHS: &str = "epochs";
pub(crate) const CLEANED: &str = "cleaned";
/// Of a file that compaction made, until it takes its name.
pub(crate) const CLEAN_SUFFIX: &str = ".clean";
const SWAP_SUFFIX: &str = ".swap";
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// What a segment has files of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    Index,
    TimeIndex,
    Seal,
    Producers,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [
        Self::Log,
        Self::Index,
        Self::TimeIndex,
        Self::Seal,
        Self::Producers,
    ];

    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "timeindex",
            Self::Seal => "seal",
            Self::Producers => "producers",
        }
    }
}

/// `<dir>/<20-digit base offset>.<extension>`
pub(crate) fn segment(dir: &Path, base: Offset, part: Part) -> PathBuf {
    dir.join(format!("{:020}.{}", base.0, part.extension()))
}

/// The reverse of [`segment`]'s file name.
pub(crate) fn parse_segment(name: &str) -> Option<(Offset, Part)> {
    let (digits, extension) = name.split_once('.')?;
    let part = Part::ALL.into_iter().find(|p| p.extension() == extension)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), part))
}

/// Where compaction writes what is to take a file's place.
pub(crate) fn clean(path: &Path) -> PathBuf {
    with_suffix(path, CLEAN_SUFFIX)
}

/// `<dir>/<20-digit base offset>.swap`: the seal of a segment whose files are to be exchanged for those that compaction made.
pub(crate) fn swap(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}{SWAP_SUFFIX}", base.0))
}

/// The reverse of [`swap`]'s file name.
pub(crate) fn parse_swap(name: &str) -> Option<Offset> {
    let log = format!("{}.log", name.strip_suffix(SWAP_SUFFIX)?);
    parse_segment(&log).map(|(base, _)| base)
}

/// Where a file is written before it takes its name.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    with_suffix(path, TEMPORARY_SUFFIX)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_leads_back_to_its_base() {
        let path = segment(Path::new("/d"), Offset(42), Part::TimeIndex);
        assert_eq!(path, Path::new("/d/00000000000000000042.timeindex"));
        let name = path.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        assert_eq!(parse_segment(name), Some((Offset(42), Part::TimeIndex)));
    }

    #[test]
    fn a_swaps_name_leads_back_to_its_segment() {
        let path = swap(Path::new("/d"), Offset(42));
        let name = path.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        assert_eq!(parse_swap(name), Some(Offset(42)));
        assert_eq!(parse_swap("00000000000000000042.seal"), None);
        assert_eq!(parse_swap("42.swap"), None);
    }

    #[test]
    fn other_files_are_no_segments() {
        for name in [
            "identity",
            "42.log",
            "00000000000000000042.log.tmp",
            "00000000000000000042.log.clean",
            "00000000000000000042.swap",
            "x.log",
            ".log",
        ] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
    }
}
