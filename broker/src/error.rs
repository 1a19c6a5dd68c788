//! Why a broker does not start, or must not go on.

use std::{io, net::SocketAddr, path::PathBuf};

use taffrail_api::WireError;
use taffrail_core::ErrorCode;
use taffrail_log::LogError;
use thiserror::Error;

/// Why a broker does not start, or must not go on.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// A setting makes no sense.
    #[error("configuration: {reason}")]
    Config {
        /// Which, and what to do.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another broker running?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("{} is in use by another broker process; stop it, or use another data directory", dir.display())]
    DataDirInUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of the data directory is not what was written. It is never silently replaced.
    #[error("{} is unreadable: {reason}; restore it from a backup, or start with an empty data directory to rejoin as a new broker", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer release wrote the data directory.
    #[error("{} has format {found}, this release reads up to {supported}; start the release that wrote it or a newer one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version understood.
        supported: u32,
    },
    /// A partition in the data directory belongs to another cluster.
    #[error("{} belongs to cluster {found}, this data directory to {expected}; move it to where it came from", path.display())]
    ForeignPartition {
        /// Its directory.
        path: PathBuf,
        /// The cluster its identity names.
        found: String,
        /// The cluster of the data directory.
        expected: String,
    },
    /// The controller refused this broker for good.
    #[error("the controller refused this broker, {0}")]
    Refused(WireError),
    /// A log operation failed where the broker cannot do without.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread that writes or syncs panicked: nothing is stored any more.
    #[error(
        "a disk thread panicked, the log says where; start the broker again, it recovers what was not closed"
    )]
    DiskThread,
    /// The system gave no thread, or nothing else that a process needs.
    #[error(
        "cannot {what}: {source}; look at the limits of processes and memory (ulimit -u, pids.max of the cgroup)"
    )]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A server failed.
    #[error("serving: {0}")]
    Serve(String),
}

impl BrokerError {
    pub(crate) const fn config(reason: String) -> Self {
        Self::Config { reason }
    }

    /// The stable code, for exit messages and tests.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ForeignPartition { .. } => ErrorCode::ForeignCluster,
            Self::NewerFormat { .. } => ErrorCode::UnsupportedVersion,
            Self::Refused(error) => error.code,
            Self::Log(error) => error.code(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorCode::DiskFull
            }
            Self::Io { .. } | Self::Unreadable { .. } => ErrorCode::StorageError,
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                ErrorCode::AddressInUse
            }
            // Not an address of this machine, or not for this user.
            Self::Config { .. } | Self::Listen { .. } => ErrorCode::InvalidRequest,
            Self::DataDirInUse { .. } => ErrorCode::DataInUse,
            Self::System { .. } => ErrorCode::ResourceExhausted,
            Self::DiskThread | Self::Serve(_) => ErrorCode::Internal,
        }
    }
}
