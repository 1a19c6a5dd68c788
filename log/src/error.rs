//! Everything that can go wrong with a log.

use std::{
    io,
    path::{Path, PathBuf},
};

use taffrail_core::{ErrorCode, LeaderEpoch, Offset, PartitionFault};
use thiserror::Error;

/// Why an operation on a log failed.
#[derive(Debug, Error)]
pub enum LogError {
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
    /// No room. Nothing was appended; the log is as it was and goes on when there is room.
    #[error("disk is full: cannot {op} {}; free space or lower the retention", path.display())]
    DiskFull {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// Bytes are not what was written. Nothing was cut.
    #[error("{} is damaged at byte {position}, offset {offset}: {reason}; nothing was cut, restore it from another replica", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// The first offset that cannot be served.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// A small file (identity, checkpoint, epochs, seal) cannot be understood.
    #[error("{} is unreadable: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Written by a newer release.
    #[error("{} has format {found}, this release reads up to {supported}; upgrade the broker", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that is understood.
        supported: u16,
    },
    /// The directory does not say whose it is.
    #[error("{} has no identity file; it is not a complete partition directory", dir.display())]
    NoIdentity {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory was made here, and is gone.
    #[error("{} is gone, though its broker made it and nobody ordered its deletion; restore it from a backup, or give its records up and delete the Topic", dir.display())]
    Lost {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log already.
    #[error("{} already holds a partition", dir.display())]
    AlreadyExists {
        /// The directory.
        dir: PathBuf,
    },
    /// A write or sync failed earlier: what the disk holds is not known. Open the log again to find out.
    #[error("{} is offline since a disk error: {reason}", dir.display())]
    Poisoned {
        /// The directory.
        dir: PathBuf,
        /// The first error.
        reason: String,
    },
    /// No such offset.
    #[error("offset {offset} is out of range, this log has {start} to {end}")]
    OffsetOutOfRange {
        /// Asked for.
        offset: Offset,
        /// The first one there is.
        start: Offset,
        /// The next one to be appended.
        end: Offset,
    },
    /// A leader's batch that does not follow on this log.
    #[error(
        "a batch at offset {offset} of leader epoch {epoch} does not follow on a log that ends at {end} in epoch {last}"
    )]
    NotNext {
        /// Of the batch.
        offset: Offset,
        /// Of the batch.
        epoch: i32,
        /// The log end.
        end: Offset,
        /// Of the batch before.
        last: LeaderEpoch,
    },
    /// An append under an epoch lower than the last one in the log.
    #[error("leader epoch {given} is older than the log's {last}")]
    StaleEpoch {
        /// Of the append.
        given: LeaderEpoch,
        /// Of the last batch.
        last: LeaderEpoch,
    },
}

impl LogError {
    /// The code that a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::StaleEpoch { .. } => ErrorCode::StaleLeaderEpoch,
            Self::NotNext { .. } => ErrorCode::CorruptBatch,
            Self::AlreadyExists { .. } => ErrorCode::Internal,
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Unreadable { .. }
            | Self::NewerFormat { .. }
            | Self::NoIdentity { .. }
            | Self::Lost { .. }
            | Self::Poisoned { .. } => ErrorCode::PartitionOffline,
        }
    }

    /// What this says about the replica; `None`: nothing, it can go on.
    pub fn fault(&self) -> Option<PartitionFault> {
        match self {
            Self::Damaged { .. } | Self::Unreadable { .. } => Some(PartitionFault::Damaged),
            Self::Poisoned { .. } => Some(PartitionFault::Poisoned),
            Self::NewerFormat { .. } => Some(PartitionFault::NewerFormat),
            Self::Io { .. } => Some(PartitionFault::Io),
            Self::NoIdentity { .. } | Self::Lost { .. } => Some(PartitionFault::Lost),
            Self::DiskFull { .. }
            | Self::AlreadyExists { .. }
            | Self::OffsetOutOfRange { .. }
            | Self::NotNext { .. }
            | Self::StaleEpoch { .. } => None,
        }
    }

    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                op,
                path: path.to_owned(),
            },
            _ => Self::Io {
                op,
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Says what was tried on which file.
pub(crate) trait AtPath<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::io(op, path, source))
    }
}
