//! What happens to a member of a group, in order.

use std::sync::Arc;

use taffrail_core::{Offset, PartitionIndex};

use crate::consumer::ConsumedBatch;

/// What [`Group::next`](super::Group::next) returns: batches, and in between what changed.
#[derive(Debug)]
pub enum GroupEvent {
    /// Records to be processed.
    Batch(ConsumedBatch),
    /// The member has these partitions in addition, none if only some went. Each is [`GroupEvent::Started`] when it is known where it begins.
    Assigned(Vec<GroupPartition>),
    /// The partition is read from here.
    Started {
        /// Which one.
        partition: GroupPartition,
        /// The next record that is handed out, or the first one after it that is there.
        offset: Offset,
    },
    /// These partitions go to others. It is the last chance to commit what was processed of them: they are given up when the application asks for the next event.
    Revoked(Vec<GroupPartition>),
    /// These partitions are lost, and with them what was processed since the last commit: others have them, or will have them soon. The member joins again by itself
    /// and begins where was committed.
    Lost {
        /// Which ones.
        partitions: Vec<GroupPartition>,
        /// Why.
        why: Loss,
    },
    /// What was to be read next is not there (any more). Reading went on as the group's [`OutOfRange`](super::OutOfRange) says.
    OutOfRange {
        /// Where.
        partition: GroupPartition,
        /// What was to be read.
        wanted: Offset,
        /// Where reading goes on. If it is higher, what lies between was not read by this group.
        resumed: Offset,
    },
}

/// A partition, by its topic's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Which one.
    pub partition: PartitionIndex,
}

/// Why a member lost its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The coordinator did not answer for so long that it may have given them to others.
    NotAnswered,
    /// The coordinator does not know the member any more.
    Forgotten,
    /// The application did not ask for the next event within the group's `poll_interval_max`.
    TooSlow,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAnswered => "the coordinator did not answer in time",
            Self::Forgotten => "the coordinator does not know the member any more",
            Self::TooSlow => "the application did not ask for the next event in time",
        })
    }
}
