//! Sessions between brokers: what `follower.rs`, `follower/link.rs` and `rpc/replication` do with connections.

use std::sync::Arc;

use taffrail_api::v1;
use taffrail_core::BrokerNumber;

use super::{Output, SimBroker};
use crate::{
    cluster::known::Known,
    follower::{leaders_of, stepped as following},
    rpc::replication::stepped as leading,
};

const BACKOFF_MIN_MS: u64 = 50;
const BACKOFF_MAX_MS: u64 = 1_000;

/// A leader that is followed.
#[derive(Debug)]
pub(super) struct Following {
    state: State,
    backoff_ms: u64,
}

#[derive(Debug)]
enum State {
    Down { until_ms: u64 },
    Dialling,
    Open(Box<following::Stepped>),
}

/// A follower's connection.
pub(super) type Followed = Box<leading::Stepped>;

impl SimBroker {
    /// Follows whoever leads something that is held here, and nobody else.
    pub(super) fn follow(&mut self, known: &Known) {
        let Some(me) = self.broker.membership.number() else {
            return;
        };
        let leaders = leaders_of(me, &known.view);
        let now_ms = self.now_ms();
        let broker = &self.broker;
        for (over, _) in self.leaders.extract_if(.., |l, _| !leaders.contains(l)) {
            broker.doubts.forget(over);
            self.outputs.push(Output::HangUpLeader(over));
        }
        for leader in leaders {
            self.leaders.entry(leader).or_insert_with(|| {
                broker.doubts.heard(leader, now_ms);
                Following {
                    state: State::Down { until_ms: now_ms },
                    backoff_ms: BACKOFF_MIN_MS,
                }
            });
        }
        self.dial();
    }

    pub(super) fn dial(&mut self) {
        let now_ms = self.now_ms();
        for (leader, following) in &mut self.leaders {
            if matches!(following.state, State::Down { until_ms } if until_ms <= now_ms) {
                following.state = State::Dialling;
                self.outputs.push(Output::Dial(*leader));
            }
        }
    }

    pub(super) fn leader_opened(&mut self, leader: BrokerNumber) {
        let Some(following) = self.leaders.get_mut(&leader) else {
            return self.outputs.push(Output::HangUpLeader(leader));
        };
        match following::Stepped::open(&self.broker, leader) {
            Ok((session, hello)) => {
                following.state = State::Open(Box::new(session));
                self.outputs.push(Output::ToLeader(leader, Box::new(hello)));
            }
            Err(_) => self.hang_up_leader(leader),
        }
    }

    pub(super) fn leader_says(&mut self, leader: BrokerNumber, message: v1::LeaderMessage) {
        let Some(following) = self.leaders.get_mut(&leader) else {
            return;
        };
        let State::Open(session) = &mut following.state else {
            return;
        };
        following.backoff_ms = BACKOFF_MIN_MS;
        if session
            .hear(&self.broker, &mut self.throttle, message)
            .is_err()
        {
            self.hang_up_leader(leader);
        }
    }

    pub(super) fn leader_closed(&mut self, leader: BrokerNumber, refused: bool) {
        if refused && self.broker.doubts.refused(leader) {
            self.broker.report_now.notify_one();
        }
        self.leader_is_down(leader);
    }

    fn hang_up_leader(&mut self, leader: BrokerNumber) {
        self.outputs.push(Output::HangUpLeader(leader));
        self.leader_is_down(leader);
    }

    fn leader_is_down(&mut self, leader: BrokerNumber) {
        let now_ms = self.now_ms();
        if let Some(following) = self.leaders.get_mut(&leader) {
            following.state = State::Down {
                until_ms: now_ms + following.backoff_ms,
            };
            following.backoff_ms = (following.backoff_ms * 2).min(BACKOFF_MAX_MS);
        }
    }

    pub(super) fn talk_to_leaders(&mut self) {
        let mut silent = Vec::new();
        for (leader, following) in &mut self.leaders {
            let State::Open(session) = &mut following.state else {
                continue;
            };
            match session.say(&self.broker, &mut self.throttle) {
                Ok(Some(message)) => {
                    self.outputs
                        .push(Output::ToLeader(*leader, Box::new(message)));
                }
                Ok(None) => {}
                Err(_) => silent.push(*leader),
            }
        }
        for leader in silent {
            self.hang_up_leader(leader);
        }
    }

    pub(super) fn follower_says(&mut self, connection: u64, message: v1::FollowerMessage) {
        let done = match self.followers.get_mut(&connection) {
            Some(session) => session.hear(&self.broker, message),
            None => leading::Stepped::open(&self.broker, &self.seats, message).map(
                |(session, hello)| {
                    self.followers.insert(connection, Box::new(session));
                    let hello = Output::ToFollower(connection, Box::new(hello));
                    self.outputs.push(hello);
                },
            ),
        };
        if done.is_err() {
            self.hang_up_follower(connection);
        }
    }

    fn hang_up_follower(&mut self, connection: u64) {
        self.followers.remove(&connection);
        self.outputs.push(Output::HangUpFollower(connection));
    }

    pub(super) fn talk_to_followers(&mut self) {
        let broker = Arc::clone(&self.broker);
        let mut over = Vec::new();
        for (connection, session) in &mut self.followers {
            let (asked, fetches) = session.take_unchecked(&broker);
            if !fetches.is_empty() {
                let answers = broker.disk.replica_fetches(fetches);
                let answers = Self::obeyed(&mut self.disk, answers).unwrap_or_default();
                session.checked(&asked, answers);
            }
            // Answers are put together: more messages than this at a time are a loop without an end.
            for _ in 0..1_000 {
                match session.say(&broker) {
                    Ok(Some(message)) => {
                        let message = Output::ToFollower(*connection, Box::new(message));
                        self.outputs.push(message);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        over.push(*connection);
                        break;
                    }
                }
            }
        }
        for connection in over {
            self.hang_up_follower(connection);
        }
    }
}
