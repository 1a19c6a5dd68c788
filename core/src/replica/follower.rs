//! A follower's decisions for one partition: what to fetch next, and what to do with the answer.

use super::{
    epochs::EpochEnd,
    fetch::{BatchSpan, FetchAnswer, FetchOutcome, FetchRequest},
    log_state::{LogState, SyncPoint},
    mutant::{Broken, Mutant},
};
use crate::{
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset},
};

/// What a follower has to do with an answer. Carried out before anything else happens to the log; then it is told that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FollowerStep {
    /// The answer is of another time. Nothing.
    Ignore,
    /// There was nothing new but perhaps a high watermark.
    Wait,
    /// Append the batches, then [`Follower::appended`].
    Append,
    /// Cut the log back to here and sync, then [`Follower::truncated`].
    Truncate(Offset),
    /// Remove everything and begin a log at `start`, then [`Follower::restarted`].
    Restart {
        /// Where the leader's begins.
        start: Offset,
        /// The leader's.
        delete_horizon: Offset,
    },
}

/// Follows the leader of one epoch, or waits for one.
///
/// Invariant: its high watermark is not above its durable end, and moves back only with a truncation.
#[derive(Debug)]
pub struct Follower {
    me: BrokerNumber,
    incarnation: Incarnation,
    leader: Option<BrokerNumber>,
    leader_epoch: LeaderEpoch,
    log: LogState,
    /// The highest that this leader said.
    leader_high_watermark: Offset,
    broken: Broken,
}

impl Follower {
    pub(super) fn new(
        me: BrokerNumber,
        incarnation: Incarnation,
        leader: Option<BrokerNumber>,
        leader_epoch: LeaderEpoch,
        log: LogState,
        broken: Broken,
    ) -> Self {
        Self {
            me,
            incarnation,
            leader,
            leader_epoch,
            leader_high_watermark: log.high_watermark,
            log,
            broken,
        }
    }

    /// Whom it follows; `None`: nobody leads, or the leader was this broker before it restarted.
    pub const fn leader(&self) -> Option<BrokerNumber> {
        self.leader
    }

    /// The epoch it is in.
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

    /// The next fetch, also to be sent again if something became durable meanwhile. `None`: there is nobody to ask.
    pub fn request(&self) -> Option<FetchRequest> {
        self.leader?;
        let durable_end = if self.broken.is(Mutant::CountedBeforeDurable) {
            self.log.end
        } else {
            self.log.durable_end
        };
        Some(FetchRequest {
            broker: self.me,
            incarnation: self.incarnation,
            leader_epoch: self.leader_epoch,
            tail: self.log.tail(),
            durable_end,
            delete_horizon: self.log.delete_horizon,
        })
    }

    /// The leader answered, with the batches of which `batches` are the headers.
    ///
    /// # Errors
    /// [`ErrorCode::CorruptBatch`]: batches that do not follow on the log, [`ErrorCode::InvalidRequest`]: orders that make no sense.
    /// Nothing of such an answer is obeyed; end the session.
    pub fn answered(
        &mut self,
        answer: &FetchAnswer,
        batches: &[BatchSpan],
    ) -> Result<FollowerStep, ErrorCode> {
        let is_now = self.leader.is_some()
            && answer.leader_epoch == self.leader_epoch
            && answer.tail == self.log.tail();
        if !is_now && !self.broken.is(Mutant::StaleAnswerObeyed) {
            return Ok(FollowerStep::Ignore);
        }
        match answer.outcome {
            FetchOutcome::Matches => {
                self.check_batches(batches)?;
                self.hear_high_watermark(answer.high_watermark);
                Ok(if batches.is_empty() {
                    FollowerStep::Wait
                } else {
                    FollowerStep::Append
                })
            }
            FetchOutcome::Diverging(parted) => self.cut(parted),
            // A log without records that begins there already, or later, and lacks no tombstone, can be no other.
            FetchOutcome::OutOfRange { delete_horizon }
                if answer.log_start <= self.log.end
                    && answer.tail.last_epoch.is_none()
                    && delete_horizon <= self.log.delete_horizon =>
            {
                Err(ErrorCode::InvalidRequest)
            }
            FetchOutcome::OutOfRange { delete_horizon } => Ok(FollowerStep::Restart {
                start: answer.log_start,
                delete_horizon,
            }),
        }
    }

    /// These batches, a beginning of those of the answer, were written.
    pub fn appended(&mut self, batches: &[BatchSpan]) {
        for batch in batches {
            self.log.append(batch.epoch, batch.next);
        }
    }

    /// The log was cut and ends at `end` now; less than it was told to keep if that was within a batch.
    pub fn truncated(&mut self, end: Offset) {
        self.log.truncate(end);
    }

    /// The log is empty now and begins at `start`, to be filled from one with this horizon.
    pub fn restarted(&mut self, start: Offset, delete_horizon: Offset) {
        self.log.restart(start, delete_horizon);
    }

    /// The log is durable up to `point`. True if the next fetch has something to report.
    pub fn synced(&mut self, point: SyncPoint) -> bool {
        let point = if self.broken.is(Mutant::OldSyncCounted) {
            SyncPoint {
                generation: self.log.generation,
                end: point.end.min(self.log.end),
            }
        } else {
            point
        };
        let has_more = self.log.synced(point);
        self.hear_high_watermark(Offset::ZERO);
        has_more
    }

    /// Old records were removed: the log begins at `start` now.
    pub fn expired(&mut self, start: Offset) {
        self.log.expire(start);
    }

    /// Compaction lets tombstones before `horizon` go.
    pub fn raise_delete_horizon(&mut self, horizon: Offset) {
        self.log.raise_delete_horizon(horizon);
    }

    fn check_batches(&self, batches: &[BatchSpan]) -> Result<(), ErrorCode> {
        let (mut end, mut epoch) = (self.log.end, self.log.epochs.last().unwrap_or_default());
        for batch in batches {
            let follows = batch.base == end && batch.next > batch.base;
            if !follows || batch.epoch < epoch || batch.epoch > self.leader_epoch {
                return Err(ErrorCode::CorruptBatch);
            }
            (end, epoch) = (batch.next, batch.epoch);
        }
        Ok(())
    }

    fn cut(&self, parted: EpochEnd) -> Result<FollowerStep, ErrorCode> {
        match self.log.epochs.cut_for(parted, self.log.end) {
            // It asked with this end: a cut that cuts nothing would be asked for again.
            Some(cut) if cut >= self.log.end => Err(ErrorCode::InvalidRequest),
            Some(cut) if cut >= self.log.start => Ok(FollowerStep::Truncate(cut)),
            // If the leader's log begins later, it says so next, and what has to be known of the records before.
            _ => Ok(FollowerStep::Restart {
                start: Offset::ZERO,
                delete_horizon: Offset::ZERO,
            }),
        }
    }

    fn hear_high_watermark(&mut self, said: Offset) {
        self.leader_high_watermark = self.leader_high_watermark.max(said);
        let known = self.leader_high_watermark.min(self.log.durable_end);
        self.log.high_watermark = self.log.high_watermark.max(known);
    }
}
