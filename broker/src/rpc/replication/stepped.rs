//! A session with a follower without a task: whoever drives it brings messages and time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use taffrail_api::{
    WireError,
    stream::AnswerChunks,
    v1::{self, FollowerMessage, LeaderMessage, follower_message, leader_message},
};
use taffrail_core::{BrokerNumber, ErrorCode, TopicPartition, replica::FetchRequest};

use super::{
    hello,
    leader_session::LeaderSession,
    logs::{self, NotRead},
    session::{SILENCE_MAX, forget, refusal, repeated},
    sessions::{Seat, Sessions},
};
use crate::{
    broker::Broker,
    partition::{
        growth::News,
        hearing::Hears,
        replicate::{Fetched, ReplicaFetch},
    },
};

/// The sessions of one broker.
#[derive(Debug, Default)]
pub(crate) struct Seats(Arc<Sessions>);

/// A follower's session.
#[derive(Debug)]
pub(crate) struct Stepped {
    state: LeaderSession,
    news: Arc<News>,
    seat: Seat,
    follower: BrokerNumber,
    /// When something was read last: without it for long, the session ends.
    heard_ms: u64,
    /// For those who have to know until when it followed.
    last: Hears,
}

impl Stepped {
    /// Opens the session by the follower's first message. What to answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn open(
        broker: &Broker,
        seats: &Seats,
        first: FollowerMessage,
    ) -> Result<(Self, LeaderMessage), WireError> {
        let Some(follower_message::Message::Hello(hello)) = first.message else {
            return Err(WireError::invalid("say hello first"));
        };
        let known = Arc::clone(&broker.known.borrow());
        let follower = hello::check(&hello, broker.membership.number(), &known.view)?;
        let seat = seats.0.open(follower.broker, follower.incarnation)?;
        let now_ms = broker.uptime_ms();
        let window = follower
            .window_bytes
            .min(broker.config.replication.window_bytes);
        let session = Self {
            state: LeaderSession::new(follower.broker, follower.incarnation, window.max(1), now_ms),
            news: Arc::default(),
            last: Hears::new(seat.number),
            seat,
            follower: follower.broker,
            heard_ms: now_ms,
        };
        let hello = v1::LeaderHello {
            version: follower.version,
            broker: broker.membership.number().map_or(0, |me| me.0),
            incarnation: Some(broker.membership.incarnation.into()),
        };
        let hello = LeaderMessage {
            message: Some(leader_message::Message::Hello(hello)),
        };
        Ok((session, hello))
    }

    /// The follower said something.
    ///
    /// # Errors
    /// The session has to end.
    pub(crate) fn hear(
        &mut self,
        broker: &Broker,
        message: FollowerMessage,
    ) -> Result<(), WireError> {
        self.heard_ms = broker.uptime_ms();
        let Some(follower_message::Message::Positions(positions)) = message.message else {
            return Err(WireError::invalid("positions come after the hello"));
        };
        self.state.hear(&positions)?;
        for left in self.state.take_left() {
            forget(broker, self.follower, &self.last, left);
        }
        repeated(broker, &self.last, positions.clock_ms);
        Ok(())
    }

    /// What the owner of the logs has to compare; each is to come back through [`Self::checked`].
    pub(crate) fn take_unchecked(
        &mut self,
        broker: &Broker,
    ) -> (Vec<(TopicPartition, FetchRequest)>, Vec<ReplicaFetch>) {
        let mut asked = self.state.take_unchecked();
        let mut fetches = Vec::with_capacity(asked.len());
        asked.retain(|(id, request)| {
            let Some(partition) = broker.partitions.get(*id) else {
                let unknown = refusal(*id, request, ErrorCode::UnknownPartition);
                self.state.checked(*id, request, Err(unknown));
                return false;
            };
            partition.growth.add(&self.news);
            if partition.is_internal() {
                let (follower, epoch) = (self.follower, request.leader_epoch);
                partition
                    .hearing
                    .follows(follower, epoch, self.last.heard());
            }
            fetches.push(ReplicaFetch {
                partition,
                request: *request,
            });
            true
        });
        (asked, fetches)
    }

    /// What the owner of the logs said.
    pub(crate) fn checked(
        &mut self,
        asked: &[(TopicPartition, FetchRequest)],
        fetched: Vec<Fetched>,
    ) {
        for ((id, request), fetched) in asked.iter().zip(fetched) {
            let fetched = fetched.map_err(|code| refusal(*id, request, code));
            self.state.checked(*id, request, fetched);
        }
    }

    /// Reads what is new, and says what is to be said by now.
    ///
    /// # Errors
    /// The session has to end.
    pub(crate) fn say(&mut self, broker: &Broker) -> Result<Option<LeaderMessage>, WireError> {
        let now_ms = broker.uptime_ms();
        if self.seat.ended.is_cancelled() {
            return Err(WireError::new(
                ErrorCode::BrokerFenced,
                "a later session of this follower took the place of this one",
            ));
        }
        if now_ms >= self.heard_ms + SILENCE_MAX.as_millis() as u64 {
            return Err(WireError::new(
                ErrorCode::TimedOut,
                "the follower is silent",
            ));
        }
        for id in self.news.take() {
            self.state.news(id);
        }
        self.state.tick(&*broker.partitions, now_ms);
        while let Some(read) = self.state.next_read(&*broker.partitions, now_ms) {
            let found = match broker.partitions.get(read.id) {
                Some(partition) => logs::read(&partition, &read),
                None => Err(NotRead::Changed),
            };
            self.state.read(&read, found);
        }
        if !self.state.has_answers(now_ms) {
            return Ok(None);
        }
        let answers = self.state.answers(now_ms).into_iter().map(whole);
        let answers = v1::Answers {
            answers: answers.collect(),
            clock_ms: self.last.says(now_ms),
        };
        Ok(Some(LeaderMessage {
            message: Some(leader_message::Message::Answers(answers)),
        }))
    }
}

/// The answer as it comes out of the wire.
fn whole(answer: AnswerChunks) -> v1::Answer {
    if answer.chunks.is_empty() {
        return answer.head;
    }
    let mut batches = BytesMut::with_capacity(answer.batch_bytes());
    answer
        .chunks
        .iter()
        .for_each(|chunk: &Bytes| batches.extend_from_slice(chunk));
    v1::Answer {
        outcome: Some(v1::answer::Outcome::Batches(v1::ReplicatedBatches {
            batches: batches.freeze(),
            append_time_ms: answer.append_time_ms,
        })),
        ..answer.head
    }
}
