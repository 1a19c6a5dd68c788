//! A session as the leader sees it: positions in, what to check, to read and to answer out. No clock, no disk and no network: times and logs come in with events.
//!
//! ```text
//!   position --> Asked --checked--> Matched --news--> Reading --> Answered
//!                  ^     |             | |                ^          |
//!                  |     |             | +--- too much is on its way |
//!                  |     +-- parted -> | ------------------> Answered
//!                  +--- epoch over ----+                             |
//!                  +------------------------- the next position -----+
//! ```

mod place;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taffrail_api::{
    WireError,
    convert::{fetch_answer, fetch_request, topic_partition},
    stream::AnswerChunks,
    transport::ANSWERS_BYTES_MAX,
    v1,
};
use taffrail_core::{
    BrokerNumber, ErrorCode, Incarnation, TopicPartition,
    replica::{FetchOutcome, FetchRequest},
};

use self::place::{Place, State, same_place};
use super::logs::{Found, Logs, NotRead, Read};
use crate::partition::replicate::Told;
use bytes::Bytes;

/// The follower hears something at least this often. With the way there and back it is how old a leader's knowledge of its followers gets when nothing else is
/// said: coordinators of groups have a second for both where session timeouts are the shortest (`partition/hearing.rs`).
const KEEPALIVE_MS: u64 = 500;
/// A high watermark that moved goes alone if nothing else goes for so long.
const HIGH_WATERMARK_DELAY_MS: u64 = 100;
/// Batches of one partition in one answer: enough for a disk to be fast, and short enough for others not to wait long.
const PARTITION_BYTES_MAX: usize = 1 << 20;
/// Partitions that one follower may ask for.
const PARTITIONS_MAX: usize = 200_000;

/// Answers that were made and not sent.
const ANSWERS_MAX: usize = 20_000;

/// What one follower was told, and what it waits for, of all partitions that it follows here.
///
/// Invariant: `in_flight` is the sum of the places', and above the window only by one answer.
#[derive(Debug)]
pub(super) struct LeaderSession {
    follower: BrokerNumber,
    incarnation: Incarnation,
    window_bytes: usize,
    in_flight: usize,
    places: BTreeMap<TopicPartition, Place>,
    /// The owner of the logs has to hear of these.
    unchecked: BTreeSet<TopicPartition>,
    /// The follower does not follow these any more, or in another epoch than before.
    left: Vec<TopicPartition>,
    /// There may be something new, in the order in which it came.
    ready: VecDeque<TopicPartition>,
    /// Nothing is new but the high watermark, since then.
    quiet: VecDeque<(u64, TopicPartition)>,
    answers: VecDeque<AnswerChunks>,
    /// When something is said though there are no answers.
    speaks_at_ms: u64,
}

impl LeaderSession {
    pub(super) fn new(
        follower: BrokerNumber,
        incarnation: Incarnation,
        window_bytes: usize,
        now_ms: u64,
    ) -> Self {
        Self {
            follower,
            incarnation,
            window_bytes,
            in_flight: 0,
            places: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            left: Vec::new(),
            ready: VecDeque::new(),
            quiet: VecDeque::new(),
            answers: VecDeque::new(),
            // At once: whether it is followed a leader knows from what a follower repeats.
            speaks_at_ms: now_ms,
        }
    }

    /// The follower says where it stands.
    ///
    /// # Errors
    /// No follower says this: end the session.
    pub(super) fn hear(&mut self, positions: &v1::Positions) -> Result<(), WireError> {
        for gone in &positions.gone {
            let id = topic_partition(&gone.topic_id, gone.partition)?;
            if let Some(place) = self.places.remove(&id) {
                self.in_flight -= place.in_flight;
                self.left.push(id);
            }
        }
        for position in &positions.positions {
            let (id, request) = fetch_request(position, self.follower, self.incarnation)?;
            self.place(id, request, position.asks);
        }
        if self.places.len() > PARTITIONS_MAX {
            return Err(WireError::new(
                ErrorCode::ResourceExhausted,
                format!("one broker follows at most {PARTITIONS_MAX} partitions of another"),
            ));
        }
        Ok(())
    }

    fn place(&mut self, id: TopicPartition, request: FetchRequest, asks: bool) {
        self.unchecked.insert(id);
        let state = if asks { State::Asked } else { State::Answered };
        let Some(place) = self.places.get_mut(&id) else {
            self.places.insert(id, Place::new(request, state));
            return;
        };
        if asks || !same_place(&place.request, &request) {
            // It has written what it was sent, or will never.
            self.in_flight -= std::mem::take(&mut place.in_flight);
            place.state = state;
        }
        if place.request.leader_epoch != request.leader_epoch {
            place.told = None;
            self.left.push(id);
        }
        place.request = request;
    }

    /// What the follower left since the last time, at least in the epoch in which it followed.
    pub(super) fn take_left(&mut self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.left)
    }

    /// What the owner of the logs has to hear since the last time; each is to come back through [`Self::checked`].
    pub(super) fn take_unchecked(&mut self) -> Vec<(TopicPartition, FetchRequest)> {
        let unchecked = std::mem::take(&mut self.unchecked);
        let request = |id| Some((id, self.places.get(&id)?.request));
        unchecked.into_iter().filter_map(request).collect()
    }

    /// The owner of the log compared a position with it. What was only reported is answered if it was refused while the follower waits for news: it has
    /// to say it again.
    pub(super) fn checked(
        &mut self,
        id: TopicPartition,
        request: &FetchRequest,
        fetched: Result<Told, WireError>,
    ) {
        let place = self.places.get_mut(&id);
        let is_open = |state| match state {
            State::Asked => true,
            State::Matched => fetched.is_err(),
            State::Answered | State::Reading => false,
        };
        let waiting = place.filter(|p| is_open(p.state) && same_place(&p.request, request));
        let Some(place) = waiting else {
            return;
        };
        match fetched {
            Ok(told) if told.answer.outcome == FetchOutcome::Matches => {
                place.state = State::Matched;
                self.news(id);
            }
            other => {
                place.state = State::Answered;
                let (answer, producers) = match other {
                    Ok(told) => (Ok(told.answer), told.producers),
                    Err(error) => (Err(error), Bytes::new()),
                };
                // A log that parts from this one, or begins anew, takes no high watermark from the answer that says so.
                place.told = None;
                let mut head = fetch_answer(id, request, answer);
                if let Some(v1::answer::Outcome::OutOfRange(begins)) = &mut head.outcome {
                    begins.producers = producers;
                }
                self.answers.push_back(AnswerChunks::of(head));
            }
        }
    }

    /// Its log grew, its high watermark moved, or its epoch is over.
    pub(super) fn news(&mut self, id: TopicPartition) {
        let place = self.places.get_mut(&id);
        if let Some(place) = place.filter(|p| p.state == State::Matched && !p.is_ready) {
            place.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// The next read, if there is something new and room for it.
    pub(super) fn next_read(&mut self, logs: &impl Logs, now_ms: u64) -> Option<Read> {
        while let Some(id) = self.ready.front().copied() {
            let place = self.places.get_mut(&id);
            let Some(place) = place.filter(|p| p.state == State::Matched) else {
                self.unready();
                continue;
            };
            let Some(led) = logs.led(id, place.request.leader_epoch) else {
                place.state = State::Asked;
                self.unchecked.insert(id);
                self.unready();
                continue;
            };
            if led.log_end > place.request.tail.end {
                let max_bytes = PARTITION_BYTES_MAX.min(self.window_bytes);
                if self.in_flight > 0 && self.in_flight + max_bytes > self.window_bytes {
                    return None;
                }
                place.state = State::Reading;
                place.in_flight = max_bytes;
                self.in_flight += max_bytes;
                let request = place.request;
                self.unready();
                return Some(Read {
                    id,
                    request,
                    max_bytes,
                });
            }
            if Some(led.high_watermark) > place.told && !place.is_quiet {
                place.is_quiet = true;
                let due_ms = now_ms + HIGH_WATERMARK_DELAY_MS;
                self.quiet.push_back((due_ms, id));
            }
            self.unready();
        }
        None
    }

    fn unready(&mut self) {
        let id = self.ready.pop_front();
        if let Some(place) = id.and_then(|id| self.places.get_mut(&id)) {
            place.is_ready = false;
        }
    }

    /// Something was read, or not.
    pub(super) fn read(&mut self, read: &Read, found: Result<Found, NotRead>) {
        let id = read.id;
        let place = self.places.get_mut(&id);
        let reading =
            place.filter(|p| p.state == State::Reading && same_place(&p.request, &read.request));
        let Some(place) = reading else {
            return;
        };
        self.in_flight -= std::mem::take(&mut place.in_flight);
        match found {
            Ok(found) => {
                let chunks = AnswerChunks {
                    head: place.answer(id, found.led),
                    append_time_ms: found.append_time_ms,
                    chunks: found.chunks,
                };
                place.in_flight = chunks.batch_bytes();
                self.in_flight += place.in_flight;
                self.answers.push_back(chunks);
            }
            Err(NotRead::Changed) => {
                place.state = State::Asked;
                self.unchecked.insert(id);
            }
            Err(NotRead::Failed(error)) => {
                place.state = State::Answered;
                let head = fetch_answer(id, &place.request, Err(error));
                self.answers.push_back(AnswerChunks::of(head));
            }
        }
    }

    /// Answers those for whom nothing but the high watermark is new for long enough.
    pub(super) fn tick(&mut self, logs: &impl Logs, now_ms: u64) {
        while let Some((due_ms, id)) = self.quiet.front().copied()
            && due_ms <= now_ms
        {
            self.quiet.pop_front();
            let Some(place) = self.places.get_mut(&id) else {
                continue;
            };
            place.is_quiet = false;
            let led = logs.led(id, place.request.leader_epoch);
            let Some(led) = led.filter(|_| place.state == State::Matched) else {
                continue;
            };
            // With records that it does not have yet the high watermark goes as well.
            let is_alone = led.log_end == place.request.tail.end;
            if is_alone && Some(led.high_watermark) > place.told {
                self.answers
                    .push_back(AnswerChunks::of(place.answer(id, led)));
            }
        }
    }

    /// May the follower say more? Not while it does not take what it asked for.
    pub(super) fn has_room(&self) -> bool {
        self.answers.len() < ANSWERS_MAX
    }

    /// Is there something to say by now?
    pub(super) fn has_answers(&self, now_ms: u64) -> bool {
        !self.answers.is_empty() || now_ms >= self.speaks_at_ms
    }

    /// The next message; it is empty if the follower only has to hear that the leader is there.
    pub(super) fn answers(&mut self, now_ms: u64) -> Vec<AnswerChunks> {
        self.speaks_at_ms = now_ms + KEEPALIVE_MS;
        let (mut message, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWERS_BYTES_MAX
            && let Some(answer) = self.answers.pop_front()
        {
            // An envelope is not free either.
            bytes += answer.bytes() + ENVELOPE_BYTES;
            message.push(answer);
        }
        message
    }

    /// When there is something to do if nothing happens before.
    pub(super) fn wakes_at(&self) -> u64 {
        let quiet = self.quiet.front();
        quiet.map_or(self.speaks_at_ms, |(due_ms, _)| {
            self.speaks_at_ms.min(*due_ms)
        })
    }
}

/// An answer but for its batches, about.
const ENVELOPE_BYTES: usize = 128;

#[cfg(test)]
mod tests;
