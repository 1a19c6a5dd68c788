//! Reads partitions. There is no task: whoever awaits [`Consumer::next_batch`] drives it. The next request is sent as soon as an answer is
//! here, so that its answer arrives, up to HTTP/2's window, while the one before is being read.

mod batch;
mod lane;
mod partition;

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use taffrail_api::{WireError, status::from_status, v1};
use taffrail_core::{BrokerNumber, ErrorCode, Offset, PartitionIndex, TopicId};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::{
    client::{Client, no_leader},
    config::ConsumerConfig,
    connections::Connections,
    error::ClientError,
    record::ConsumedRecord,
};
pub use batch::{BatchRecords, ConsumedBatch};
use lane::FetchLane;
use partition::{Assigned, Chunk, Turn};

/// How often answers that are overdue are looked for.
const WATCHDOG: Duration = Duration::from_secs(1);

/// A topic that is not in the metadata after so many failures is gone; before, a broker may not know it yet.
const GONE_ATTEMPTS: u32 = 5;

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
    lanes: Vec<FetchLane>,
    /// Partitions to be asked for.
    idle: Vec<usize>,
    /// Partitions that failed and are to be asked for again after a pause.
    waiting: Vec<usize>,
    retrying: bool,
    /// What arrived and was not handed out.
    ready: VecDeque<Chunk>,
    errors: VecDeque<ClientError>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    request_ids: u64,
    watchdog: Option<Interval>,
}

/// What happens beside the data.
enum Done {
    /// A stream to a leader is open, or could not be opened.
    Opened(BrokerNumber, Result<Box<FetchLane>, WireError>),
    /// The pause of the waiting partitions is over, metadata is as new as it gets.
    Again,
}

impl Consumer {
    pub(crate) fn new(client: Client, config: ConsumerConfig) -> Self {
        Self {
            connections: Arc::new(client.connections().separate()),
            client,
            config,
            partitions: Vec::new(),
            slots: HashMap::new(),
            lanes: Vec::new(),
            idle: Vec::new(),
            waiting: Vec::new(),
            retrying: false,
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
            let key = (topic.id, partition.0);
            let slot = *self.slots.entry(key).or_insert_with(|| {
                self.partitions.push(Assigned::new(topic, partition));
                self.partitions.len() - 1
            });
            self.move_to(slot, offset);
        }
        Ok(())
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
        if self.partitions.is_empty() {
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
            consumer.partitions[slot].paused = true;
        })
    }

    /// Goes on where [`Self::pause`] stopped. False: it is not assigned.
    pub fn resume(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        self.with(topic, partition, |consumer, slot| {
            consumer.partitions[slot].paused = false;
            if consumer.partitions[slot].turn == Turn::Idle {
                consumer.idle.push(slot);
            }
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
            self.pump();
            if let Some(error) = self.errors.pop_front() {
                return Poll::Ready(Err(error));
            }
            if let Some(batch) = self.next_ready() {
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

    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        let mut at = 0;
        while at < self.lanes.len() {
            match self.lanes[at].answers.poll_message(cx) {
                Poll::Pending => {
                    at += 1;
                    continue;
                }
                Poll::Ready(Ok(Some(answer))) => {
                    self.answered(at, answer);
                    at += 1;
                }
                Poll::Ready(Ok(None)) => self.lane_ended(
                    at,
                    &WireError::new(ErrorCode::LeaderUnreachable, "the broker ended the stream"),
                ),
                Poll::Ready(Err(status)) => self.lane_ended(at, &from_status(&status)),
            }
            progress = true;
        }
        progress
    }

    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> bool {
        let watchdog = self.watchdog.get_or_insert_with(|| {
            let mut interval = interval(WATCHDOG);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let mut ticked = false;
        while watchdog.poll_tick(cx).is_ready() {
            ticked = true;
        }
        if !ticked {
            return false;
        }
        let patience = self.config.max_wait + self.config.request_timeout;
        let now = Instant::now();
        while let Some(at) = self.lanes.iter().position(|l| l.is_silent(now, patience)) {
            let error = WireError::new(ErrorCode::TimedOut, "the broker does not answer fetches");
            self.lane_ended(at, &error);
        }
        true
    }

    /// Asks for whatever may be asked for. True: something was started that has to be polled.
    fn pump(&mut self) -> bool {
        if self.idle.is_empty() {
            return false;
        }
        let known = self.client.known();
        let mut asked: HashMap<BrokerNumber, Vec<usize>> = HashMap::new();
        let mut opening = HashMap::new();
        for slot in std::mem::take(&mut self.idle) {
            let assigned = &mut self.partitions[slot];
            if assigned.turn != Turn::Idle || assigned.paused {
                continue;
            }
            let id = known.topic(&assigned.topic.name).map(|t| t.id);
            if assigned.attempts > GONE_ATTEMPTS && id != Some(assigned.topic.id) {
                assigned.turn = Turn::Stopped;
                let topic = assigned.topic.name.to_string();
                self.errors.push_back(ClientError::UnknownTopic { topic });
                continue;
            }
            let Some(leader) = known.leader(&assigned.topic.name, assigned.index) else {
                let error = no_leader(&assigned.topic.name, assigned.index);
                self.retry(slot, &error);
                continue;
            };
            assigned.leader_epoch = leader.epoch;
            if self.lanes.iter().any(|l| l.broker == leader.broker) {
                assigned.turn = Turn::Asked(self.request_ids + 1);
                asked.entry(leader.broker).or_default().push(slot);
            } else {
                let is_opening = |a: &Assigned| a.turn == Turn::Opening(leader.broker);
                let attempts = self.partitions[slot].attempts;
                if !self.partitions.iter().any(is_opening) {
                    opening.insert(leader.broker, (leader.address, attempts));
                }
                self.partitions[slot].turn = Turn::Opening(leader.broker);
            }
        }
        for (broker, slots) in asked {
            self.ask(broker, slots);
        }
        let mut started = self.start_retry();
        for (broker, (address, attempts)) in opening {
            let open = lane::open(Arc::clone(&self.connections), broker, address, attempts);
            self.work.push(
                open.map(move |lane| Done::Opened(broker, lane.map(Box::new)))
                    .boxed(),
            );
            started = true;
        }
        started
    }

    fn ask(&mut self, broker: BrokerNumber, slots: Vec<usize>) {
        self.request_ids += 1;
        let request_id = self.request_ids;
        let partitions = slots.iter().map(|&slot| {
            let assigned = &mut self.partitions[slot];
            assigned.turn = Turn::Asked(request_id);
            v1::FetchPartition {
                topic_id: assigned.topic.id_bytes.clone(),
                partition: assigned.index.0,
                leader_epoch: assigned.leader_epoch,
                offset: assigned.fetch_from.0 as i64,
                max_bytes: self.config.partition_max_bytes,
            }
        });
        let request = v1::FetchRequest {
            request_id,
            partitions: partitions.collect(),
            min_bytes: self.config.min_bytes,
            max_wait_ms: self.config.max_wait.as_millis() as u32,
            max_bytes: self.config.max_bytes,
        };
        if let Some(lane) = self.lanes.iter_mut().find(|l| l.broker == broker) {
            lane.ask(request, slots);
        }
    }

    fn answered(&mut self, lane: usize, answer: v1::FetchResponse) {
        let Some(slots) = self.lanes[lane].answered(answer.request_id) else {
            tracing::debug!(
                request = answer.request_id,
                "an answer that nobody waits for"
            );
            return;
        };
        let asked = Turn::Asked(answer.request_id);
        for fetched in answer.partitions {
            let slot = TopicId::try_from(&fetched.topic_id[..])
                .ok()
                .and_then(|id| self.slots.get(&(id, fetched.partition)).copied());
            // Another turn: it was moved since.
            if let Some(slot) = slot.filter(|&s| self.partitions[s].turn == asked) {
                self.fetched(slot, fetched);
            }
        }
        for slot in slots {
            if self.partitions[slot].turn == asked {
                self.partitions[slot].turn = Turn::Idle;
                self.idle.push(slot);
            }
        }
    }

    fn fetched(&mut self, slot: usize, fetched: v1::FetchedPartition) {
        let assigned = &mut self.partitions[slot];
        let end = Offset(fetched.high_watermark.max(0) as u64);
        match fetched.error.map(WireError::from) {
            None => {
                assigned.attempts = 0;
                assigned.high_watermark = Some(end);
                if let Some(chunk) = assigned.arrived(slot, fetched.batches) {
                    self.ready.push_back(chunk);
                }
            }
            Some(error) if error.code == ErrorCode::OffsetOutOfRange => {
                assigned.turn = Turn::Stopped;
                let error = ClientError::OffsetOutOfRange {
                    topic: assigned.topic.name.to_string(),
                    partition: assigned.index,
                    offset: assigned.fetch_from,
                    start: Offset(fetched.log_start_offset.max(0) as u64),
                    end,
                };
                self.errors.push_back(error);
            }
            Some(error) if error.retriable => self.retry(slot, &error),
            Some(error) => {
                assigned.turn = Turn::Stopped;
                self.errors.push_back(error.into());
            }
        }
    }

    fn lane_ended(&mut self, lane: usize, error: &WireError) {
        let lane = self.lanes.swap_remove(lane);
        self.connections.forget(&lane.address);
        for (request_id, slots) in lane.outstanding() {
            for slot in slots {
                if self.partitions[slot].turn == Turn::Asked(request_id) {
                    self.retry(slot, error);
                }
            }
        }
    }

    /// Asks for the partition again after a pause.
    fn retry(&mut self, slot: usize, error: &WireError) {
        let assigned = &mut self.partitions[slot];
        assigned.turn = Turn::Waiting;
        assigned.attempts += 1;
        tracing::debug!(topic = %assigned.topic.name, partition = %assigned.index, attempts = assigned.attempts, %error, "a fetch is to be sent again");
        self.waiting.push(slot);
        self.start_retry();
    }

    /// One pause, and one look at the metadata, for all that wait.
    fn start_retry(&mut self) -> bool {
        if self.retrying || self.waiting.is_empty() {
            return false;
        }
        self.retrying = true;
        let waiting = self.waiting.iter().map(|&slot| &self.partitions[slot]);
        let attempts = waiting.clone().map(|a| a.attempts).max().unwrap_or(1);
        let mut topics: Vec<String> = waiting.map(|a| a.topic.name.to_string()).collect();
        topics.sort_unstable();
        topics.dedup();
        let pause = self.client.backoff().pause(attempts);
        let client = self.client.clone();
        let again = async move {
            sleep(pause).await;
            if let Err(error) = client.refresh(&topics).await {
                tracing::debug!(%error, "metadata could not be refreshed");
            }
            Done::Again
        };
        self.work.push(again.boxed());
        true
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Again => {
                self.retrying = false;
                for slot in std::mem::take(&mut self.waiting) {
                    if self.partitions[slot].turn == Turn::Waiting {
                        self.partitions[slot].turn = Turn::Idle;
                        self.idle.push(slot);
                    }
                }
            }
            Done::Opened(broker, opened) => {
                let failure = match opened {
                    Ok(lane) => {
                        self.lanes.push(*lane);
                        None
                    }
                    Err(error) => Some(error),
                };
                for slot in 0..self.partitions.len() {
                    if self.partitions[slot].turn != Turn::Opening(broker) {
                        continue;
                    }
                    if let Some(error) = &failure {
                        self.retry(slot, error);
                    } else {
                        self.partitions[slot].turn = Turn::Idle;
                        self.idle.push(slot);
                    }
                }
            }
        }
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

    fn move_to(&mut self, slot: usize, offset: Offset) {
        self.ready.retain(|chunk| chunk.slot != slot);
        let assigned = &mut self.partitions[slot];
        assigned.position = offset;
        assigned.fetch_from = offset;
        // What is under way for the old position is ignored: its turn is over.
        if !matches!(assigned.turn, Turn::Opening(_) | Turn::Waiting) {
            assigned.turn = Turn::Idle;
            self.idle.push(slot);
        }
    }

    fn slot(&self, topic: &str, partition: PartitionIndex) -> Option<usize> {
        let is = |a: &Assigned| a.index == partition && *a.topic.name == *topic;
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
