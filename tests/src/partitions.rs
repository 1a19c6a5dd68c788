//! Partitions as `taffrail get partitions -o json` shows them, and as they lie on the disk.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use taffrail_core::internal::{OFFSETS, is_internal};
use taffrail_log::{StdDisk, read_identity};

use crate::{dev::Dev, wait};

/// One partition. The field names are API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Which one.
    pub partition: u32,
    /// The first record still there.
    pub log_start_offset: i64,
    /// Where the next record will be.
    pub log_end_offset: i64,
    /// ONLINE, or why not.
    pub state: String,
    /// For a person.
    pub message: String,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Partition>,
}

/// The partitions of a topic, by number.
///
/// # Panics
/// If the tool fails.
#[track_caller]
pub fn of(dev: &Dev, topic: &str) -> Vec<Partition> {
    let json = dev
        .taffrail(&["get", "partitions", topic, "-o", "json"])
        .expect_success();
    let mut partitions = serde_json::from_str::<Items>(&json)
        .unwrap_or_else(|error| panic!("{error} in {json:?}"))
        .items;
    partitions.sort_by_key(|partition| partition.partition);
    partitions
}

/// The same, once the broker has said of each what became of it. What it said before is from its last run.
///
/// # Panics
/// If the tool fails, or the broker does not report.
#[track_caller]
pub fn after_start(dev: &Dev, topic: &str) -> Vec<Partition> {
    wait::until("the broker's report", wait::PATIENCE, || {
        let partitions = of(dev, topic);
        let reported = partitions.iter().all(|p| p.state != "STARTING");
        reported.then_some(partitions)
    })
}

/// The folders of all partitions with this number, those of internal topics aside.
///
/// # Panics
/// If the data folder, or a partition's identity, cannot be read.
pub fn folders(data_dir: &Path, partition: u32) -> Vec<PathBuf> {
    folders_of(data_dir, partition, |topic| !is_internal(topic))
}

/// The folder of that partition of `__offsets`.
///
/// # Panics
/// If there is none, or what [`folders`] says.
pub fn offsets_folder(data_dir: &Path, partition: u32) -> PathBuf {
    let found = folders_of(data_dir, partition, |topic| topic == OFFSETS);
    found.into_iter().next().expect("the broker has it")
}

fn folders_of(data_dir: &Path, partition: u32, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let suffix = format!("-{partition}");
    let disk = StdDisk::default();
    let is_wanted = |folder: &PathBuf| {
        let identity = read_identity(&disk, folder);
        is_wanted(&identity.expect("a partition").topic_name)
    };
    fs::read_dir(data_dir.join("broker-0/partitions"))
        .expect("the broker has partitions")
        .map(|entry| entry.expect("the entry is readable").path())
        .filter(|path| path.to_string_lossy().ends_with(&suffix))
        .filter(is_wanted)
        .collect()
}

/// Damages a file. A broker may have it open.
///
/// # Panics
/// If it is not that long, or cannot be written.
pub fn flip_a_bit(file: &Path, position: usize) {
    let byte = fs::read(file).expect("the file is readable")[position] ^ 0b0001_0000;
    let file = fs::File::options().write(true).open(file);
    let file = file.expect("the file can be written");
    file.write_all_at(&[byte], position as u64)
        .expect("the file can be written");
}

/// The files of a folder with this extension, in the order of their names.
///
/// # Panics
/// If the folder cannot be read.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is readable")
        .map(|entry| entry.expect("the entry is readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}
