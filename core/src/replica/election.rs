//! Who may lead next: a pure function of what is persisted, what brokers reported, and what the topic allows.

use std::cmp::Reverse;

use super::{
    certainty::Leap,
    eligibility::Standing,
    epochs::LogTail,
    invariants,
    mutant::{Broken, Mutant},
};
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation, Offset},
};

/// What a broker said of its replica to this controller, when it registered or since.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Whose.
    pub broker: BrokerNumber,
    /// The run of it that registered, or is just registering.
    pub incarnation: Incarnation,
    /// Its session is open.
    pub is_alive: bool,
    /// What the replica is worth.
    pub standing: Standing,
    /// A leader reported that this run has caught up, or it has been running since before.
    pub is_confirmed: bool,
    /// How far its log goes durably, or went when it last said so.
    pub tail: LogTail,
    /// It was said since the leader is lost for good: under the epoch in which nobody leads. Only then does it show whatever was
    /// acknowledged. Where a run is not confirmed, nobody is elected on older reports.
    pub is_fresh: bool,
    /// The highest it knows.
    pub high_watermark: Offset,
    /// The newest assignment that it saw; `None` if it never saw one.
    pub record: Option<&'a Assignment>,
}

/// Everything that an election depends on.
#[derive(Debug, Clone, Copy)]
pub struct Election<'a> {
    /// In the store; `None` if it vanished from there.
    pub stored: Option<&'a Assignment>,
    /// One of each replica that has been heard by this controller, whether it is there now or not.
    pub reports: &'a [Report<'a>],
    /// The topic's.
    pub min_in_sync: usize,
    /// May not win: it is suspected, or hands its leadership over.
    pub except: Option<BrokerNumber>,
    /// The topic allows unclean elections, or a human accepted the loss of this partition's records.
    pub loss_accepted: bool,
    /// Whoever decides has raised the leader epoch before, after it had heard enough: no broker knows a later one that was not heard yet.
    pub is_raised: bool,
    /// Of this term.
    pub leap: Leap,
}

/// The assignment to be written, by compare-and-swap, before anybody hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    /// With a leader, and with epochs above all that anybody has seen.
    pub assignment: Assignment,
    /// Records may be lost by it: to be reported.
    pub may_lack: Option<MayLack>,
}

/// What the new leader may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MayLack {
    /// The end of its log.
    pub from: Offset,
    /// The furthest that anybody is known to have had. There may have been more that nobody heard of.
    pub known_to: Offset,
}

/// Why there is no leader yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Too few replicas have reported to know that the store is not old.
    Reports {
        /// So many did.
        heard: usize,
        /// So many have to.
        needed: usize,
    },
    /// A broker knows a newer assignment than the store: every member of the best record's in-sync set has to report.
    Doubt,
    /// No member of the in-sync set is there that is known to have everything.
    Candidate,
}

impl<'a> Election<'a> {
    /// Elects a leader, or says what it takes.
    ///
    /// The winner is a member of the in-sync set, there, whole, and the one with the greatest tail. A member whose run is not
    /// confirmed may win only when every other one is there, unconfirmed as well, and reported nothing greater: its volume might be
    /// a copy from before it had what is committed. If there are fewer members than `min_in_sync`, as after the loss of a volume, the other
    /// replicas are asked. While the last leader has not been heard, nobody wins who has less than another member: who left the set last is
    /// known for sure only there.
    ///
    /// Where the last member stopped uncleanly, or every one did, nobody is in sync for sure: all replicas have to be there, and the
    /// longest log wins.
    ///
    /// # Errors
    /// [`Wait`]. Ask again when somebody reports.
    pub fn decide(&self) -> Result<Elected, Wait> {
        self.decide_broken(Broken::default())
    }

    pub(super) fn decide_broken(&self, broken: Broken) -> Result<Elected, Wait> {
        let best = self.best_record().ok_or(Wait::Doubt)?;
        let in_doubt = self.is_in_doubt(best);
        let everybody = best.isr.iter().all(|m| self.is_there(*m));
        if !self.loss_accepted {
            if in_doubt && !everybody && !broken.is(Mutant::RolledBackMapTrusted) {
                return Err(Wait::Doubt);
            }
            if !broken.is(Mutant::ElectedBeforeReports) {
                self.check_heard(best)?;
            }
        }
        let members = self.of(&best.isr);
        let whole = members.filter(|r| self.may_win(r) && r.standing == Standing::Whole);
        let electable = whole.filter(|r| {
            if best.is_unclean {
                return false;
            }
            let is_sure = in_doubt || Self::is_confirmed(best, r) || self.outdoes_others(best, r);
            (is_sure || broken.is(Mutant::UnconfirmedElected)) && !self.may_have_left(best, r.tail)
        });
        let anybody = self
            .of(&best.replicas)
            .filter(|r| self.may_win(r) && broken.is(Mutant::ElectOutsideIsr));
        if let Some(winner) = greatest(best, electable.chain(anybody)) {
            let isr = self.remaining(best, winner.broker);
            return Ok(self.elected(best, winner, isr, None));
        }
        let winner = if self.may_recover(best) {
            greatest(best, self.of(&best.replicas))
        } else if self.loss_accepted {
            let usable = |r: &&Report<'_>| self.may_win(r) && r.standing != Standing::Unusable;
            greatest(best, self.of(&best.replicas).filter(usable))
        } else {
            None
        };
        let winner = winner.ok_or(Wait::Candidate)?;
        let ends = self
            .reports
            .iter()
            .map(|r| r.tail.end.max(r.high_watermark));
        let may_lack = MayLack {
            from: winner.tail.end,
            known_to: ends.fold(winner.tail.end, Offset::max),
        };
        Ok(self.elected(best, winner, vec![winner.broker], Some(may_lack)))
    }

    /// The best record without a leader, under epochs above all that anybody has seen: nothing is acknowledged under the former ones
    /// once brokers report under these. `None` if there is no record.
    pub fn vacated(&self) -> Option<Assignment> {
        let best = self.best_record()?;
        let (leader_epoch, partition_epoch) = self.next_version(best);
        Some(Assignment {
            leader: None,
            leader_incarnation: Incarnation::default(),
            leader_epoch,
            partition_epoch,
            ..best.clone()
        })
    }

    /// Every member may have lost its page cache. Those that stopped uncleanly leave the in-sync set one after the other, and one that
    /// left may have synced what the last one lost: so all replicas are compared.
    fn may_recover(&self, best: &Assignment) -> bool {
        let mut members = self.of(&best.isr);
        let is_unclean = best.is_unclean || members.any(|r| r.standing == Standing::MayLack);
        let is_usable = |r: &Report<'_>| self.may_win(r) && r.standing != Standing::Unusable;
        is_unclean
            && best.replicas.iter().all(|r| self.is_there(*r))
            && self.of(&best.replicas).all(is_usable)
    }

    /// What is committed is on every other member. A set below `minInSync`, out of which lost volumes went, or by a controller that let it shrink, may
    /// lack who has what was acknowledged; but `minInSync` replicas had it, so a member is compared with as many others as include one of them.
    fn outdoes_others(&self, best: &Assignment, member: &Report<'_>) -> bool {
        let is_less = |other: &Report<'_>| {
            other.is_alive && other.is_fresh && member.is_fresh && other.tail <= member.tail
        };
        let mut others = best.isr.iter().filter(|other| **other != member.broker);
        let min_in_sync = self.min_in_sync.min(best.replicas.len());
        if best.isr.len() >= min_in_sync {
            return others.all(|other| {
                let mut report = self.of(std::slice::from_ref(other));
                report.any(|other| is_less(other) && !Self::is_confirmed(best, other))
            });
        }
        let others = || {
            self.of(&best.replicas)
                .filter(|r| r.broker != member.broker)
        };
        let needed = (best.replicas.len() + 1 - min_in_sync).min(best.replicas.len() - 1);
        others().filter(|r| is_less(r)).count() >= needed
            && !others().any(|r| r.is_alive && !is_less(r))
    }

    /// The run that leads the epoch needs nobody's word.
    fn is_confirmed(best: &Assignment, report: &Report<'_>) -> bool {
        report.is_confirmed || best.is_led_by(report.broker, report.incarnation)
    }

    /// What is left of the in-sync set: those that lost data or cannot be read leave it, those that are away stay.
    fn remaining(&self, best: &Assignment, winner: BrokerNumber) -> Vec<BrokerNumber> {
        let stays = |member: &BrokerNumber| {
            let mut report = self.of(std::slice::from_ref(member));
            *member == winner || report.all(|r| r.standing == Standing::Whole)
        };
        best.isr.iter().copied().filter(stays).collect()
    }

    fn elected(
        &self,
        best: &Assignment,
        winner: &Report<'_>,
        isr: Vec<BrokerNumber>,
        may_lack: Option<MayLack>,
    ) -> Elected {
        let (leader_epoch, partition_epoch) = self.next_version(best);
        let mut assignment = Assignment {
            isr,
            leader: Some(winner.broker),
            leader_incarnation: winner.incarnation,
            leader_epoch,
            partition_epoch,
            is_unclean: false,
            ..best.clone()
        };
        // Its own log is what the others are measured by.
        assignment
            .unconfirmed
            .retain(|(of, _)| *of != winner.broker);
        let followed = invariants::follows(best, &assignment);
        debug_assert_eq!(followed, Ok(()));
        Elected {
            assignment,
            may_lack,
        }
    }

    fn may_win(&self, report: &Report<'_>) -> bool {
        report.is_alive && self.except != Some(report.broker)
    }

    fn is_there(&self, broker: BrokerNumber) -> bool {
        self.reports
            .iter()
            .any(|r| r.broker == broker && r.is_alive)
    }

    /// The reports of these brokers.
    pub(super) fn of(&self, brokers: &[BrokerNumber]) -> impl Iterator<Item = &'a Report<'a>> {
        self.reports
            .iter()
            .filter(move |r| brokers.contains(&r.broker))
    }
}

/// By tail; of equals a confirmed one; of those the preferred one.
fn greatest<'a>(
    best: &Assignment,
    reports: impl Iterator<Item = &'a Report<'a>>,
) -> Option<&'a Report<'a>> {
    reports.max_by_key(|r| {
        let place = best.replicas.iter().position(|broker| *broker == r.broker);
        (r.tail, Election::is_confirmed(best, r), Reverse(place))
    })
}
