//! The way to one leader: which partitions have something to send, and which requests wait for an answer. Lives as long as one gRPC stream.
//!
//! hyper pulls requests out of [`LaneRequests`] when HTTP/2 has room, so that batches grow by themselves while the network is busy, and no
//! queue lies between a partition's batch and the socket. Lock order: partition, then lane.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures::{FutureExt as _, Stream};
use taffrail_api::{WireError, v1};
use tokio::{
    sync::Notify,
    time::{Sleep, sleep_until},
};

use super::partition::PartitionQueue;

#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    killed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Why the lane ended.
    dead: Option<WireError>,
    /// Each at most once (`PartitionQueue`'s `scheduled`).
    ready: VecDeque<Arc<PartitionQueue>>,
    /// Open batches by the time they have to leave; all linger equally long.
    lingering: VecDeque<Lingering>,
    in_flight: HashMap<u64, Arc<PartitionQueue>>,
    request_ids: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Lingering {
    until: Instant,
    partition: Arc<PartitionQueue>,
    sequence: u64,
}

impl Lane {
    /// The partition has something to send. False: the lane is dead.
    pub(super) fn schedule(&self, partition: &Arc<PartitionQueue>) -> bool {
        let mut queue = self.queue();
        if queue.dead.is_some() {
            return false;
        }
        queue.ready.push_back(Arc::clone(partition));
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The partition's open batch `sequence` may wait until then.
    pub(super) fn linger(&self, partition: &Arc<PartitionQueue>, sequence: u64, until: Instant) {
        let mut queue = self.queue();
        queue.lingering.push_back(Lingering {
            until,
            partition: Arc::clone(partition),
            sequence,
        });
        // The timer is set for the first only.
        let waker = if queue.lingering.len() == 1 {
            queue.waker.take()
        } else {
            None
        };
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A number for a request of this partition. `None`: the lane is dead.
    pub(super) fn register(&self, partition: &Arc<PartitionQueue>) -> Option<u64> {
        let mut queue = self.queue();
        if queue.dead.is_some() {
            return None;
        }
        queue.request_ids += 1;
        let id = queue.request_ids;
        queue.in_flight.insert(id, Arc::clone(partition));
        Some(id)
    }

    /// Hands an answer to its partition.
    pub(super) fn answered(self: &Arc<Self>, response: v1::ProduceResponse) {
        let partition = self.queue().in_flight.remove(&response.request_id);
        let Some(partition) = partition else {
            tracing::debug!(
                request = response.request_id,
                "an answer that nobody waits for"
            );
            return;
        };
        partition.answered(self, response);
    }

    /// Ends the lane: what was under way may be stored or not, and is sent again on another lane, in order.
    pub(super) fn die(self: &Arc<Self>, error: &WireError) {
        let mut queue = self.queue();
        if queue.dead.is_some() {
            return;
        }
        queue.dead = Some(error.clone());
        let mut partitions: Vec<_> = queue.in_flight.drain().map(|(_, p)| p).collect();
        partitions.extend(queue.ready.drain(..));
        partitions.extend(queue.lingering.drain(..).map(|l| l.partition));
        let waker = queue.waker.take();
        drop(queue);
        for partition in partitions {
            partition.lane_died(self, error);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        self.killed.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.queue().dead.is_some()
    }

    /// Resolves when somebody else ended the lane.
    pub(super) async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Partitions whose open batch has lingered long enough; and when the next one will have.
    fn lingered(&self, now: Instant) -> (Vec<(Arc<PartitionQueue>, u64)>, Option<Instant>) {
        let mut queue = self.queue();
        let mut due = Vec::new();
        while let Some(first) = queue.lingering.pop_front_if(|l| l.until <= now) {
            due.push((first.partition, first.sequence));
        }
        (due, queue.lingering.front().map(|l| l.until))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of a lane, as hyper pulls them. Ends when the lane is dead.
#[derive(Debug)]
pub(super) struct LaneRequests {
    lane: Arc<Lane>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl LaneRequests {
    pub(super) const fn new(lane: Arc<Lane>) -> Self {
        Self { lane, timer: None }
    }

    /// Lets go what has lingered long enough and sets the timer for the next.
    fn poll_linger(&mut self, cx: &mut Context<'_>) {
        loop {
            let (due, next) = self.lane.lingered(Instant::now());
            for (partition, sequence) in due {
                partition.lingered(sequence);
            }
            let Some(next) = next else {
                self.timer = None;
                return;
            };
            let timer = match self.timer.take() {
                Some((at, timer)) if at == next => self.timer.insert((at, timer)),
                _ => self
                    .timer
                    .insert((next, Box::pin(sleep_until(next.into())))),
            };
            if timer.1.poll_unpin(cx).is_pending() {
                return;
            }
            self.timer = None;
        }
    }
}

impl Stream for LaneRequests {
    type Item = v1::ProduceRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = {
                let mut queue = self.lane.queue();
                if queue.dead.is_some() {
                    return Poll::Ready(None);
                }
                queue.ready.pop_front()
            };
            if let Some(partition) = next {
                if let Some(request) = partition.take(&self.lane) {
                    return Poll::Ready(Some(request));
                }
                continue;
            }
            self.poll_linger(cx);
            let mut queue = self.lane.queue();
            if queue.dead.is_some() {
                return Poll::Ready(None);
            }
            // What began to linger in the meantime found no waker to call.
            if queue.ready.is_empty() && (queue.lingering.is_empty() || self.timer.is_some()) {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}
