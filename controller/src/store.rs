//! Where metadata is kept: a few objects, each replaced whole by compare-and-swap.

mod codec;
mod file;
mod memory;

use std::{fmt, io, path::PathBuf};

use futures::future::BoxFuture;
use taffrail_api::v1;
use thiserror::Error;

pub use file::FileStore;
pub use memory::{Fault, MemoryStore};

/// What a store says an object's content is at. Opaque: only equality counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value with the version it was read at.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// Expected by the next put.
    pub version: Version,
    /// What is stored.
    pub value: T,
}

/// Everything in a store. Empty: a new cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The root, if there is one.
    pub root: Option<Versioned<v1::ClusterMetadata>>,
    /// All maps, listed by the root or not, in any order.
    pub maps: Vec<Versioned<v1::PartitionMap>>,
    /// All brokers, in any order.
    pub brokers: Vec<Versioned<v1::StoredBroker>>,
}

/// Names an object of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// The root.
    Root,
    /// A map, by its name.
    Map(String),
    /// A broker, by its number.
    Broker(u32),
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the root"),
            Self::Map(name) => write!(f, "partition map {name}"),
            Self::Broker(number) => write!(f, "broker {number}"),
        }
    }
}

/// The cause of an error that is foreign to this crate.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store did not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The object is not at the expected version: nothing was written.
    #[error("{object} was changed by another writer")]
    Conflict {
        /// Which one.
        object: ObjectName,
    },
    /// Written or not: read it again before the next decision.
    #[error("whether {object} was written is not known: {cause}")]
    Unknown {
        /// Which one.
        object: ObjectName,
        /// Such as a time-out, or a failed fsync.
        cause: Cause,
    },
    /// The store cannot be reached just now: nothing was written.
    #[error("the metadata store cannot be reached: {0}")]
    Unavailable(Cause),
    /// The store refuses the value, or this process: nothing was written, and trying again does not help.
    #[error("the metadata store refuses {object}: {cause}")]
    Refused {
        /// Which one.
        object: ObjectName,
        /// Its reason.
        cause: Cause,
    },
    /// What is stored is not what was written.
    #[error("{} is not readable: {reason}; restore it from a backup, or move it away if it is not needed", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer version.
    #[error("{} has format version {found}, this version reads up to {supported}; run the version that wrote it", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; stop that one first", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `read`.
        operation: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

impl StoreError {
    /// Will reading the store again tell what to do next?
    pub(crate) const fn is_resolved_by_reading(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Unknown { .. })
    }
}

/// A place for metadata that several processes can share safely: every put is a compare-and-swap.
///
/// `expected` is the version last read or written; `None` means that the object must not exist. A put that answers is durable.
pub trait Store: Send + Sync + 'static {
    /// Everything, read so that it is not older than any put answered before (with quorum).
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Replaces the root.
    fn put_root<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::ClusterMetadata,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// Replaces the map `value.name`.
    fn put_map<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::PartitionMap,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// Replaces the broker `value.number`.
    fn put_broker<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::StoredBroker,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;
}
