//! A leader's decisions for one partition, from its election until it is deposed.
//!
//! ```text
//! leader       appending, the high watermark, what consumers may read
//! progress     what one follower has, by which incarnation, and since when it lags
//! fetches      answering followers
//! membership   asking for changes of the in-sync set, and reporting who is caught up
//! ```

mod fetches;
mod membership;
mod progress;

use self::{membership::Pending, progress::Progress};
use super::{
    acks::Acks,
    invariants::{self, Violated},
    isr::{IsrChange, IsrRequest},
    log_state::{LogState, SyncPoint},
    mutant::{Broken, Mutant},
};
use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionEpoch},
};

/// Limits that a leader goes by. They may change at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderRules {
    /// The topic's `minInSync`.
    pub min_in_sync: usize,
    /// A member that is behind for longer leaves the in-sync set.
    pub lag_ms_max: u64,
    /// An unanswered request for a change is sent again after this.
    pub retry_ms: u64,
}

/// What has to be done after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderEffect {
    /// It moved: answer producers, wake consumers and followers.
    HighWatermark(Offset),
    /// From now on fewer in-sync replicas than `minInSync` keep up: refuse those who wait for more.
    TooFewInSync,
    /// Send this to the controller. Sent again until a map with a higher partition epoch comes.
    Ask(IsrRequest),
    /// Tell the controller that this incarnation of a member has what makes it electable without asking others.
    Confirm {
        /// The member.
        broker: BrokerNumber,
        /// The run of it that reported so.
        incarnation: Incarnation,
    },
}

/// How far a follower is, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerLag {
    /// Whose.
    pub broker: BrokerNumber,
    /// Up to where it has the log durably; `None`: it has not asked in this epoch.
    pub durable_end: Option<Offset>,
    /// How long ago it had everything, in milliseconds.
    pub lag_ms: u64,
    /// It is behind for longer than is allowed: a member that does not keep up.
    pub is_late: bool,
}

/// The leader of one epoch.
///
/// Invariant: the high watermark only grows, and only as [`invariants::commit`] says.
#[derive(Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "leader epoch is the field's own word"
)]
pub struct Leader {
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    rules: LeaderRules,
    log: LogState,
    /// The log end at the election.
    epoch_start: Offset,
    /// Every replica but this one.
    followers: Vec<Progress>,
    pending: Option<Pending>,
    is_short: bool,
    broken: Broken,
}

impl Leader {
    /// Broker `me` was elected by `assignment` and has `log`, whose high watermark is the last one it knows.
    pub(super) fn elected(
        me: BrokerNumber,
        assignment: &Assignment,
        rules: LeaderRules,
        log: LogState,
        now_ms: u64,
        broken: Broken,
    ) -> Self {
        let mut leader = Self {
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            rules,
            epoch_start: log.end,
            log,
            followers: Vec::with_capacity(assignment.replicas.len()),
            pending: None,
            is_short: false,
            broken,
        };
        leader.take_replicas(me, assignment, now_ms);
        leader
    }

    /// Whose epoch it is.
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Its log.
    pub const fn log(&self) -> &LogState {
        &self.log
    }

    pub(super) fn into_log(self) -> LogState {
        self.log
    }

    /// May records be appended for a producer that wants `acks`? To be asked before each append.
    ///
    /// # Errors
    /// [`ErrorCode::NotEnoughReplicas`]: nothing may be written for it. What was written already is answered [`ErrorCode::TimedOut`]
    /// when [`LeaderEffect::TooFewInSync`] says so: whether it will be committed is not known.
    pub fn check_append(&self, acks: Acks) -> Result<(), ErrorCode> {
        if acks == Acks::All && self.in_sync_count() < self.rules.min_in_sync {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        Ok(())
    }

    /// Batches were appended up to `end`.
    pub fn appended(&mut self, end: Offset, now_ms: u64) {
        let before = self.log.end;
        self.log.append(self.leader_epoch, end);
        for follower in &mut self.followers {
            follower.log_grew(before, end, now_ms);
        }
    }

    /// The log is durable up to `point`, which was taken before the sync (with `pageCache`: after the write).
    pub fn synced(&mut self, point: SyncPoint, effects: &mut Vec<LeaderEffect>) {
        if self.log.synced(point) {
            self.advance(effects);
        }
    }

    /// Old records were removed: the log begins at `start` now.
    pub fn expired(&mut self, start: Offset) {
        self.log.expire(start);
    }

    /// Compaction lets tombstones before `horizon` go.
    pub fn raise_delete_horizon(&mut self, horizon: Offset) {
        self.log.raise_delete_horizon(horizon);
    }

    /// From here on tombstones have to stay: a follower that is there gets what comes next from here, and may have what they delete.
    pub fn tombstones_from(&self) -> Offset {
        let there = self.followers.iter().filter(|f| f.is_heard);
        let ends = there.filter_map(Progress::reported);
        ends.min().unwrap_or(self.log.end)
    }

    /// Limits changed.
    pub fn configure(&mut self, rules: LeaderRules, effects: &mut Vec<LeaderEffect>) {
        self.rules = rules;
        self.advance(effects);
    }

    /// Where the next record that becomes visible will be: what "latest" means.
    ///
    /// # Errors
    /// [`ErrorCode::NotYetKnown`] until the high watermark has reached the log end at the election: before, an answer could be below
    /// one that a former leader gave (KIP-207).
    pub fn latest(&self) -> Result<Offset, ErrorCode> {
        if self.log.high_watermark < self.epoch_start {
            return Err(ErrorCode::NotYetKnown);
        }
        Ok(self.log.high_watermark)
    }

    /// Limits it goes by.
    pub const fn rules(&self) -> LeaderRules {
        self.rules
    }

    /// The log end at the election: before the high watermark has reached it, what "latest" means is not known.
    pub const fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// Each follower.
    pub fn followers(&self, now_ms: u64) -> impl Iterator<Item = FollowerLag> + '_ {
        self.followers.iter().map(move |follower| FollowerLag {
            broker: follower.broker,
            durable_end: follower.reported(),
            lag_ms: follower.lag_ms(now_ms),
            is_late: follower.is_late,
        })
    }

    /// Replicas that `minInSync` is compared with before records are taken: members that keep up. The persisted set does not shrink below
    /// `minInSync`, so it has members that do not.
    pub fn in_sync_count(&self) -> usize {
        let keeps_up = |f: &&Progress| self.is_counted(f) && f.keeps_up();
        1 + self.followers.iter().filter(keeps_up).count()
    }

    /// Replicas that `minInSync` is compared with before the high watermark moves.
    fn member_count(&self) -> usize {
        1 + self.followers.iter().filter(|f| self.is_counted(f)).count()
    }

    /// Does `follower` count for `minInSync`? The persisted set does, less one that is about to leave.
    fn is_counted(&self, follower: &Progress) -> bool {
        let joins = self.is_joining(follower) && self.broken.is(Mutant::ExpansionCountedForMin);
        follower.in_sync && !self.is_leaving(follower) || joins
    }

    /// Does `follower` hold back the high watermark? The persisted set does, one that is about to leave included, and so does one that
    /// is about to join.
    fn counts(&self, follower: &Progress) -> bool {
        if self.broken.is(Mutant::ShrinkBeforePersisted) && self.is_leaving(follower) {
            return false;
        }
        let joins = self.is_joining(follower) && !self.broken.is(Mutant::ExpansionNotCounted);
        follower.in_sync || joins
    }

    fn is_leaving(&self, follower: &Progress) -> bool {
        let change = self.pending.map(|pending| pending.request.change);
        matches!(change, Some(IsrChange::Shrink { broker, .. }) if broker == follower.broker)
    }

    fn is_joining(&self, follower: &Progress) -> bool {
        let change = self.pending.map(|pending| pending.request.change);
        matches!(change, Some(IsrChange::Expand { broker, .. }) if broker == follower.broker)
    }

    /// Moves the high watermark, after anything it depends on has changed.
    fn advance(&mut self, effects: &mut Vec<LeaderEffect>) {
        let is_short = self.in_sync_count() < self.rules.min_in_sync;
        if is_short && !self.is_short {
            effects.push(LeaderEffect::TooFewInSync);
        }
        self.is_short = is_short;
        // Who is late holds the high watermark back until it has everything: then it moves, whether it was late or not.
        let is_below = self.member_count() < self.rules.min_in_sync;
        if is_below && !self.broken.is(Mutant::HighWatermarkBelowMin) {
            return;
        }
        let own = if self.broken.is(Mutant::OwnCountedBeforeDurable) {
            self.log.end
        } else {
            self.log.durable_end
        };
        let counted = self.followers.iter().filter(|f| self.counts(f));
        let smallest = counted.fold(own, |min, f| min.min(f.counted_end()));
        if smallest > self.log.high_watermark {
            debug_assert_eq!(self.check_commit(smallest), Ok(()));
            self.log.high_watermark = smallest;
            effects.push(LeaderEffect::HighWatermark(smallest));
        }
    }

    fn check_commit(&self, to: Offset) -> Result<(), Violated> {
        if self.broken.is_any() {
            return Ok(());
        }
        let members = self.followers.iter().filter(|f| f.in_sync);
        let ends = members.map(Progress::counted_end);
        invariants::commit(&self.log, to, ends, self.rules.min_in_sync)
    }
}
