//! Reads partitions. There is no task: whoever awaits [`Consumer::next_batch`] drives it. The next request is sent as soon as an answer is
//! here, so that its answer arrives, up to HTTP/2's window, while the one before is being read.

mod batch;
mod doubt;
mod drive;
mod lane;
mod pace;
mod partition;

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use taffrail_api::{WireError, v1};
use taffrail_core::{BrokerNumber, Offset, PartitionIndex, TopicId, TopicPartition};
use tokio::time::{Interval, timeout};

use crate::{
    client::Client, config::ConsumerConfig, connections::Connections, error::ClientError,
    metadata::Topic, record::ConsumedRecord,
};
pub use batch::{BatchRecords, ConsumedBatch};
use lane::FetchLane;
use pace::Pace;
use partition::{Assigned, Chunk, Turn};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first record still there.
    Earliest,
    /// The next record to come.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record whose record time is this or later, milliseconds since the epoch; the next to come if there is none.
    Timestamp(i64),
}

impl Start {
    pub(crate) const fn to_wire(self) -> Option<v1::offset_query::Position> {
        match self {
            Self::Earliest => Some(v1::offset_query::Position::Earliest(true)),
            Self::Latest => Some(v1::offset_query::Position::Latest(true)),
            Self::Timestamp(ms) => Some(v1::offset_query::Position::TimestampMs(ms)),
            Self::Offset(_) => None,
        }
    }
}

/// Reads the partitions assigned to it, each in order.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    connections: Arc<Connections>,
    partitions: Vec<Assigned>,
    slots: HashMap<(TopicId, u32), usize>,
    /// Of partitions that were given back.
    vacant: Vec<usize>,
    lanes: Vec<FetchLane>,
    /// Partitions to be asked for.
    idle: Vec<usize>,
    /// Partitions that failed and are to be asked for again after a pause.
    waiting: Vec<usize>,
    retrying: bool,
    /// Are all brokers being asked who leads?
    asks_all: bool,
    /// What arrived and was not handed out.
    ready: VecDeque<Chunk>,
    errors: VecDeque<ClientError>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    request_ids: u64,
    watchdog: Option<Interval>,
    pace: Pace,
}

/// What happens beside the data.
enum Done {
    /// A stream to a leader is open, or could not be opened.
    Opened(BrokerNumber, Result<Box<FetchLane>, WireError>),
    /// The pause of the waiting partitions is over, metadata is as new as it gets.
    Again,
    /// Every broker was asked who leads what is doubted, or none answered.
    AskedAll(Result<(), ClientError>),
}

impl Consumer {
    pub(crate) fn new(client: Client, config: ConsumerConfig) -> Self {
        Self {
            connections: Arc::new(client.connections().separate()),
            client,
            pace: Pace::new(&config),
            config: pace::paced(config),
            partitions: Vec::new(),
            slots: HashMap::new(),
            vacant: Vec::new(),
            lanes: Vec::new(),
            idle: Vec::new(),
            waiting: Vec::new(),
            retrying: false,
            asks_all: false,
            ready: VecDeque::new(),
            errors: VecDeque::new(),
            work: FuturesUnordered::new(),
            request_ids: 0,
            watchdog: None,
        }
    }

    /// Adds partitions, and moves those that are assigned already. When it returns, `Latest` and `Timestamp` are fixed offsets.
    ///
    /// # Errors
    /// A topic or partition is not there, or its leader did not answer within the call timeout. Nothing is changed then.
    pub async fn assign<T: Into<String>>(
        &mut self,
        assignment: impl IntoIterator<Item = (T, PartitionIndex, Start)>,
    ) -> Result<(), ClientError> {
        let wanted: Vec<(String, PartitionIndex, Start)> = assignment
            .into_iter()
            .map(|(topic, partition, start)| (topic.into(), partition, start))
            .collect();
        let mut topics = Vec::with_capacity(wanted.len());
        for (name, partition, _) in &wanted {
            let topic = self.client.topic(name).await?;
            let partitions = topic.partitions.len() as u32;
            if partition.0 >= partitions {
                return Err(ClientError::UnknownPartition {
                    topic: name.clone(),
                    partition: *partition,
                    partitions,
                });
            }
            topics.push(topic);
        }
        let offsets = self.client.offsets(&wanted).await?;
        for ((topic, (_, partition, _)), offset) in topics.into_iter().zip(wanted).zip(offsets) {
            self.place(topic, partition, offset);
        }
        Ok(())
    }

    /// Gives a partition back: nothing more of it is fetched or handed out, what was prefetched is dropped. False: it is not assigned.
    pub fn unassign(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        let slot = self.slot(topic, partition);
        if let Some(slot) = slot {
            self.vacate(slot);
        }
        slot.is_some()
    }

    /// The next batch of any partition that is not paused; waits until there is one. Errors of a partition come once each, in between;
    /// the other partitions go on.
    ///
    /// Cancel safe: nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// No partition is assigned; a position is out of range; a batch is damaged; a broker refuses for good. What passes by itself (leader
    /// changes, broken connections) is retried without end.
    pub async fn next_batch(&mut self) -> Result<ConsumedBatch, ClientError> {
        if self.slots.is_empty() {
            return Err(ClientError::NothingAssigned);
        }
        poll_fn(|cx| self.poll_next_batch(cx)).await
    }

    /// The records of the next batch; none if none came within `max_wait`.
    ///
    /// # Errors
    /// As [`Self::next_batch`], and if the batch cannot be decoded.
    pub async fn poll(&mut self, max_wait: Duration) -> Result<Vec<ConsumedRecord>, ClientError> {
        match timeout(max_wait, self.next_batch()).await {
            Ok(batch) => batch?.records()?.collect(),
            Err(_elapsed) => Ok(Vec::new()),
        }
    }

    /// Stops handing out records of the partition until [`Self::resume`]. What is under way is kept. False: it is not assigned.
    pub fn pause(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        self.with(topic, partition, |consumer, slot| {
            consumer.pause_slot(slot, true);
        })
    }

    /// Goes on where [`Self::pause`] stopped. False: it is not assigned.
    pub fn resume(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        self.with(topic, partition, |consumer, slot| {
            consumer.pause_slot(slot, false);
        })
    }

    /// The next record of the partition will be the one at `offset`. False: it is not assigned.
    pub fn seek(&mut self, topic: &str, partition: PartitionIndex, offset: Offset) -> bool {
        self.with(topic, partition, |consumer, slot| {
            consumer.move_to(slot, offset);
        })
    }

    /// The offset of the next record to be handed out.
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        self.assigned(topic, partition).map(|a| a.position)
    }

    /// Where the partition ended when it was last heard of; `None` before.
    pub fn high_watermark(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        self.assigned(topic, partition)?.high_watermark
    }

    /// As [`Self::next_batch`], for hand-written futures.
    ///
    /// # Errors
    /// As [`Self::next_batch`].
    pub fn poll_next_batch(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ConsumedBatch, ClientError>> {
        loop {
            if self.is_paced(cx) {
                return Poll::Pending;
            }
            self.pump();
            if let Some(error) = self.errors.pop_front() {
                return Poll::Ready(Err(error));
            }
            if let Some(batch) = self.next_ready() {
                if let Ok(batch) = &batch {
                    self.pace.handed_out(batch.bytes.len());
                }
                return Poll::Ready(batch);
            }
            let mut progress = false;
            while let Poll::Ready(Some(done)) = self.work.poll_next_unpin(cx) {
                self.done(done);
                progress = true;
            }
            progress |= self.poll_lanes(cx);
            progress |= self.poll_watchdog(cx);
            // What pump started has to be polled once, to be woken for it.
            progress |= self.pump();
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Is there something that may not be handed out yet? Nothing else is read or asked for meanwhile: it would only be held.
    fn is_paced(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ready.is_empty() || self.pace.poll_due(cx).is_ready() {
            return false;
        }
        // Brokers may have answered: nobody looked.
        let now = std::time::Instant::now();
        for lane in &mut self.lanes {
            lane.not_read(now);
        }
        true
    }

    /// The next batch of what has arrived.
    fn next_ready(&mut self) -> Option<Result<ConsumedBatch, ClientError>> {
        let mut at = 0;
        while let Some(chunk) = self.ready.get_mut(at) {
            let assigned = &mut self.partitions[chunk.slot];
            if assigned.paused {
                at += 1;
                continue;
            }
            match assigned.hand_out(chunk, &self.config) {
                Some(Ok(batch)) => return Some(Ok(batch)),
                Some(Err(error)) => {
                    self.ready.remove(at);
                    return Some(Err(error));
                }
                None => {
                    self.ready.remove(at);
                }
            }
        }
        None
    }

    /// Reads the partition from `offset` on, whether it was assigned before or not.
    pub(crate) fn place(&mut self, topic: Arc<Topic>, partition: PartitionIndex, offset: Offset) {
        let key = (topic.id, partition.0);
        if let Some(slot) = self.slots.get(&key) {
            self.move_to(*slot, offset);
            return;
        }
        let assigned = Assigned::new(topic, partition);
        let slot = self.vacant.pop().unwrap_or(self.partitions.len());
        match self.partitions.get_mut(slot) {
            Some(vacant) => *vacant = assigned,
            None => self.partitions.push(assigned),
        }
        self.slots.insert(key, slot);
        self.move_to(slot, offset);
    }

    /// As [`Self::unassign`], by id.
    pub(crate) fn remove(&mut self, partition: TopicPartition) {
        let key = (partition.topic, partition.partition.0);
        if let Some(slot) = self.slots.get(&key) {
            self.vacate(*slot);
        }
    }

    /// As [`Self::pause`] and [`Self::resume`], by id.
    pub(crate) fn set_paused(&mut self, partition: TopicPartition, paused: bool) {
        let key = (partition.topic, partition.partition.0);
        if let Some(slot) = self.slots.get(&key).copied() {
            self.pause_slot(slot, paused);
        }
    }

    fn pause_slot(&mut self, slot: usize, paused: bool) {
        self.partitions[slot].paused = paused;
        if !paused && self.partitions[slot].turn == Turn::Idle {
            self.idle.push(slot);
        }
    }

    /// What is under way for the slot is ignored from now on, as after a seek: requests are told apart by their ids, so that the slot can be used again.
    fn vacate(&mut self, slot: usize) {
        self.ready.retain(|chunk| chunk.slot != slot);
        let assigned = &mut self.partitions[slot];
        assigned.turn = Turn::Vacant;
        self.slots.remove(&(assigned.topic.id, assigned.index.0));
        self.vacant.push(slot);
    }

    fn move_to(&mut self, slot: usize, offset: Offset) {
        self.ready.retain(|chunk| chunk.slot != slot);
        let assigned = &mut self.partitions[slot];
        assigned.position = offset;
        assigned.fetch_from = offset;
        assigned.out_of_range_in = None;
        // What is under way for the old position is ignored: its turn is over.
        if !assigned.turn.ends_by_itself() {
            assigned.turn = Turn::Idle;
            self.idle.push(slot);
        }
    }

    fn slot(&self, topic: &str, partition: PartitionIndex) -> Option<usize> {
        let is = |a: &Assigned| {
            a.turn != Turn::Vacant && a.index == partition && *a.topic.name == *topic
        };
        self.partitions.iter().position(is)
    }

    fn assigned(&self, topic: &str, partition: PartitionIndex) -> Option<&Assigned> {
        self.slot(topic, partition)
            .map(|slot| &self.partitions[slot])
    }

    fn with(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        act: impl FnOnce(&mut Self, usize),
    ) -> bool {
        let slot = self.slot(topic, partition);
        if let Some(slot) = slot {
            act(self, slot);
        }
        slot.is_some()
    }
}
