//! Whose directory this is.

use std::path::Path;

use taffrail_core::{ClusterId, PartitionIndex, TopicId};

use crate::{
    disk::Disk,
    error::LogError,
    frame::{self, Fields, Kind},
    names,
};

const KIND: Kind = Kind {
    tag: *b"iden",
    version: 1,
};

/// Written once, when the directory is complete; a directory without it is not a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionIdentity {
    /// The cluster that the data belongs to.
    pub cluster: ClusterId,
    /// The topic.
    pub topic: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
    /// The topic's name when the directory was made, for people.
    pub topic_name: String,
}

impl PartitionIdentity {
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let mut payload = Vec::with_capacity(40 + self.topic_name.len());
        payload.extend_from_slice(self.cluster.as_bytes());
        payload.extend_from_slice(self.topic.as_bytes());
        payload.extend_from_slice(&self.partition.0.to_be_bytes());
        payload.extend_from_slice(&(self.topic_name.len() as u16).to_be_bytes());
        payload.extend_from_slice(self.topic_name.as_bytes());
        frame::replace(disk, &dir.join(names::IDENTITY), KIND, &payload)
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let identity = Self {
            cluster: ClusterId::from_bytes(fields.array()?),
            topic: TopicId::from_bytes(fields.array()?),
            partition: PartitionIndex(fields.u32()?),
            topic_name: {
                let length = fields.u16()?;
                str::from_utf8(fields.slice(usize::from(length))?)
                    .ok()?
                    .to_owned()
            },
        };
        fields.end()?;
        Some(identity)
    }
}

/// Reads a partition directory's identity.
///
/// # Errors
/// [`LogError::NoIdentity`] if there is none (the directory was never completed), [`LogError::Unreadable`] or [`LogError::NewerFormat`] if
/// it cannot be understood.
pub fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<PartitionIdentity, LogError> {
    let path = dir.join(names::IDENTITY);
    let payload = frame::read(disk, &path, KIND)?.ok_or_else(|| LogError::NoIdentity {
        dir: dir.to_owned(),
    })?;
    PartitionIdentity::parse(&payload).ok_or(LogError::Unreadable {
        path,
        reason: "its fields are wrong",
    })
}
