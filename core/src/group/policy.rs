//! What a ConsumerGroup declares: policy, never membership.

use super::{
    assignor::AssignmentStrategy,
    member::{Profile, Subscription},
};

/// When offsets are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// After processing: a crash repeats.
    AtLeastOnce,
    /// Before processing: a crash loses.
    AtMostOnce,
}

/// Where a partition begins of which nothing is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// The first record there is.
    Earliest,
    /// The next record to come.
    Latest,
    /// The first record that was appended then or later, milliseconds since the epoch.
    Timestamp(i64),
}

/// What to do if the committed offset is not there (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfRange {
    /// The partition waits for somebody to decide.
    Stop,
    /// Go on with the first record there is.
    Earliest,
    /// Go on with the next record to come.
    Latest,
}

/// What holds for all members of a group. `None`: as each member says, or the broker's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupPolicy {
    /// Members read of these only, and all of them if they name none themselves. Empty: what members say.
    pub subscription: Subscription,
    /// Who reads what.
    pub strategy: AssignmentStrategy,
    /// Of partitions that are as good otherwise a member gets those whose leader is in its rack.
    pub rack_aware: Option<bool>,
    /// Not heard of for this long, a member is given up.
    pub session_timeout_ms: Option<u64>,
    /// When offsets are committed.
    pub delivery: Option<Delivery>,
    /// Where partitions begin.
    pub start_from: Option<StartFrom>,
    /// What to do if the committed offset is gone.
    pub out_of_range: Option<OutOfRange>,
    /// Offsets of a group that nobody was in for this long are forgotten.
    pub offset_retention_ms: Option<u64>,
}

impl GroupPolicy {
    /// Not heard of for this long, the member is given up.
    pub(super) fn session_timeout_ms(&self, member: &Profile) -> u64 {
        self.session_timeout_ms.unwrap_or(member.session_timeout_ms)
    }

    /// Where racks count, the member's.
    pub(super) fn rack(&self, member: &Profile) -> Option<String> {
        let counts = self.rack_aware != Some(false);
        member.rack.clone().filter(|_| counts)
    }

    /// Does it say the same to members?
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.delivery == other.delivery
            && self.start_from == other.start_from
            && self.out_of_range == other.out_of_range
    }
}
