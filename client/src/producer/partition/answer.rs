//! What brokers, broken connections and the clock do to batches under way.

use std::{sync::Arc, time::Instant};

use taffrail_api::{WireError, v1};
use taffrail_core::{ErrorCode, Offset};

use super::{PartitionQueue, sequence::is_out_of_order, spent, state::State};
use crate::{
    error::ProduceError,
    producer::{batch::Batch, completion::Acked, lane::Lane},
};

/// What a partition wants of the coordinator.
#[derive(Debug, Default)]
pub(in crate::producer) struct Wants {
    /// A lane to its leader.
    pub(in crate::producer) lane: bool,
    /// What is known of the leader is wrong: ask again first.
    pub(in crate::producer) refresh: bool,
    /// Failures so far.
    pub(in crate::producer) attempts: u32,
    /// To be looked at again then.
    pub(in crate::producer) again: Option<Instant>,
    /// This lane does not answer.
    pub(in crate::producer) silent: Option<Arc<Lane>>,
}

impl PartitionQueue {
    /// An answer came for a request of this partition.
    pub(in crate::producer) fn answered(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        response: v1::ProduceResponse,
    ) {
        let mut state = self.state();
        let id = response.request_id;
        // Not there: it took too long and failed before.
        let at = state.in_flight.iter().position(|b| b.request_id == id);
        let batch = at.and_then(|at| state.in_flight.remove(at));
        let mut done = None;
        let mut unreachable = None;
        if let Some(batch) = batch {
            match outcome(response.result) {
                Ok(acked) => {
                    state.attempts = 0;
                    state.stale = false;
                    done = Some((batch, Ok(acked)));
                }
                Err(error) if error.retriable || is_out_of_order(error.code) => {
                    if error.code == ErrorCode::LeaderUnreachable {
                        unreachable = Some(error.clone());
                    }
                    self.again(&mut state, batch, error);
                }
                Err(error) => done = Some((batch, Err(ProduceError::Refused(error)))),
            }
        }
        let failed = state.end_recovery();
        self.settle(&mut state);
        drop(state);
        self.fail_all(failed);
        match done {
            Some((batch, Ok(acked))) => {
                batch.acked(acked);
                self.shared.budget.give_back(batch.taken);
                if let Some(bytes) = spent(batch) {
                    self.shared.recycle(bytes);
                }
            }
            Some((batch, Err(error))) => self.fail(&batch, error),
            None => {}
        }
        if let Some(error) = unreachable {
            lane.die(&error);
        }
    }

    /// The batch is to be sent again, after a pause and after those before it.
    fn again(&self, state: &mut State, mut batch: Batch, error: WireError) {
        if !state.recovering {
            state.recovering = true;
            self.back_off(state);
        }
        if needs_new_leader(error.code) {
            state.stale = true;
            state.lane = None;
            state.scheduled = false;
        }
        tracing::debug!(partition = %self.index, attempts = state.attempts, %error, "a produce request is to be sent again");
        let code = error.code;
        batch.last_error = Some(error);
        if is_out_of_order(code) {
            return state.refused_out_of_order(batch);
        }
        batch.maybe_stored |= !was_refused_at_once(code);
        state.put_back(batch);
    }

    /// The lane ended. What was under way there is sent again.
    pub(in crate::producer) fn lane_died(self: &Arc<Self>, lane: &Arc<Lane>, error: &WireError) {
        let mut state = self.state();
        let waited = state.is_on(lane) && !state.is_empty();
        state.leave(lane);
        if state.land(lane) || waited {
            state.stale = true;
            self.back_off(&mut state);
            state.seal();
            for batch in &mut state.sealed {
                batch.last_error = Some(error.clone());
            }
        }
        let failed = state.end_recovery();
        self.settle(&mut state);
        drop(state);
        self.fail_all(failed);
        self.shared.work.notify_one();
    }

    /// No leader, or none that can be reached: wait a little.
    pub(in crate::producer) fn no_lane(&self, error: &WireError) {
        let mut state = self.state();
        state.stale = true;
        self.back_off(&mut state);
        state.seal();
        if let Some(batch) = state.sealed.front_mut() {
            batch.last_error = Some(error.clone());
        }
    }

    fn back_off(&self, state: &mut State) {
        state.attempts += 1;
        let pause = self.shared.backoff.pause(state.attempts);
        state.not_before = Some(Instant::now() + pause);
        self.shared.work.notify_one();
    }

    /// The clock's part: fails what took too long, ends pauses, and says what the coordinator has to do. `known_epoch` is the newest leader epoch that metadata told of.
    pub(in crate::producer) fn tend(self: &Arc<Self>, now: Instant, known_epoch: i32) -> Wants {
        let mut state = self.state();
        if state.is_empty() {
            return Wants::default();
        }
        let expired = self.expire(&mut state, now);
        if state.not_before.is_some_and(|at| at <= now) {
            state.not_before = None;
        }
        let failed = state.end_recovery();
        state.leave_former_leader(known_epoch);
        let oldest = state.in_flight.iter().filter_map(|b| b.sent).min();
        let overdue = oldest.is_some_and(|sent| now >= sent + self.shared.config.request_timeout)
            || state.is_left_behind(now, known_epoch);
        let wants = Wants {
            lane: state.lane.is_none()
                && state.not_before.is_none()
                && !state.recovering
                && !(state.sealed.is_empty() && state.open.is_none()),
            refresh: state.stale,
            attempts: state.attempts,
            again: state.not_before,
            silent: state.flying.clone().filter(|_| overdue),
        };
        if !wants.lane {
            self.settle(&mut state);
        }
        drop(state);
        self.fail_all(failed);
        let after = self.shared.config.delivery_timeout;
        for batch in expired {
            self.fail(&batch, batch.timed_out(after));
        }
        wants
    }

    fn expire(&self, state: &mut State, now: Instant) -> Vec<Batch> {
        let timeout = self.shared.config.delivery_timeout;
        if state
            .open
            .as_ref()
            .is_some_and(|open| now >= open.opened + timeout)
        {
            state.seal();
        }
        let mut expired = Vec::new();
        for queue in [&mut state.in_flight, &mut state.sealed] {
            // A batch that was opened earlier is never behind a later one.
            while let Some(batch) = queue.pop_front_if(|b| now >= b.opened + timeout) {
                expired.push(batch);
            }
        }
        expired
    }
}

fn outcome(result: Option<v1::produce_response::Result>) -> Result<Acked, WireError> {
    match result {
        Some(v1::produce_response::Result::Ack(ack)) => Ok(Acked {
            base_offset: u64::try_from(ack.base_offset).ok().map(Offset),
            append_time_ms: ack.append_time_ms,
        }),
        Some(v1::produce_response::Result::Error(error)) => Err(error.into()),
        None => Err(WireError::new(
            ErrorCode::UnsupportedVersion,
            "the broker's answer is neither an acknowledgement nor an error; upgrade this client",
        )),
    }
}

/// Is the leader elsewhere, or gone? Other errors pass by themselves.
const fn needs_new_leader(code: ErrorCode) -> bool {
    !was_refused_at_once(code) && !is_out_of_order(code) && !matches!(code, ErrorCode::TimedOut)
}

/// Is it certain that this attempt stored nothing?
const fn was_refused_at_once(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DiskFull
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::Throttled
            | ErrorCode::ResourceExhausted
    )
}
