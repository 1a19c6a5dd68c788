//! One partition's records between `send` and the acknowledgement.
//!
//! ```text
//!  push ─> open ─> sealed ─> (built) ─> in_flight ─> acknowledged
//!                    ^                      |
//!                    '── retriable error, lane died: back to their place, in order
//! ```
//!
//! **Once.** The batches of an idempotent producer have sequence numbers, by which the leader knows those that it has: see `sequence`.
//!
//! **Order.** Batches leave in the order of their sequence, and several may be under way. When one fails retriably, the broker refuses those
//! behind it that carry the same chain number; nothing new is sent until all answers are here; then all failed ones go again, in order, as
//! the next chain.

mod answer;
mod sequence;
mod state;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use taffrail_api::v1;
use taffrail_core::PartitionIndex;
use taffrail_record::{BatchBuilder, HEADER_BYTES, NewRecord};

use super::{
    batch::{Batch, Body},
    completion::{Completion, Delivery},
    lane::Lane,
    shared::Shared,
};
use crate::{config::Acks, error::ProduceError};
use state::{Open, State};

#[derive(Debug)]
pub(super) struct PartitionQueue {
    index: PartitionIndex,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Has it a leader, as far as is known? Records without a key avoid partitions that have none.
    available: AtomicBool,
}

/// What a record needs of its batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A batch leaves at this size ...
    pub(super) batch_bytes: usize,
    /// ... but one that holds a single record may have this.
    pub(super) record_bytes: usize,
    /// Do not open a batch for the record: say `Pushed::NeedsBatch`.
    pub(super) joins_only: bool,
}

/// What became of a push.
#[derive(Debug)]
pub(super) enum Pushed {
    /// The record is in a batch.
    Accepted(Delivery),
    /// There is no batch it could join.
    NeedsBatch,
}

impl PartitionQueue {
    pub(super) fn new(index: PartitionIndex, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            index,
            shared,
            state: Mutex::default(),
            available: AtomicBool::new(true),
        })
    }

    pub(super) const fn index(&self) -> PartitionIndex {
        self.index
    }

    pub(super) fn is_available(&self) -> bool {
        self.available.load(Relaxed)
    }

    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Relaxed);
    }

    /// Copies the record into the open batch, or into a new one.
    pub(super) fn push(
        self: &Arc<Self>,
        record: &NewRecord<'_>,
        limits: Limits,
    ) -> Result<Pushed, ProduceError> {
        let bytes_max = BatchBuilder::record_bytes_max(record);
        let mut state = self.state();
        if state.closed {
            return Err(ProduceError::Closed {
                maybe_stored: false,
            });
        }
        if let Some(open) = &mut state.open {
            let needed = open.builder.len_bytes() + bytes_max;
            if !self.shared.budget.cover(&mut open.taken, needed) {
                return Err(ProduceError::BufferFull);
            }
            if open.builder.push_within(record, limits.batch_bytes) {
                return Ok(Pushed::Accepted(open.delivery()));
            }
        }
        state.seal();
        let opened = if limits.joins_only {
            Ok(Pushed::NeedsBatch)
        } else {
            self.open(&mut state, record, bytes_max, limits)
        };
        self.settle(&mut state);
        opened
    }

    fn open(
        self: &Arc<Self>,
        state: &mut State,
        record: &NewRecord<'_>,
        bytes_max: usize,
        limits: Limits,
    ) -> Result<Pushed, ProduceError> {
        let needed = HEADER_BYTES + bytes_max;
        let total = self.shared.budget.total();
        if needed > total {
            return Err(ProduceError::RecordTooLarge {
                bytes: needed,
                limit: total,
            });
        }
        let mut taken = 0;
        if !self.shared.budget.cover(&mut taken, needed) {
            return Err(ProduceError::BufferFull);
        }
        let buffer = self.shared.buffer(state.expected_bytes.max(needed));
        let mut builder = BatchBuilder::new(self.shared.config.compression).with_buffer(buffer);
        if !builder.push_within(record, limits.batch_bytes)
            && !builder.push_within(record, limits.record_bytes)
        {
            self.shared.budget.give_back(taken);
            return Err(ProduceError::RecordTooLarge {
                bytes: needed,
                limit: limits.record_bytes,
            });
        }
        let open = Open {
            sequence: state.next_sequence(),
            builder,
            completion: Completion::new(self.index),
            taken,
            opened: Instant::now(),
            due: self.shared.config.linger.is_zero(),
        };
        let delivery = open.delivery();
        self.start_linger(state, &open);
        state.open = Some(open);
        Ok(Pushed::Accepted(delivery))
    }

    fn start_linger(self: &Arc<Self>, state: &State, open: &Open) {
        if !open.due
            && let Some(lane) = &state.lane
        {
            lane.linger(self, open.sequence, open.opened + self.shared.config.linger);
        }
    }

    /// The open batch has waited long enough, unless it left already.
    pub(super) fn lingered(self: &Arc<Self>, sequence: u64) {
        let mut state = self.state();
        if let Some(open) = state.open.as_mut().filter(|open| open.sequence == sequence) {
            open.due = true;
            self.settle(&mut state);
        }
    }

    /// Whatever is here leaves as soon as it can. Returns the fates that are still open.
    pub(super) fn flush(self: &Arc<Self>) -> Vec<Arc<Completion>> {
        let mut state = self.state();
        if let Some(open) = &mut state.open {
            open.due = true;
        }
        self.settle(&mut state);
        state.completions()
    }

    /// This lane leads to the leader.
    pub(super) fn assign(self: &Arc<Self>, lane: &Arc<Lane>, topic_id: Bytes, leader_epoch: i32) {
        let mut state = self.state();
        state.lane = Some(Arc::clone(lane));
        state.scheduled = false;
        if state.topic_id != topic_id {
            state.number_for_another_topic();
            state.topic_id = topic_id;
        }
        state.leader_epoch = leader_epoch;
        if let Some(open) = state.open.take() {
            self.start_linger(&state, &open);
            state.open = Some(open);
        }
        self.settle(&mut state);
    }

    /// The next request for `lane`, if it is this partition's turn.
    pub(super) fn take(self: &Arc<Self>, lane: &Arc<Lane>) -> Option<v1::ProduceRequest> {
        let mut state = self.state();
        state.scheduled = false;
        if !state.is_on(lane) || !state.may_send(self.shared.config.in_flight_max) {
            self.settle(&mut state);
            return None;
        }
        let mut batch = state.next_batch(self.shared.producer_id())?;
        state.building = Some(Arc::clone(&batch.completion));
        drop(state);
        // Checksum and compression, while records go on being pushed.
        let bytes = batch.build();
        let mut state = self.state();
        state.building = None;
        if state.closed {
            drop(state);
            let maybe_stored = batch.sent.is_some();
            self.fail(&batch, ProduceError::Closed { maybe_stored });
            return None;
        }
        let Some(request_id) = lane.register(self) else {
            state.put_back(batch);
            state.leave(lane);
            let failed = state.end_recovery();
            self.settle(&mut state);
            drop(state);
            self.fail_all(failed);
            return None;
        };
        let now = Instant::now();
        batch.request_id = request_id;
        batch.sent = Some(now);
        let deadline = batch.opened + self.shared.config.delivery_timeout;
        state.flying = Some(Arc::clone(lane));
        state.in_flight.push_back(batch);
        let request = v1::ProduceRequest {
            request_id,
            topic_id: state.topic_id.clone(),
            partition: self.index.0,
            leader_epoch: state.leader_epoch,
            acks: wire_acks(self.shared.config.acks).into(),
            timeout_ms: self.timeout_ms(deadline, now),
            // 0 would ask for no order.
            chain: state.chain + 1,
            batches: bytes,
        };
        self.settle(&mut state);
        Some(request)
    }

    fn timeout_ms(&self, deadline: Instant, now: Instant) -> u32 {
        let left = deadline.saturating_duration_since(now);
        let timeout = left.min(self.shared.config.request_timeout).as_millis();
        u32::try_from(timeout).unwrap_or(u32::MAX).max(1)
    }

    /// Gets the partition to where its next step happens: the lane's ready list, or the coordinator.
    fn settle(self: &Arc<Self>, state: &mut State) {
        if state.scheduled || !state.may_send(self.shared.config.in_flight_max) {
            return;
        }
        if let Some(lane) = &state.lane {
            if lane.schedule(self) {
                state.scheduled = true;
                return;
            }
            let lane = Arc::clone(lane);
            state.leave(&lane);
        }
        self.shared.work.notify_one();
    }

    /// Fails everything: the producer is gone.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let batches = state.drain();
        drop(state);
        for batch in batches {
            let maybe_stored = batch.sent.is_some();
            self.fail(&batch, ProduceError::Closed { maybe_stored });
        }
    }

    fn fail(&self, batch: &Batch, error: ProduceError) {
        self.shared.count_failures(batch.records, &error);
        batch.failed(error);
        self.shared.budget.give_back(batch.taken);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn wire_acks(acks: Acks) -> v1::Acks {
    match acks {
        Acks::All => v1::Acks::All,
        Acks::Leader => v1::Acks::Leader,
        Acks::None => v1::Acks::None,
    }
}

/// The memory of a batch that is done.
fn spent(batch: Batch) -> Option<Bytes> {
    match batch.body {
        Body::Built(bytes, _) => Some(bytes),
        Body::Records(_) => None,
    }
}
