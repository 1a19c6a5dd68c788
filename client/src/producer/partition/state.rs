//! What a partition's lock protects.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use taffrail_record::BatchBuilder;

use super::sequence::{Failed, Numbers};
use crate::{
    metadata::MOVED_PATIENCE,
    producer::{
        batch::{Batch, Body},
        completion::{Completion, Delivery},
        lane::Lane,
    },
};

/// Invariants: `sealed` and `in_flight` are sorted by sequence; the open batch's is the greatest; all of `in_flight` is on lane `flying`;
/// while `recovering` or `building`, nothing is taken.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, any combination occurs"
)]
pub(super) struct State {
    pub(super) open: Option<Open>,
    pub(super) sealed: VecDeque<Batch>,
    pub(super) in_flight: VecDeque<Batch>,
    /// Where requests go; `None`: the coordinator has to find the leader.
    pub(super) lane: Option<Arc<Lane>>,
    /// Where the requests under way went.
    pub(super) flying: Option<Arc<Lane>>,
    /// It is in the lane's ready list.
    pub(super) scheduled: bool,
    /// The fate of the batch that is between `sealed` and `in_flight`.
    pub(super) building: Option<Arc<Completion>>,
    /// A request of this chain failed: no other one is sent until all are answered.
    pub(super) recovering: bool,
    /// Chains that broke.
    pub(super) chain: u32,
    /// Failures since the last success.
    pub(super) attempts: u32,
    /// Nothing is sent before.
    pub(super) not_before: Option<Instant>,
    /// What is known of the leader turned out wrong.
    pub(super) stale: bool,
    pub(super) closed: bool,
    pub(super) topic_id: Bytes,
    pub(super) leader_epoch: i32,
    pub(super) numbers: Numbers,
    /// Since when another broker is known to lead, while requests wait for the old one.
    pub(super) moved_since: Option<Instant>,
    /// The next batch will probably have as many bytes as the last.
    pub(super) expected_bytes: usize,
    sequences: u64,
}

/// The batch that records are added to.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) sequence: u64,
    pub(super) builder: BatchBuilder,
    pub(super) completion: Arc<Completion>,
    pub(super) taken: usize,
    pub(super) opened: Instant,
    /// It need not wait for company any more.
    pub(super) due: bool,
}

impl Open {
    /// The fate of the record pushed last.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery::new(Arc::clone(&self.completion), self.builder.count() - 1)
    }
}

impl State {
    pub(super) const fn next_sequence(&mut self) -> u64 {
        self.sequences += 1;
        self.sequences
    }

    pub(super) fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            self.expected_bytes = open.builder.len_bytes();
            self.sealed.push_back(Batch {
                sequence: open.sequence,
                records: open.builder.count(),
                body: Body::Records(open.builder),
                stamp: None,
                maybe_stored: false,
                taken: open.taken,
                completion: open.completion,
                opened: open.opened,
                request_id: 0,
                sent: None,
                last_error: None,
            });
        }
    }

    pub(super) fn is_on(&self, lane: &Arc<Lane>) -> bool {
        self.lane.as_ref().is_some_and(|l| Arc::ptr_eq(l, lane))
    }

    fn is_flying_on(&self, lane: &Arc<Lane>) -> bool {
        self.flying.as_ref().is_some_and(|l| Arc::ptr_eq(l, lane))
    }

    /// Is there something that could leave now, wherever it goes?
    pub(super) fn may_send(&self, in_flight_max: usize) -> bool {
        self.building.is_none()
            && !self.recovering
            && self.not_before.is_none()
            && self.in_flight.len() < in_flight_max
            && (!self.sealed.is_empty() || self.open.as_ref().is_some_and(|open| open.due))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none()
            && self.sealed.is_empty()
            && self.in_flight.is_empty()
            && self.building.is_none()
    }

    /// The next batch to be sent; numbered, if the producer is idempotent.
    pub(super) fn next_batch(&mut self, producer_id: Option<i64>) -> Option<Batch> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let mut batch = self.sealed.pop_front()?;
        if let Some(id) = producer_id {
            self.numbers.stamp(&mut batch, id);
        }
        Some(batch)
    }

    /// Back to its place among those not sent.
    pub(super) fn put_back(&mut self, batch: Batch) {
        let at = self.sealed.partition_point(|b| b.sequence < batch.sequence);
        self.sealed.insert(at, batch);
    }

    /// The lane is dead. What is under way there comes back through `lane_died`; nothing may overtake it.
    pub(super) fn leave(&mut self, lane: &Arc<Lane>) {
        if self.is_on(lane) {
            self.lane = None;
            self.scheduled = false;
        }
        if self.is_flying_on(lane) && !self.in_flight.is_empty() {
            self.recovering = true;
        }
    }

    /// Takes back all that was under way on `lane`; says whether there was something.
    pub(super) fn land(&mut self, lane: &Arc<Lane>) -> bool {
        if !self.is_flying_on(lane) {
            return false;
        }
        self.flying = None;
        let landed = !self.in_flight.is_empty();
        while let Some(mut batch) = self.in_flight.pop_back() {
            batch.maybe_stored = true;
            self.put_back(batch);
        }
        landed
    }

    /// All answers of a broken chain are here: the next one may begin. Gives the batches that must not be sent again.
    pub(super) fn end_recovery(&mut self) -> Vec<Failed> {
        let mut failed = Vec::new();
        // What is being built still belongs to the broken chain.
        if self.recovering && self.in_flight.is_empty() && self.building.is_none() {
            self.recovering = false;
            self.chain += 1;
            failed = self.begin_anew();
        }
        if self.is_empty() {
            // Nothing goes again: what comes next need not wait, and nobody would look after it.
            self.not_before = None;
        }
        failed
    }

    /// Leaves a broker that leads no more, for all that metadata says, while nothing is under way there: it may go on refusing what another one would
    /// take, because too few replicas follow it.
    pub(super) fn leave_former_leader(&mut self, known_epoch: i32) {
        let is_idle = self.in_flight.is_empty() && self.building.is_none();
        if is_idle && known_epoch > self.leader_epoch {
            self.lane = None;
            self.scheduled = false;
        }
    }

    /// Do requests wait for a broker that leads no more and does not say so?
    pub(super) fn is_left_behind(&mut self, now: Instant, known_epoch: i32) -> bool {
        if self.in_flight.is_empty() || known_epoch <= self.leader_epoch {
            self.moved_since = None;
            return false;
        }
        now >= *self.moved_since.get_or_insert(now) + MOVED_PATIENCE
    }

    /// The fates that are not decided.
    pub(super) fn completions(&self) -> Vec<Arc<Completion>> {
        let batches = self.in_flight.iter().chain(&self.sealed);
        let mut all: Vec<_> = batches.map(|b| Arc::clone(&b.completion)).collect();
        all.extend(self.building.clone());
        all.extend(self.open.as_ref().map(|open| Arc::clone(&open.completion)));
        all
    }

    pub(super) fn drain(&mut self) -> Vec<Batch> {
        self.seal();
        let mut all: Vec<_> = self.in_flight.drain(..).collect();
        all.extend(self.sealed.drain(..));
        all
    }
}
