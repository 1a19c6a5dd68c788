//! Answering followers.

use super::{Leader, LeaderEffect};
use crate::{
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation},
    replica::{
        fetch::{FetchAnswer, FetchOutcome, FetchRequest},
        mutant::Mutant,
    },
};

impl Leader {
    /// A follower asks. What it says counts only if it passed every check, the one for divergence last. On [`FetchOutcome::Matches`]
    /// the caller adds batches from the end of the tail on.
    ///
    /// # Errors
    /// [`ErrorCode::StaleLeaderEpoch`] below this epoch; [`ErrorCode::NotYetKnown`] above it, with records of a later epoch, or of a
    /// replica that no map named yet; [`ErrorCode::BrokerFenced`] of a former run; [`ErrorCode::InvalidRequest`] of what cannot be.
    pub fn fetch(
        &mut self,
        request: &FetchRequest,
        now_ms: u64,
        effects: &mut Vec<LeaderEffect>,
    ) -> Result<FetchAnswer, ErrorCode> {
        self.check_epochs(request)?;
        if request.durable_end > request.tail.end {
            return Err(ErrorCode::InvalidRequest);
        }
        let of = request.broker;
        let index = self.followers.iter().position(|f| f.broker == of);
        let index = index.ok_or(ErrorCode::NotYetKnown)?;
        let is_newest = self.followers[index].admit(request.incarnation);
        if !is_newest && !self.broken.is(Mutant::IncarnationNotCompared) {
            return Err(ErrorCode::BrokerFenced);
        }
        let outcome = self.compare(request);
        if outcome == FetchOutcome::Matches || self.broken.is(Mutant::DivergingCounted) {
            self.count(index, request, now_ms);
            self.advance(effects);
        } else if self.followers[index].in_sync && self.lacks_committed(request, outcome) {
            self.followers[index].has_lost = true;
        }
        self.confirm(index, effects);
        self.ask_for_change(now_ms, effects);
        Ok(FetchAnswer {
            leader_epoch: self.leader_epoch,
            tail: request.tail,
            log_start: self.log.start,
            high_watermark: self.log.high_watermark,
            outcome,
        })
    }

    /// The controller registered a run of a follower. What that run reported before counts from now on.
    pub fn registered(
        &mut self,
        broker: BrokerNumber,
        incarnation: Incarnation,
        effects: &mut Vec<LeaderEffect>,
    ) {
        let index = self.followers.iter().position(|f| f.broker == broker);
        if let Some(index) = index {
            self.followers[index].registered(incarnation);
            self.advance(effects);
            self.confirm(index, effects);
        }
    }

    /// Is this follower's broker there, for all that the controller knows? It takes nobody into the in-sync set that is lost, and a member
    /// that is lost does not keep up.
    pub fn is_heard(
        &mut self,
        broker: BrokerNumber,
        is_heard: bool,
        effects: &mut Vec<LeaderEffect>,
    ) {
        let mut followers = self.followers.iter_mut();
        if let Some(follower) = followers.find(|f| f.broker == broker) {
            follower.is_heard = is_heard;
            self.advance(effects);
        }
    }

    fn check_epochs(&self, request: &FetchRequest) -> Result<(), ErrorCode> {
        let ours = self.leader_epoch;
        if self.broken.is(Mutant::NoEpochCheck) {
            return Ok(());
        }
        if request.leader_epoch < ours {
            return Err(ErrorCode::StaleLeaderEpoch);
        }
        // Records of a later epoch mean that the store went back: cutting them could lose what is committed.
        if request.leader_epoch > ours || request.tail.last_epoch > Some(ours) {
            return Err(ErrorCode::NotYetKnown);
        }
        Ok(())
    }

    fn compare(&self, request: &FetchRequest) -> FetchOutcome {
        let delete_horizon = self.log.delete_horizon;
        let out_of_range = FetchOutcome::OutOfRange { delete_horizon };
        if request.tail.end < self.log.start {
            return out_of_range;
        }
        let parted = self.log.epochs.divergence(request.tail, self.log.end);
        let looks = !self.broken.is(Mutant::NoDivergenceCheck) || request.tail.end > self.log.end;
        match parted.filter(|_| looks) {
            // What both may have has expired here: nothing is left to compare, and to keep.
            Some(parted) if parted.end < self.log.start => out_of_range,
            Some(parted) => FetchOutcome::Diverging(parted),
            None if request.misses_deletes_of(delete_horizon) => out_of_range,
            None => FetchOutcome::Matches,
        }
    }

    fn count(&mut self, index: usize, request: &FetchRequest, now_ms: u64) {
        let follower = &mut self.followers[index];
        if self.broken.is(Mutant::IncarnationNotCompared) {
            // Whoever reported last counts.
            follower.incarnation = Some(request.incarnation);
        }
        let has_all = follower.report(request.durable_end, self.log.end, now_ms);
        follower.is_late = follower.lag_ms(now_ms) > self.rules.lag_ms_max;
        let has_lost = !has_all || follower.durable_end() < self.log.high_watermark;
        follower.has_lost |= has_lost && follower.in_sync;
    }

    /// Will the follower, once it did what it is told, have less than what is committed?
    fn lacks_committed(&self, request: &FetchRequest, outcome: FetchOutcome) -> bool {
        let keeps = match outcome {
            FetchOutcome::Diverging(parted) => parted.end.min(request.tail.end),
            FetchOutcome::OutOfRange { .. } => self.log.start.min(request.tail.end),
            FetchOutcome::Matches => request.tail.end,
        };
        keeps < self.log.high_watermark
    }
}
