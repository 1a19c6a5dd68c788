//! Who is in sync: what the map says, what a leader asks for, and what it reports.

use super::{Leader, LeaderEffect, progress::Progress};
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation, Offset},
    replica::{
        isr::{IsrChange, IsrRequest, ShrinkReason},
        mutant::Mutant,
    },
};

/// A change that was asked for and may have been made, until a map with a higher partition epoch says what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) request: IsrRequest,
    sent_ms: u64,
}

impl Leader {
    /// A map of this epoch. If it is newer, it is the answer to whatever was asked for.
    pub(in crate::replica) fn assigned(
        &mut self,
        me: BrokerNumber,
        assignment: &Assignment,
        now_ms: u64,
        effects: &mut Vec<LeaderEffect>,
    ) {
        debug_assert_eq!(assignment.leader_epoch, self.leader_epoch);
        debug_assert!(assignment.partition_epoch >= self.partition_epoch);
        if assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.pending = None;
        }
        self.take_replicas(me, assignment, now_ms);
        self.advance(effects);
        for index in 0..self.followers.len() {
            self.confirm(index, effects);
        }
        self.ask_for_change(now_ms, effects);
    }

    /// Time passed: sees who is late, asks for the removal of whoever lags, and asks again what was not answered. To be called every few
    /// hundred milliseconds with a clock that does not jump back.
    pub fn tick(&mut self, now_ms: u64, effects: &mut Vec<LeaderEffect>) {
        for follower in &mut self.followers {
            follower.is_late = follower.lag_ms(now_ms) > self.rules.lag_ms_max;
        }
        self.advance(effects);
        self.ask_for_change(now_ms, effects);
        let retry_ms = self.rules.retry_ms;
        let Some(pending) = &mut self.pending else {
            return;
        };
        if now_ms.saturating_sub(pending.sent_ms) >= retry_ms {
            pending.sent_ms = now_ms;
            effects.push(LeaderEffect::Ask(pending.request));
        }
    }

    /// Members whose running incarnation has caught up in this epoch: what a controller that took office has to be told.
    pub fn confirmed(&self) -> impl Iterator<Item = (BrokerNumber, Incarnation)> + '_ {
        let confirmed = self.followers.iter().filter(|f| f.is_confirmed);
        confirmed.filter_map(|f| Some((f.broker, f.incarnation?)))
    }

    pub(super) fn take_replicas(&mut self, me: BrokerNumber, assignment: &Assignment, now_ms: u64) {
        let others = assignment.replicas.iter().filter(|broker| **broker != me);
        self.followers
            .retain(|f| assignment.replicas.contains(&f.broker));
        for broker in others {
            if !self.followers.iter().any(|f| f.broker == *broker) {
                let new = Progress::new(*broker, self.log.end, now_ms);
                self.followers.push(new);
            }
        }
        for follower in &mut self.followers {
            follower.in_sync = assignment.isr.contains(&follower.broker);
            follower.may_join = !assignment.removing.contains(&follower.broker);
            if assignment.awaits(follower.broker).is_some() {
                // Whatever was said of it was said before the map waited for it.
                follower.is_confirmed = false;
            }
            if !follower.in_sync {
                follower.has_lost = false;
                follower.is_confirmed = false;
                follower.highest_reported = follower.durable_end();
            }
        }
    }

    /// What a follower must have to be elected: everything that is committed now, and everything that may have been committed by
    /// leaders before this one. Their high watermark is not known, but it is not above the log end at the election.
    fn caught_up_floor(&self) -> Offset {
        if self.broken.is(Mutant::CaughtUpByHighWatermark) {
            return self.log.high_watermark;
        }
        self.log.high_watermark.max(self.epoch_start)
    }

    pub(super) fn confirm(&mut self, index: usize, effects: &mut Vec<LeaderEffect>) {
        let floor = self.caught_up_floor();
        let follower = &mut self.followers[index];
        let is_new = follower.in_sync && !follower.is_confirmed && !follower.has_lost;
        let Some(incarnation) = follower.incarnation.filter(|_| is_new) else {
            return;
        };
        if follower.has_reported(floor) {
            follower.is_confirmed = true;
            let broker = follower.broker;
            effects.push(LeaderEffect::Confirm {
                broker,
                incarnation,
            });
        }
    }

    /// Asks for the most urgent change, if none is under way.
    pub(super) fn ask_for_change(&mut self, now_ms: u64, effects: &mut Vec<LeaderEffect>) {
        if self.pending.is_some() {
            return;
        }
        let Some(change) = self.next_change(now_ms) else {
            return;
        };
        let mut followers = self.followers.iter_mut();
        if let Some(follower) = followers.find(|f| f.broker == change.broker()) {
            follower.asked = Some((change, now_ms));
        }
        let request = IsrRequest {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            change,
        };
        self.pending = Some(Pending {
            request,
            sent_ms: now_ms,
        });
        effects.push(LeaderEffect::Ask(request));
        // A leaver no longer counts for minInSync.
        self.advance(effects);
    }

    /// What was asked for a moment ago and made no difference is not asked for again at once: each answer is a write to the store. Nor does it hold up
    /// another change meanwhile: of newcomers it is the turn of the one that waits longest.
    fn next_change(&self, now_ms: u64) -> Option<IsrChange> {
        let retry_ms = self.rules.retry_ms;
        let is_due = |(f, change): &(&Progress, _)| f.may_be_asked(*change, now_ms, retry_ms);
        let lost = self.followers.iter().filter(|f| f.has_lost);
        let lost = lost.map(|f| (f, f.shrink(ShrinkReason::LostData)));
        let lagging = self.next_to_leave(now_ms);
        let lagging = lagging.map(|f| (f, f.shrink(ShrinkReason::Lagging)));
        let newcomers = self.followers.iter();
        let newcomers = newcomers.filter_map(|f| Some((f, self.joins(f)?)));
        let newcomer = newcomers
            .filter(is_due)
            .min_by_key(|(f, _)| f.asked.map(|(_, at_ms)| at_ms));
        let next = lost.chain(lagging).find(is_due).or(newcomer);
        next.map(|(_, change)| change)
    }

    /// How a follower that has caught up joins.
    fn joins(&self, follower: &Progress) -> Option<IsrChange> {
        let may_join = !follower.in_sync && follower.may_join && follower.is_heard;
        let has_caught_up = follower.has_reported(self.caught_up_floor());
        let incarnation = follower.registered_run();
        let incarnation = incarnation.filter(|_| may_join && has_caught_up)?;
        Some(IsrChange::Expand {
            broker: follower.broker,
            incarnation,
        })
    }

    /// The member that lags most, if it may leave: the set does not shrink below `minInSync` (KIP-966), or whoever is left could not show alone, after
    /// a restart, that it has what was acknowledged. Nothing would be acknowledged without those that leave anyway.
    fn next_to_leave(&self, now_ms: u64) -> Option<&Progress> {
        let members = self.followers.iter().filter(|f| f.in_sync);
        // Without this replica itself, which is a member as well.
        if members.clone().count() < self.rules.min_in_sync {
            return None;
        }
        let lagging = members.filter(|f| f.lag_ms(now_ms) > self.rules.lag_ms_max);
        lagging.max_by_key(|f| {
            let missing = self.log.end.0.saturating_sub(f.durable_end().0);
            (!f.is_heard, f.lag_ms(now_ms), missing)
        })
    }
}
