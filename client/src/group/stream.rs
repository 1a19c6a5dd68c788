//! One stream to the coordinator: what is said on it, and what is heard.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use taffrail_api::{
    WireError,
    v1::{self, member_request::Request, member_response::Response},
};
use taffrail_core::{ErrorCode, GroupEpoch, PartitionIndex, TopicId, TopicPartition};
use tokio::{sync::mpsc, time::Instant};

use super::{
    assignment::Assignment,
    event::Loss,
    session::{Ended, JOIN_PATIENCE, silent},
    settings::Settings,
    standing::{Joining, Leaving, Shared},
};
use crate::backoff::Backoff;

/// How long the coordinator has to see that a member left.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct MemberStream {
    shared: Arc<Shared>,
    joining: Joining,
    /// Never more in it than a commit, what was lost since the last word, and heartbeats until it counts as broken.
    requests: Option<mpsc::UnboundedSender<v1::MemberRequest>>,
    /// When the join, and heartbeats after it, were sent that are not answered. Answers come in their order.
    unanswered: VecDeque<Instant>,
    /// `None`: not told yet.
    heartbeats: Option<Heartbeats>,
    /// The assignment that the coordinator knows to be carried out.
    said: GroupEpoch,
    /// Of the commit that is with the coordinator.
    commit: Option<u64>,
    request_ids: u64,
    /// A commit that was refused for now is sent again then.
    again_at: Option<Instant>,
    commit_failures: u32,
    leaves: Option<Leave>,
    /// Why it leaves, if the application does not want to.
    unfit: Option<WireError>,
}

/// When they are sent, and how long their answers may take, as the coordinator wants it.
#[derive(Debug, Clone, Copy)]
struct Heartbeats {
    interval: Duration,
    answer_timeout: Duration,
    next: Instant,
}

/// A member that said so.
#[derive(Debug, Clone, Copy)]
struct Leave {
    until: Instant,
    /// The application is to come back.
    is_for_now: bool,
}

impl MemberStream {
    pub(super) fn new(
        shared: Arc<Shared>,
        joining: Joining,
        requests: mpsc::UnboundedSender<v1::MemberRequest>,
        sent: Instant,
    ) -> Self {
        Self {
            shared,
            said: joining.epoch,
            joining,
            requests: Some(requests),
            unanswered: VecDeque::from([sent]),
            heartbeats: None,
            commit: None,
            request_ids: 0,
            again_at: None,
            commit_failures: 0,
            leaves: None,
            unfit: None,
        }
    }

    pub(super) const fn joining(&self) -> Joining {
        self.joining
    }

    pub(super) const fn is_member(&self) -> bool {
        self.heartbeats.is_some()
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaves.is_some()
    }

    pub(super) fn left(&self) -> Ended {
        if let Some(error) = &self.unfit {
            return Ended::Unfit(error.clone().into());
        }
        match self.leaves {
            Some(leave) if !leave.is_for_now => Ended::Left,
            _ => Ended::Lost,
        }
    }

    /// Says what there is to say. `Some`: the stream is over.
    pub(super) fn speak(&mut self, settings: &Settings, backoff: Backoff) -> Option<Ended> {
        let now = Instant::now();
        self.shared.expire(now);
        if let Some(leave) = self.leaves {
            return (now >= leave.until).then(|| self.left());
        }
        let standing = self.shared.standing();
        let (life, applied, out) = (standing.life, standing.applied, standing.out_since);
        let leaving = standing.leaving;
        drop(standing);
        if life != self.joining.life {
            return Some(Ended::Lost);
        }
        if let Some(leaving) = leaving
            && self.shared.commits.is_empty()
        {
            self.leave(leaving, false, now);
            return None;
        }
        let is_stuck = out.is_some_and(|since| now >= since + settings.poll_interval_max);
        if is_stuck && self.is_member() && leaving.is_none() {
            tracing::warn!(
                group = settings.group,
                after = ?settings.poll_interval_max,
                "the application did not come back for the next event; the member leaves, so that others get its partitions"
            );
            self.shared.lose(life, Loss::TooSlow);
            self.leave(Leaving { comes_back: false }, true, now);
            return None;
        }
        if self.is_silent(now) {
            return Some(Ended::Broken(silent()));
        }
        self.heartbeat(applied, now);
        if self.is_member() {
            for lost in self.shared.take_lost() {
                self.say(Request::Lost(lost));
            }
        }
        self.commit(now, backoff);
        None
    }

    fn leave(&mut self, leaving: Leaving, is_for_now: bool, now: Instant) {
        self.say(Request::Leave(v1::LeaveGroup {
            comes_back: leaving.comes_back,
        }));
        // It is the last word.
        self.requests = None;
        self.leaves = Some(Leave {
            until: now + LEAVE_PATIENCE,
            is_for_now,
        });
    }

    fn heartbeat(&mut self, applied: GroupEpoch, now: Instant) {
        let Some(heartbeats) = &mut self.heartbeats else {
            return;
        };
        if applied == self.said && now < heartbeats.next {
            return;
        }
        heartbeats.next = now + heartbeats.interval;
        self.said = applied;
        self.unanswered.push_back(now);
        self.say(Request::Heartbeat(v1::MemberHeartbeat { epoch: applied.0 }));
    }

    fn commit(&mut self, now: Instant, backoff: Backoff) {
        let is_early = self.again_at.is_some_and(|at| now < at);
        if !self.is_member() || self.commit.is_some() || is_early {
            return;
        }
        self.again_at = None;
        let Some(sending) = self.shared.commits.first(self.joining.life) else {
            return;
        };
        self.request_ids += 1;
        self.commit = Some(self.request_ids);
        // Taken back when it is answered.
        self.commit_failures += 1;
        self.again_at = Some(now + backoff.pause(self.commit_failures));
        let offsets = sending
            .offsets
            .into_iter()
            .map(|(at, offset)| v1::CommittedOffset {
                topic_id: at.topic.as_bytes().to_vec().into(),
                partition: at.partition.0,
                offset: offset.0 as i64,
                metadata: String::new(),
            });
        let commit = v1::CommitRequest {
            request_id: self.request_ids,
            epoch: sending.epoch.0,
            offsets: offsets.collect(),
        };
        self.say(Request::Commit(commit));
    }

    /// If the stream is broken, reading the answers says so.
    fn say(&self, request: Request) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(v1::MemberRequest {
                request: Some(request),
            });
        }
    }

    /// Takes in what the coordinator says.
    ///
    /// # Errors
    /// It is nonsense, or the coordinator does not know the member.
    pub(super) fn hear(
        &mut self,
        answer: v1::MemberResponse,
        settings: &Settings,
    ) -> Result<(), WireError> {
        match answer.response {
            Some(Response::Assigned(assigned)) => self.assigned(assigned.try_into()?, settings),
            Some(Response::Heartbeat(_)) => self.answered(),
            Some(Response::Commit(answer)) => return self.committed(answer),
            None => {}
        }
        Ok(())
    }

    fn assigned(&mut self, assignment: Assignment, settings: &Settings) {
        if self.leaves.is_some() {
            return;
        }
        if let Err(error) = settings.check_allowed(assignment.policy) {
            self.unfit = Some(error);
            // Others get its partitions at once: nothing more of them is handed out.
            self.shared.lose(self.joining.life, Loss::Forgotten);
            self.leave(Leaving { comes_back: false }, false, Instant::now());
            return;
        }
        let next = Instant::now() + assignment.heartbeat_interval;
        let is_first = self.heartbeats.is_none();
        self.heartbeats = Some(Heartbeats {
            interval: assignment.heartbeat_interval,
            answer_timeout: assignment.answer_timeout,
            next: self.heartbeats.map_or(next, |before| before.next.min(next)),
        });
        if is_first {
            self.answered();
        }
        self.shared
            .told(self.joining.life, assignment, Instant::now());
    }

    /// The oldest of what was sent is answered.
    fn answered(&mut self) {
        if let Some(heartbeats) = self.heartbeats
            && let Some(sent) = self.unanswered.pop_front()
        {
            self.shared
                .answered(self.joining.life, sent, heartbeats.answer_timeout);
        }
    }

    fn committed(&mut self, answer: v1::CommitResponse) -> Result<(), WireError> {
        if self.commit != Some(answer.request_id) {
            return Ok(());
        }
        self.commit = None;
        let mut refused = Vec::with_capacity(answer.refused.len());
        for one in answer.refused {
            let error = WireError::from(one.error.unwrap_or_default());
            if error.code == ErrorCode::UnknownMember {
                return Err(error);
            }
            let topic = TopicId::try_from(&one.topic_id[..])
                .map_err(|error| WireError::invalid(error.to_string()))?;
            let partition = TopicPartition {
                topic,
                partition: PartitionIndex(one.partition),
            };
            refused.push((partition, error));
        }
        if !self.shared.commits.answered(refused) {
            self.commit_failures = 0;
            self.again_at = None;
        }
        Ok(())
    }

    /// Has the coordinator owed an answer for too long?
    fn is_silent(&self, now: Instant) -> bool {
        self.patience_over().is_some_and(|at| now >= at)
    }

    /// Half of the time is left then to find another coordinator.
    fn patience_over(&self) -> Option<Instant> {
        let patience = self
            .heartbeats
            .map_or(JOIN_PATIENCE, |heartbeats| heartbeats.answer_timeout / 2);
        self.unanswered.front().map(|sent| *sent + patience)
    }

    /// When there may be something to say next.
    pub(super) fn next_at(&self, settings: &Settings) -> Instant {
        if let Some(leave) = self.leaves {
            return leave.until;
        }
        let standing = self.shared.standing();
        let stuck = standing
            .out_since
            .map(|since| since + settings.poll_interval_max);
        drop(standing);
        let is_committing = self.commit.is_none();
        let times = [
            self.heartbeats.map(|heartbeats| heartbeats.next),
            self.patience_over(),
            stuck.filter(|_| self.is_member()),
            self.again_at.filter(|_| is_committing),
        ];
        let far = Instant::now() + JOIN_PATIENCE;
        times.into_iter().flatten().fold(far, Instant::min)
    }
}
