//! Logs that could not be used, and were replaced from another replica or cut by a person: kept as they were until a person removes them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use taffrail_core::TopicPartition;

use super::{parse_partition_dir_name, partition_dir_name};

/// In each directory: why it is here.
const REASON: &str = "reason";

/// A place that nothing has yet. Blocking.
pub(crate) fn place(quarantine: &Path, id: TopicPartition) -> PathBuf {
    let name = partition_dir_name(id);
    let places = (1_u32..).map(|n| quarantine.join(format!("{name}.{n}")));
    let mut free = places.filter(|place| !place.exists());
    free.next().unwrap_or_else(|| quarantine.join(name))
}

/// Says why a directory was moved here. Blocking.
pub(crate) fn explain(place: &Path, reason: &str) -> io::Result<()> {
    if !place.exists() {
        // There was nothing to keep.
        return Ok(());
    }
    fs::write(place.join(REASON), format!("{reason}\n"))
}

/// What is kept of which partition: the newest place, and why. Blocking.
pub(crate) fn kept(quarantine: &Path) -> BTreeMap<TopicPartition, String> {
    let entries = fs::read_dir(quarantine).into_iter().flatten().flatten();
    let places = entries.filter_map(|entry| {
        let name = entry.file_name();
        let (partition, n) = name.to_str()?.rsplit_once('.')?;
        let number: u32 = n.parse().ok()?;
        Some((parse_partition_dir_name(partition)?, number, entry.path()))
    });
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    let notes = places.into_iter().map(|(id, _, path)| {
        let reason = fs::read_to_string(path.join(REASON))
            .unwrap_or_else(|error| format!("why cannot be read: {error}"));
        (id, note(&path, reason.trim_end()))
    });
    notes.collect()
}

/// What people are told of it.
pub(crate) fn note(place: &Path, reason: &str) -> String {
    format!("keeps a damaged log of it in {}: {reason}", place.display())
}

/// How many bytes the files of a directory have; 0 if there is none. Blocking.
///
/// # Errors
/// It cannot be read, or the size of a file cannot: how many bytes there are is not known.
pub(crate) fn size(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex(3),
    };

    #[test]
    fn what_cannot_be_measured_is_an_error_and_not_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let missing = size(&dir.path().join("missing"));
        assert_eq!(missing.expect("there is nothing"), 0);
        let file = dir.path().join("file");
        fs::write(&file, "some").expect("written");
        assert_eq!(size(dir.path()).expect("readable"), 4);
        size(&file).expect_err("it is no directory");
    }

    #[test]
    fn every_log_gets_a_place_of_its_own_and_the_newest_is_told() {
        let dir = tempfile::tempdir().expect("temp dir");
        let quarantine = dir.path().join("quarantine");
        assert_eq!(kept(&quarantine), BTreeMap::new());
        for reason in ["a flipped bit", "another one"] {
            let place = place(&quarantine, ID);
            assert!(!place.exists());
            fs::create_dir_all(&place).expect("made");
            explain(&place, reason).expect("written");
        }
        fs::create_dir(quarantine.join("lost+found")).expect("made");
        let kept = kept(&quarantine);
        assert_eq!(kept.len(), 1);
        let told = &kept[&ID];
        assert!(told.contains("another one"), "{told}");
        assert!(told.contains("-3.2: "), "{told}");
    }
}
