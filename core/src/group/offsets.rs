//! How far a group has read.

use std::collections::BTreeMap;

use super::membership::{Group, Refusal};
use crate::{
    ids::{GroupEpoch, MemberId, Offset, TopicPartition},
    replica::{Mutant, is_broken},
};

/// How far a partition was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next one to read.
    pub offset: Offset,
    /// The member's own note.
    pub metadata: String,
    /// By the coordinator's clock, milliseconds since the epoch.
    pub at_ms: u64,
}

/// By partition.
pub(super) type Offsets = BTreeMap<TopicPartition, Committed>;

/// Who commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// A member, that carries out this assignment.
    Member(MemberId, GroupEpoch),
    /// Somebody from outside, of a group without members.
    Outside,
}

impl Group {
    /// Takes over how far a partition was read. The caller stores it.
    ///
    /// # Errors
    /// [`Refusal::UnknownMember`], [`Refusal::NotAssigned`] (also for a partition whose offset was reset after the member's assignment),
    /// [`Refusal::HasMembers`].
    pub fn commit(
        &mut self,
        by: Commit,
        partition: TopicPartition,
        committed: Committed,
    ) -> Result<(), Refusal> {
        match by {
            Commit::Outside if self.members.is_empty() => {}
            Commit::Outside => return Err(Refusal::HasMembers),
            Commit::Member(id, epoch) => {
                let member = self.members.get(&id).ok_or(Refusal::UnknownMember)?;
                if epoch > member.epoch {
                    return Err(Refusal::UnknownMember);
                }
                let held = member.held.get(&partition);
                let is_any = is_broken(Mutant::CommitEpochIgnored);
                if held.is_none_or(|held| held.since > epoch && !is_any) {
                    return Err(Refusal::NotAssigned);
                }
            }
        }
        self.offsets.insert(partition, committed);
        Ok(())
    }

    /// Sets committed offsets, whoever reads: commits of earlier assignments are refused from now on, and members that have one of the partitions
    /// get a new assignment that says where to go on. The caller stores both.
    pub fn reset(&mut self, offsets: impl IntoIterator<Item = (TopicPartition, Committed)>) {
        let next = GroupEpoch(self.epoch.0 + 1);
        let reset: Offsets = offsets.into_iter().collect();
        for member in self.members.values_mut() {
            let mut held = member
                .held
                .iter_mut()
                .filter(|(p, _)| reset.contains_key(p));
            let mut is_held = false;
            for (_, held) in &mut held {
                held.since = next;
                is_held = true;
            }
            if is_held {
                member.epoch = next;
                self.epoch = next;
                self.is_changed = true;
            }
        }
        self.offsets.extend(reset);
    }

    /// How far a partition was read.
    pub fn committed(&self, partition: TopicPartition) -> Option<&Committed> {
        self.offsets.get(&partition)
    }

    /// All of them.
    pub fn offsets(&self) -> impl ExactSizeIterator<Item = (TopicPartition, &Committed)> {
        self.offsets.iter().map(|(partition, c)| (*partition, c))
    }

    /// How long its offsets are kept without members, where the default is `retention_ms`.
    pub fn offset_retention_ms(&self, retention_ms: u64) -> u64 {
        self.policy.offset_retention_ms.unwrap_or(retention_ms)
    }

    /// Has nobody been in it for so long that its offsets may go? So long is what its policy says, or else `retention_ms`.
    pub fn is_dead(&self, wall_ms: u64, retention_ms: u64) -> bool {
        let retention_ms = self.offset_retention_ms(retention_ms);
        let commits = self.offsets.values().map(|c| c.at_ms);
        let last_ms = commits.max().unwrap_or(0).max(self.empty_since_ms);
        self.members.is_empty() && wall_ms.saturating_sub(last_ms) >= retention_ms
    }

    /// Is there anything to know of it?
    pub fn exists(&self) -> bool {
        !self.members.is_empty() || !self.offsets.is_empty()
    }
}
