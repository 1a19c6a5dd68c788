//! How sure whoever decides can be that the store is not old: a record that was written over an older one must not look newer than what is in
//! force.
//!
//! Whoever leads an epoch knows every change of it that counts, and what is acknowledged in an epoch is on so many replicas as know of the
//! epoch. So enough replicas, the leader among them, know every record under which anything was acknowledged. There may be later ones that only
//! brokers know that have not been heard: elections whose outcome nobody else followed. New epochs leap over those, each controller to a place of its own.

use super::{
    election::{Election, Report, Wait},
    epochs::LogTail,
};
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, LeaderEpoch, PartitionEpoch},
};

/// So many epochs may have begun one after the other that only brokers know that have not been heard.
const UNHEARD_EPOCHS_MAX: u32 = 1 << 10;
/// Leaps are longer than that by up to so many: 2^31 epochs are enough for 60,000 of them.
const PLACES: u64 = 1 << 16;

/// How far new epochs leap. An unheard one may itself have leapt from the same record, by a controller whose store has gone back since: were all leaps of
/// one length, two leaders would have one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap(u32);

impl Leap {
    /// By a number that is drawn for each term of a controller.
    pub const fn drawn(random: u64) -> Self {
        Self(UNHEARD_EPOCHS_MAX + (random % PLACES) as u32)
    }
}

impl Default for Leap {
    fn default() -> Self {
        Self::drawn(0)
    }
}

/// What the replicas that were heard rule out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Too few have spoken, or one of them knows more than the store: no epoch may be raised but by [`Election::decide`].
    Nothing,
    /// Nothing was acknowledged under a later record than the store's.
    Acknowledged,
    /// Nobody can know a later record than the store's.
    Everything,
}

impl<'a> Election<'a> {
    /// How sure is it that the stored record is the latest?
    pub fn certainty(&self) -> Certainty {
        let Some((stored, best)) = self.stored.zip(self.best_record()) else {
            return Certainty::Nothing;
        };
        let is_leader_heard = stored.leader.is_none_or(|leader| self.is_heard(leader));
        if self.is_in_doubt(best) {
            Certainty::Nothing
        } else if self.is_latest(best) {
            Certainty::Everything
        } else if is_leader_heard && self.check_heard(best).is_ok() {
            Certainty::Acknowledged
        } else {
            Certainty::Nothing
        }
    }

    /// The version after a change that is no election and leaves the leader who it is; above all that anybody can have seen. `None`: it has to wait.
    /// Where only brokers that are away could know more, the leader begins a new epoch: so it has to be there.
    pub fn next_change(&self) -> Option<(LeaderEpoch, PartitionEpoch)> {
        let stored = self.stored?;
        match self.certainty() {
            Certainty::Everything => {
                let (leader_epoch, partition_epoch) = stored.version();
                Some((leader_epoch, PartitionEpoch(partition_epoch.0 + 1)))
            }
            Certainty::Acknowledged if self.is_led(stored) => Some(self.next_version(stored)),
            Certainty::Acknowledged | Certainty::Nothing => None,
        }
    }

    /// Does a broker know more than the store, or is there something of which the store has no record?
    pub fn is_doubted(&self) -> bool {
        self.best_record()
            .is_some_and(|best| self.is_in_doubt(best))
    }

    /// The newest assignment over store and brokers.
    pub fn best_record(&self) -> Option<&'a Assignment> {
        let seen = self.reports.iter().filter_map(|report| report.record);
        // The last of equals wins: the store's.
        seen.chain(self.stored)
            .max_by_key(|record| record.version())
    }

    /// Does a broker know more than the store? Or has it records of an epoch that no assignment has?
    pub(super) fn is_in_doubt(&self, best: &Assignment) -> bool {
        let is_newer = self.stored.map(Assignment::version) < Some(best.version());
        let mut last = self.reports.iter().map(|report| report.tail.last_epoch);
        is_newer || last.any(|epoch| epoch > Some(best.leader_epoch))
    }

    /// Any so many replicas include a member of every in-sync set that could commit, which would know if the store were old.
    pub(super) fn check_heard(&self, best: &Assignment) -> Result<(), Wait> {
        let heard = self.of(&best.replicas).count();
        let needed = best.replicas.len() + 1 - self.min_in_sync.min(best.replicas.len());
        if heard < needed {
            return Err(Wait::Reports { heard, needed });
        }
        Ok(())
    }

    /// Members of the in-sync set of an epoch know of it, but of its last changes perhaps only its leader does. While that one has not been heard, a
    /// member of the stored set may have left it since: whoever has all that any other member has, has what was acknowledged.
    pub(super) fn may_have_left(&self, best: &Assignment, end: LogTail) -> bool {
        let is_leader_heard = best.leader.is_none_or(|leader| self.is_heard(leader));
        let has_more = |report: &Report<'_>| report.tail > end;
        !is_leader_heard && self.of(&best.isr).any(has_more)
    }

    /// Above all that anybody has seen, also among those that have not been heard.
    pub(super) fn next_version(&self, best: &Assignment) -> (LeaderEpoch, PartitionEpoch) {
        let mut version = best.version();
        for report in self.reports {
            let seen = report.record.map(Assignment::version).unwrap_or_default();
            let last = report.tail.last_epoch.unwrap_or_default();
            version.0 = version.0.max(seen.0).max(last);
            version.1 = version.1.max(seen.1);
        }
        let stored = self.stored.map(Assignment::version).unwrap_or_default();
        let step = if self.is_latest(best) { 1 } else { self.leap.0 };
        (
            LeaderEpoch(version.0.max(stored.0).0 + step),
            PartitionEpoch(version.1.max(stored.1).0 + u64::from(step)),
        )
    }

    /// Is nobody left who could know a later record than `best`?
    fn is_latest(&self, best: &Assignment) -> bool {
        let mut replicas = self.stored.into_iter().chain([best]);
        self.is_raised || replicas.all(|r| r.replicas.iter().all(|b| self.is_heard(*b)))
    }

    /// Has it a leader, which runs as the record says, or none?
    fn is_led(&self, stored: &Assignment) -> bool {
        let leads = |r: &Report<'_>| r.is_alive && stored.is_led_by(r.broker, r.incarnation);
        stored.leader.is_none() || self.reports.iter().any(leads)
    }

    fn is_heard(&self, broker: BrokerNumber) -> bool {
        self.reports.iter().any(|r| r.broker == broker)
    }
}
