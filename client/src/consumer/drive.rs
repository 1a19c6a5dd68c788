//! What happens between two batches: answers are read, requests sent, streams opened, failures waited out.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use taffrail_api::{WireError, status::from_status, v1};
use taffrail_core::{BrokerNumber, ErrorCode, Offset, TopicId};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    Consumer, Done, lane,
    partition::{Assigned, Turn},
};
use crate::{client::no_leader, error::ClientError, metadata::MOVED_PATIENCE};

/// How often answers that are overdue are looked for.
const WATCHDOG: Duration = Duration::from_secs(1);
/// A topic that is not in the metadata after so many failures is gone; before, a broker may not know it yet.
const GONE_ATTEMPTS: u32 = 5;
/// So many failures in a row are more than a fail-over, and are said: of one of the partitions that wait.
const ATTEMPTS_UNTIL_SAID: u32 = 10;

impl Consumer {
    pub(super) fn poll_lanes(&mut self, cx: &mut Context<'_>) -> bool {
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

    pub(super) fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> bool {
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
        let now = Instant::now();
        while let Some(at) = self.silent_lane(now) {
            let error = WireError::new(ErrorCode::TimedOut, "the broker does not answer fetches");
            self.lane_ended(at, &error);
        }
        true
    }

    /// A lane whose broker owes an answer for too long.
    fn silent_lane(&self, now: Instant) -> Option<usize> {
        let known = self.client.known();
        let has_moved = |slot: &usize| {
            let assigned = &self.partitions[*slot];
            known.epoch(&assigned.topic.name, assigned.index) > assigned.leader_epoch
        };
        let patience = |slots: &[usize]| {
            let patience = self.config.request_timeout;
            if slots.iter().any(has_moved) {
                self.config.max_wait + patience.min(MOVED_PATIENCE)
            } else {
                self.config.max_wait + patience
            }
        };
        self.lanes
            .iter()
            .position(|lane| lane.is_silent(now, patience))
    }

    /// Asks for whatever may be asked for. True: something was started that has to be polled.
    pub(super) fn pump(&mut self) -> bool {
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
                assigned.out_of_range_in = None;
                assigned.high_watermark = Some(end);
                if let Some(chunk) = assigned.arrived(slot, fetched.batches) {
                    self.ready.push_back(chunk);
                }
            }
            Some(error) if error.code == ErrorCode::OffsetOutOfRange => {
                if !self.is_believed(slot, fetched.leader_epoch) {
                    self.doubt(slot);
                    return;
                }
                let assigned = &mut self.partitions[slot];
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
    pub(super) fn retry(&mut self, slot: usize, error: &impl Display) {
        let assigned = &mut self.partitions[slot];
        assigned.turn = Turn::Waiting;
        assigned.attempts += 1;
        let attempts = assigned.attempts;
        tracing::debug!(topic = %assigned.topic.name, partition = %assigned.index, attempts, %error, "a fetch is to be sent again");
        self.waiting.push(slot);
        if self.start_retry() && attempts.is_multiple_of(ATTEMPTS_UNTIL_SAID) {
            let assigned = &self.partitions[slot];
            tracing::warn!(topic = %assigned.topic.name, partition = %assigned.index, attempts, %error, "fetches fail again and again; they are sent until they succeed");
        }
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

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::AskedAll(asked) => self.asked_all(&asked),
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
}
