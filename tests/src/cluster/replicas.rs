//! The bytes of all replicas, side by side.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_log::{StdDisk, inspect, read_identity};

use super::Cluster;
use crate::wait;

/// The batches of one replica, by base offset.
type Batches = BTreeMap<u64, Vec<u8>>;

impl Cluster {
    /// Checks that every replica of the topic is there, and that below the high watermark they hold the same bytes. All replicas have to be in sync, and
    /// nothing may be written any more.
    ///
    /// # Panics
    /// If a replica differs, is damaged or is not there.
    pub async fn check_replicas(&self, topic: &str) {
        for status in self.metadata().known_partitions(topic).await {
            let mut holders = Vec::new();
            for number in &status.replicas {
                holders.push(self.metadata().index_of(*number).await);
            }
            let replicas: Vec<Batches> = holders
                .iter()
                .map(|&index| {
                    below(
                        batches(&self.volume(index), topic, status.partition),
                        status.high_watermark as u64,
                    )
                })
                .collect();
            let name = format!("{topic}/{}", status.partition);
            assert!(!replicas[0].is_empty(), "{name} holds nothing");
            for (index, replica) in holders.iter().zip(&replicas) {
                let differs = first_difference(&replicas[0], replica);
                assert_eq!(
                    differs, None,
                    "{name} differs between broker-{} and broker-{index} from this offset on",
                    holders[0]
                );
            }
        }
    }

    /// Where a broker has a partition.
    ///
    /// # Panics
    /// If it has it nowhere.
    pub fn folder(&self, index: usize, topic: &str, partition: u32) -> PathBuf {
        let found = folder(&self.volume(index), topic, partition);
        found.unwrap_or_else(|| panic!("broker-{index} has no {topic}/{partition}"))
    }

    /// Waits until a broker has no folder of this partition any more.
    ///
    /// # Panics
    /// If it stays.
    pub fn until_deleted(&self, index: usize, topic: &str, partition: u32) {
        let what = format!("the end of {topic}/{partition} on broker-{index}");
        wait::until(&what, wait::PATIENCE, || {
            let found = folder(&self.volume(index), topic, partition);
            found.is_none().then_some(())
        });
    }
}

fn below(mut batches: Batches, high_watermark: u64) -> Batches {
    batches.split_off(&high_watermark);
    batches
}

/// Base offset of the first batch that is not the same in both.
fn first_difference(one: &Batches, other: &Batches) -> Option<u64> {
    let mut offsets: Vec<&u64> = one.keys().chain(other.keys()).collect();
    offsets.sort_unstable();
    let mut different = offsets
        .into_iter()
        .filter(|at| one.get(at) != other.get(at));
    different.next().copied()
}

/// Where a volume has a partition, if it has it.
pub(super) fn folder(volume: &Path, topic: &str, partition: u32) -> Option<PathBuf> {
    let disk = StdDisk::default();
    let folders = fs::read_dir(volume.join("partitions")).expect("the volume is readable");
    let mut folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    folders.find(|folder| {
        read_identity(&disk, folder)
            .is_ok_and(|found| found.topic_name == topic && found.partition.0 == partition)
    })
}

fn batches(volume: &Path, topic: &str, partition: u32) -> Batches {
    let found = folder(volume, topic, partition);
    let folder = found.unwrap_or_else(|| panic!("{} lacks {topic}/{partition}", volume.display()));
    let mut all = Batches::new();
    for base in inspect::segments(&StdDisk::default(), &folder).expect("the folder is readable") {
        let batches = inspect::batches(Arc::new(StdDisk::default()), &folder, base);
        for batch in batches.expect("the segment is readable") {
            let batch = batch.unwrap_or_else(|error| panic!("{error}"));
            all.insert(batch.header.base_offset.0, batch.bytes.to_vec());
        }
    }
    all
}
