//! A session with a leader without a task: whoever drives it brings messages and time.

use taffrail_api::{
    WireError,
    v1::{FollowerMessage, LeaderMessage, follower_message, leader_message},
};
use taffrail_core::{BrokerNumber, ErrorCode};

use super::{
    check::Checked, dial, follower_session::FollowerSession, link::SILENCE_MAX, throttle::Throttle,
};
use crate::{broker::Broker, partition::replicate::Replicated};

/// A session that was dialled.
#[derive(Debug)]
pub(crate) struct Stepped {
    leader: BrokerNumber,
    /// Once the leader has said hello.
    session: Option<FollowerSession>,
    heard_ms: u64,
}

impl Stepped {
    /// The connection is there. What to say first.
    ///
    /// # Errors
    /// This broker has no number yet.
    pub(crate) fn open(
        broker: &Broker,
        leader: BrokerNumber,
    ) -> Result<(Self, FollowerMessage), WireError> {
        let hello = dial::hello(broker, leader)?;
        let hello = FollowerMessage {
            message: Some(follower_message::Message::Hello(hello)),
        };
        let session = Self {
            leader,
            session: None,
            heard_ms: broker.uptime_ms(),
        };
        Ok((session, hello))
    }

    /// The leader said something.
    ///
    /// # Errors
    /// The session has to end.
    pub(crate) fn hear(
        &mut self,
        broker: &Broker,
        throttle: &mut Throttle,
        message: LeaderMessage,
    ) -> Result<(), WireError> {
        let now_ms = broker.uptime_ms();
        let Some(session) = &mut self.session else {
            let Some(leader_message::Message::Hello(hello)) = message.message else {
                return Err(WireError::invalid("a leader says hello first"));
            };
            dial::check(&hello, self.leader)?;
            self.session = Some(FollowerSession::new(now_ms));
            broker.positions.take(self.leader);
            broker.disk.ask_positions(self.leader);
            self.heard(broker);
            return Ok(());
        };
        let Some(leader_message::Message::Answers(answers)) = message.message else {
            return Err(WireError::invalid("answers come after the hello"));
        };
        let obey = session.answered(answers, now_ms, throttle, broker)?;
        self.heard(broker);
        let replicated: Vec<_> = obey
            .into_iter()
            .filter_map(|checked| replicated(broker, checked))
            .collect();
        if !replicated.is_empty() {
            broker.disk.replicated(replicated);
        }
        Ok(())
    }

    /// What is to be said by now.
    ///
    /// # Errors
    /// The leader is silent: the session has to end.
    pub(crate) fn say(
        &mut self,
        broker: &Broker,
        throttle: &mut Throttle,
    ) -> Result<Option<FollowerMessage>, WireError> {
        let now_ms = broker.uptime_ms();
        if now_ms >= self.heard_ms + SILENCE_MAX.as_millis() as u64 {
            return Err(WireError::new(
                ErrorCode::LeaderUnreachable,
                "the leader is silent",
            ));
        }
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let changes = broker.positions.take(self.leader);
        if !changes.is_empty() {
            session.stands(changes);
        }
        if session.wakes_at(now_ms, throttle) > now_ms {
            return Ok(None);
        }
        Ok(session.message(now_ms, throttle, broker))
    }

    fn heard(&mut self, broker: &Broker) {
        self.heard_ms = broker.uptime_ms();
        broker.doubts.heard(self.leader, self.heard_ms);
    }
}

fn replicated(broker: &Broker, checked: Checked) -> Option<Replicated> {
    Some(Replicated {
        partition: broker.partitions.get(checked.id)?,
        answer: checked.answer,
        batches: checked.batches,
        headers: checked.headers,
        append_time_ms: checked.append_time_ms,
        producers: checked.producers,
    })
}
