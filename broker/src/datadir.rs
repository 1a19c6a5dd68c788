//! The data directory: who this broker is, what it was last told, and its partitions.
//!
//! ```text
//! <data>/lock        held while a broker runs
//! <data>/identity    cluster, broker UUID, incarnations
//! <data>/metadata    the newest metadata and the highest stamp of a controller
//! <data>/roster      the partitions that were made here and not deleted by order
//! <data>/boot        the run of the kernel, and replicas that a power cut may have taken records of
//! <data>/ballast     room for deletes and metadata on a full disk
//! <data>/partitions/<topic id>-<partition>/
//! <data>/quarantine/<topic id>-<partition>.<n>/  logs that could not be used and were replaced from another replica
//! ```

pub(crate) mod ballast;
pub(crate) mod boot;
mod framed;
pub(crate) mod identity;
pub(crate) mod metadata_file;
pub(crate) mod quarantine;
pub(crate) mod roster;
pub(crate) mod scan;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use taffrail_core::{TopicPartition, ids::ParseIdError};

use crate::error::BrokerError;

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if there is none, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, BrokerError> {
        let partitions = path.join("partitions");
        fs::create_dir_all(&partitions).map_err(io_error("create", &partitions))?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            if e == rustix::io::Errno::WOULDBLOCK {
                BrokerError::DataDirInUse {
                    dir: path.to_owned(),
                }
            } else {
                io_error("lock", &lock_path)(e.into())
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn partitions(&self) -> PathBuf {
        self.path.join("partitions")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// The directories of partitions that there are.
    pub(crate) fn partition_dirs(&self) -> Result<Vec<(TopicPartition, PathBuf)>, BrokerError> {
        let partitions = self.partitions();
        let mut paths = Vec::new();
        for entry in fs::read_dir(&partitions).map_err(io_error("list", &partitions))? {
            let path = entry.map_err(io_error("list", &partitions))?.path();
            let name = path.file_name().and_then(|n| n.to_str());
            if let Some(id) = name.and_then(parse_partition_dir_name) {
                paths.push((id, path));
            } else {
                tracing::warn!(path = %path.display(), "not a partition directory; left alone");
            }
        }
        Ok(paths)
    }

    /// A file that is written before the first partition is made is missing: fine in a new directory, and an error in any other. Whoever has
    /// partitions and does not know who it is, or what it was told, would take part as somebody else.
    fn missing(&self, path: &Path) -> Result<(), BrokerError> {
        match self.partition_dirs()?.first() {
            None => Ok(()),
            Some((_, partition)) => Err(BrokerError::Unreadable {
                path: path.to_owned(),
                reason: format!(
                    "it is missing, and there are partitions, such as {}",
                    partition.display()
                ),
            }),
        }
    }

    pub(crate) fn partition(&self, id: TopicPartition) -> PathBuf {
        self.partitions().join(partition_dir_name(id))
    }
}

/// `<topic id>-<partition>`.
pub(crate) fn partition_dir_name(id: TopicPartition) -> String {
    format!("{}-{}", id.topic, id.partition)
}

/// Back again; `None` if it is no such name.
pub(crate) fn parse_partition_dir_name(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let topic: Result<_, ParseIdError> = topic.parse();
    Some(TopicPartition {
        topic: topic.ok()?,
        partition: taffrail_core::PartitionIndex(partition.parse().ok()?),
    })
}

pub(crate) fn io_error(
    op: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> BrokerError {
    let path = path.to_owned();
    move |source| BrokerError::Io { op, path, source }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_partition_directory_is_found_by_its_name() {
        let id = TopicPartition {
            topic: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(12),
        };
        assert_eq!(parse_partition_dir_name(&partition_dir_name(id)), Some(id));
        assert_eq!(parse_partition_dir_name("lost+found"), None);
    }

    #[test]
    fn a_second_broker_on_the_directory_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let _first = DataDir::open(dir.path()).expect("free");
        let error = DataDir::open(dir.path()).expect_err("locked");
        assert!(
            error.to_string().contains("in use by another broker"),
            "{error}"
        );
    }
}
