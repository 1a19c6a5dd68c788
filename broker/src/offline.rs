//! The data directory of a broker that does not run, for tools.

use std::path::{Path, PathBuf};

use crate::{
    datadir::{DataDir, parse_partition_dir_name, quarantine},
    error::BrokerError,
};

/// A data directory on which no broker starts for as long as this lives.
#[derive(Debug)]
pub struct StoppedBroker(DataDir);

impl StoppedBroker {
    /// Of the broker that has the partition directory `dir`: `<data>/partitions/<topic id>-<partition>`. `None` if that is none. Blocking.
    ///
    /// # Errors
    /// A broker runs on it; the system's.
    pub fn of_partition(dir: &Path) -> Result<Option<Self>, BrokerError> {
        let name = dir.file_name().and_then(|name| name.to_str());
        let parent = dir.parent().filter(|parent| parent.ends_with("partitions"));
        match (name.and_then(parse_partition_dir_name), parent) {
            (Some(_), Some(parent)) => {
                let data = parent.parent().unwrap_or(parent);
                DataDir::open(data).map(|dir| Some(Self(dir)))
            }
            _ => Ok(None),
        }
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A place that nothing has yet, for what is damaged in the partition directory `dir` of this broker. `None` if that is none. Blocking.
    pub fn quarantine(&self, dir: &Path) -> Option<PathBuf> {
        let id = parse_partition_dir_name(dir.file_name()?.to_str()?)?;
        Some(quarantine::place(&self.0.quarantine(), id))
    }

    /// Says in a place in quarantine why it is there: the broker tells it, too. Blocking.
    ///
    /// # Errors
    /// The system's.
    pub fn explain(place: &Path, reason: &str) -> std::io::Result<()> {
        quarantine::explain(place, reason)
    }
}
