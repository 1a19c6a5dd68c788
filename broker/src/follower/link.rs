//! The session with one leader: dialled, kept, dialled again, for as long as something of that leader is followed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use taffrail_api::{WireError, status::from_status, v1};
use taffrail_core::{BrokerNumber, ErrorCode, TopicPartition};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    check::Checked,
    dial::{self, Open},
    follower_session::{FollowerSession, InSync},
    throttle::Throttle,
};
use crate::{broker::Broker, partition::replicate::Replicated};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A leader says something at least every second. One that does not is dialled anew.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Follows one leader.
pub(super) struct Link {
    pub(super) broker: Arc<Broker>,
    pub(super) leader: BrokerNumber,
    /// Of all sessions together.
    pub(super) throttle: Arc<Mutex<Throttle>>,
}

impl InSync for Broker {
    fn is_in_sync(&self, id: TopicPartition) -> bool {
        let known = self.known.borrow();
        let assignment = known.view.partitions.get(&id);
        let me = self.membership.number();
        assignment.is_some_and(|a| me.is_some_and(|me| a.isr.contains(&me)))
    }
}

impl Link {
    /// Runs until `ended`.
    pub(super) async fn run(self, ended: CancellationToken) {
        let broker = &self.broker;
        broker.doubts.heard(self.leader, broker.uptime_ms());
        let mut backoff = BACKOFF_MIN;
        loop {
            let begun = Instant::now();
            let reason = tokio::select! {
                () = ended.cancelled() => break,
                reason = self.once() => reason,
            };
            if begun.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
            let jitter = (broker.environment.random)() % (backoff.as_millis() as u64 / 2 + 1);
            let wait = backoff + Duration::from_millis(jitter);
            tracing::debug!(leader = %self.leader, %reason, ?wait, "dialling again");
            tokio::select! {
                () = ended.cancelled() => break,
                () = sleep(wait) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        broker.doubts.forget(self.leader);
    }

    /// One session, and why it ended.
    async fn once(&self) -> WireError {
        let open = match dial::open(&self.broker, self.leader).await {
            Ok(open) => open,
            Err(failed) => {
                if failed.is_refused && self.broker.doubts.refused(self.leader) {
                    // The controller should know at once.
                    self.broker.report_now.notify_one();
                }
                if !failed.error.retriable {
                    tracing::warn!(leader = %self.leader, error = %failed.error, "a leader refused this broker");
                }
                return failed.error;
            }
        };
        tracing::info!(leader = %self.leader, "following");
        let sessions = self.broker.metrics.sessions("follower");
        sessions.inc();
        let ended = self.keep(open).await;
        sessions.dec();
        if matches!(
            ended.code,
            ErrorCode::CorruptBatch | ErrorCode::InvalidRequest
        ) {
            self.broker.metrics.error("follow", ended.code);
            tracing::error!(leader = %self.leader, error = %ended, "what was said in a session with a leader cannot be; nothing of it was written");
        } else {
            tracing::info!(leader = %self.leader, reason = %ended, "a session with a leader ended");
        }
        ended
    }

    async fn keep(&self, mut open: Open) -> WireError {
        let (broker, begun) = (&self.broker, self.broker.uptime_ms());
        let mut session = FollowerSession::new(begun);
        let news = broker.positions.news(self.leader);
        // What was said to a former session is said again, all of it.
        broker.positions.take(self.leader);
        broker.disk.ask_positions(self.leader);
        let mut heard = self.heard();
        loop {
            let now_ms = broker.uptime_ms();
            let wakes_at = session.wakes_at(now_ms, &mut self.throttle());
            let is_due = wakes_at <= now_ms;
            let wakes_at = Instant::now() + Duration::from_millis(wakes_at.saturating_sub(now_ms));
            tokio::select! {
                received = open.inbox.next() => {
                    heard = self.heard();
                    match self.receive(&mut session, received) {
                        Ok(obey) => self.obey(obey),
                        Err(error) => return error,
                    }
                }
                () = news.notified() => session.stands(broker.positions.take(self.leader)),
                room = open.outbox.reserve(), if is_due => {
                    let Ok(room) = room else {
                        return unreachable("the connection is gone");
                    };
                    // Now, so that it does not say of something that it was followed longer than it was.
                    session.stands(broker.positions.take(self.leader));
                    let message = session.message(now_ms, &mut self.throttle(), &**broker);
                    if let Some(message) = message {
                        room.send(message);
                    }
                }
                () = sleep_until(wakes_at), if !is_due => {}
                () = sleep_until(heard + SILENCE_MAX) => return unreachable("the leader is silent"),
            }
        }
    }

    fn receive(
        &self,
        session: &mut FollowerSession,
        received: Result<Option<v1::LeaderMessage>, Status>,
    ) -> Result<Vec<Checked>, WireError> {
        let message = received.map_err(|s| from_status(&s))?;
        match message.map(|m| m.message) {
            Some(Some(v1::leader_message::Message::Answers(answers))) => {
                let now_ms = self.broker.uptime_ms();
                session.answered(answers, now_ms, &mut self.throttle(), &*self.broker)
            }
            Some(_) => Err(WireError::invalid("answers come after the hello")),
            None => Err(unreachable("the leader ended the session")),
        }
    }

    fn obey(&self, obey: Vec<Checked>) {
        let replicated = obey.into_iter().filter_map(|checked| {
            let partition = self.broker.partitions.get(checked.id)?;
            partition
                .metrics
                .replicated_in
                .count(checked.bytes, checked.batches.len());
            Some(Replicated {
                partition,
                answer: checked.answer,
                batches: checked.batches,
                headers: checked.headers,
                append_time_ms: checked.append_time_ms,
                producers: checked.producers,
            })
        });
        let replicated: Vec<_> = replicated.collect();
        if !replicated.is_empty() {
            self.broker.disk.replicated(replicated);
        }
    }

    fn heard(&self) -> Instant {
        let broker = &self.broker;
        broker.doubts.heard(self.leader, broker.uptime_ms());
        Instant::now()
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreachable(reason: &str) -> WireError {
    WireError::new(ErrorCode::LeaderUnreachable, reason)
}
