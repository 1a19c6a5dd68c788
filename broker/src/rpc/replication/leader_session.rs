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

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use taffrail_api::{
    WireError,
    convert::{fetch_answer, fetch_request, topic_partition},
    stream::AnswerChunks,
    transport::ANSWERS_BYTES_MAX,
    v1,
};
use taffrail_core::{
    BrokerNumber, ErrorCode, Incarnation, LeaderEpoch, Offset, TopicPartition,
    replica::{FetchAnswer, FetchOutcome, FetchRequest},
};

/// The follower hears something at least this often.
const KEEPALIVE_MS: u64 = 500;
/// A high watermark that moved goes alone if nothing else goes for so long.
const HIGH_WATERMARK_DELAY_MS: u64 = 100;
/// Batches of one partition in one answer: enough for a disk to be fast, and short enough for others not to wait long.
const PARTITION_BYTES_MAX: usize = 1 << 20;
/// Partitions that one follower may ask for.
const PARTITIONS_MAX: usize = 200_000;

/// Answers that were made and not sent.
const ANSWERS_MAX: usize = 20_000;

/// A log that this broker leads, as a session has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Led {
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) log_end: Offset,
}

/// The logs of this broker.
pub(super) trait Logs {
    /// `None`: it does not lead the partition in exactly this epoch (any more).
    fn led(&self, id: TopicPartition, epoch: LeaderEpoch) -> Option<Led>;
}

/// To be read and handed to [`LeaderSession::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) id: TopicPartition,
    /// From the end of its tail on.
    pub(super) request: FetchRequest,
    pub(super) max_bytes: usize,
}

/// What was read in the epoch that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) chunks: Vec<Bytes>,
    pub(super) append_time_ms: i64,
    /// Known before the read.
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotRead {
    /// The epoch is over, or the log begins later by now: the position has to be looked at anew.
    Changed,
    Failed(WireError),
}

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
    /// There may be something new, in the order in which it came.
    ready: VecDeque<TopicPartition>,
    /// Nothing is new but the high watermark, since then.
    quiet: VecDeque<(u64, TopicPartition)>,
    answers: VecDeque<AnswerChunks>,
    said_at_ms: u64,
}

#[derive(Debug)]
struct Place {
    request: FetchRequest,
    state: State,
    in_flight: usize,
    /// The high watermark that the follower knows, of this epoch.
    told: Option<Offset>,
    is_ready: bool,
    is_quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is asked: it was answered, or only reported.
    Answered,
    /// To be compared by the owner of the log.
    Asked,
    /// It waits for something new.
    Matched,
    Reading,
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
            ready: VecDeque::new(),
            quiet: VecDeque::new(),
            answers: VecDeque::new(),
            said_at_ms: now_ms,
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
            let place = Place {
                request,
                state,
                in_flight: 0,
                told: None,
                is_ready: false,
                is_quiet: false,
            };
            self.places.insert(id, place);
            return;
        };
        if asks || !same_place(&place.request, &request) {
            // It has written what it was sent, or will never.
            self.in_flight -= std::mem::take(&mut place.in_flight);
            place.state = state;
        }
        if place.request.leader_epoch != request.leader_epoch {
            place.told = None;
        }
        place.request = request;
    }

    /// What the owner of the logs has to hear since the last time; each is to come back through [`Self::checked`].
    pub(super) fn to_check(&mut self) -> Vec<(TopicPartition, FetchRequest)> {
        let unchecked = std::mem::take(&mut self.unchecked);
        let request = |id| Some((id, self.places.get(&id)?.request));
        unchecked.into_iter().filter_map(request).collect()
    }

    /// The owner of the log compared a position with it.
    pub(super) fn checked(
        &mut self,
        id: TopicPartition,
        request: &FetchRequest,
        fetched: Result<FetchAnswer, WireError>,
    ) {
        let place = self.places.get_mut(&id);
        let waiting = place.filter(|p| p.state == State::Asked && same_place(&p.request, request));
        let Some(place) = waiting else {
            return;
        };
        match fetched {
            Ok(answer) if answer.outcome == FetchOutcome::Matches => {
                place.state = State::Matched;
                self.news(id);
            }
            other => {
                place.state = State::Answered;
                place.told = other.as_ref().ok().map(|answer| answer.high_watermark);
                let head = fetch_answer(id, request, other);
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
                let answer = FetchAnswer {
                    leader_epoch: place.request.leader_epoch,
                    tail: place.request.tail,
                    log_start: found.log_start,
                    high_watermark: found.high_watermark,
                    outcome: FetchOutcome::Matches,
                };
                let chunks = AnswerChunks {
                    head: fetch_answer(id, &place.request, Ok(answer)),
                    append_time_ms: found.append_time_ms,
                    chunks: found.chunks,
                };
                place.state = State::Answered;
                place.told = Some(found.high_watermark);
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
                let answer = FetchAnswer {
                    leader_epoch: place.request.leader_epoch,
                    tail: place.request.tail,
                    log_start: led.log_start,
                    high_watermark: led.high_watermark,
                    outcome: FetchOutcome::Matches,
                };
                place.state = State::Answered;
                place.told = Some(led.high_watermark);
                let head = fetch_answer(id, &place.request, Ok(answer));
                self.answers.push_back(AnswerChunks::of(head));
            }
        }
    }

    /// May the follower say more? Not while it does not take what it asked for.
    pub(super) fn has_room(&self) -> bool {
        self.answers.len() < ANSWERS_MAX
    }

    /// Is there something to say by now?
    pub(super) fn has_answers(&self, now_ms: u64) -> bool {
        !self.answers.is_empty() || now_ms >= self.said_at_ms + KEEPALIVE_MS
    }

    /// The next message; it is empty if the follower only has to hear that the leader is there.
    pub(super) fn answers(&mut self, now_ms: u64) -> Vec<AnswerChunks> {
        self.said_at_ms = now_ms;
        let (mut message, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWERS_BYTES_MAX
            && let Some(answer) = self.answers.pop_front()
        {
            // An envelope is not free either.
            bytes += answer.batch_bytes() + ENVELOPE_BYTES;
            message.push(answer);
        }
        message
    }

    /// When there is something to do if nothing happens before.
    pub(super) fn wakes_at(&self) -> u64 {
        let keepalive_ms = self.said_at_ms + KEEPALIVE_MS;
        self.quiet
            .front()
            .map_or(keepalive_ms, |(due_ms, _)| keepalive_ms.min(*due_ms))
    }
}

/// An answer but for its batches, about.
const ENVELOPE_BYTES: usize = 128;

/// Is an answer to the one an answer to the other as well?
fn same_place(one: &FetchRequest, other: &FetchRequest) -> bool {
    one.leader_epoch == other.leader_epoch && one.tail == other.tail
}

#[cfg(test)]
mod tests;
