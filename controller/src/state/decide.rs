//! Deciding everything that waits at once, and telling it when it is persisted.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
};

use taffrail_api::v1::{
    ControllerMessage, HandedOver, MetadataUpdate, Refused, controller_message::Message,
};
use taffrail_core::{BrokerNumber, TopicId, internal::is_internal};

use super::{
    Answer, Effect, Io, Machine, Note, Outcome, RequestId, SessionId, Step, Work, closing,
    cluster::Cluster,
    doubt,
    draft::Draft,
    elections::{self, Calm, Losses},
    faulty, in_sync, internal,
    live::Liveness,
    moves,
    office::refusal,
    place, register, replace, topics, update,
};
use crate::request::{ApplyError, Request};

/// Requests that wait for topics to close: each holds a spec.
const WAITING_MAX: usize = 1_024;
/// Whoever looks reads every record: not with each heartbeat that says nothing new.
const LOOK_INTERVAL_MS: u64 = 2_000;

impl Machine {
    /// If the store is idle and anything waits, decides all of it.
    pub(super) fn decide(&mut self) {
        if self.wants_read && self.step == Step::Active && matches!(self.io, Io::Idle) {
            return self.read();
        }
        while self.step == Step::Active
            && matches!(self.io, Io::Idle)
            && (self.has_chores || !self.queue.is_empty())
        {
            let Some(cluster) = &self.cluster else { return };
            let mut draft = Draft::new(cluster);
            self.has_chores = false;
            self.look_again_ms = self.now_ms + LOOK_INTERVAL_MS;
            let work = mem::take(&mut self.queue);
            let outcomes = work
                .iter()
                .filter_map(|work| self.decide_one(&mut draft, work));
            let mut outcomes: Vec<_> = outcomes.collect();
            register::restore(&mut draft, &self.live);
            closing::advance(&mut draft, &self.live);
            topics::finish_deletes(&mut draft, &self.live);
            let losses = self.decide_leaders(&mut draft);
            moves::advance(&mut draft, &self.live);
            if !losses.is_empty() {
                outcomes.push(Outcome::MayLack(losses));
            }
            let (defaults, new_id) = (&self.settings.defaults, self.new_topic_id());
            let made = internal::tend(&mut draft, &self.live, defaults, new_id);
            self.own = own(&self.own, &work, made, &draft.cluster);
            if self.is_settled() {
                moves::follow_replicas(&mut draft, &self.live);
                place::place_waiting(&mut draft, &self.live, &self.own);
            }
            self.write_decision(draft, work, outcomes);
        }
    }

    fn decide_leaders(&self, draft: &mut Draft) -> Losses {
        let waited_ms = self.now_ms.saturating_sub(self.live.settled_from_ms);
        let calm = Calm {
            is_settled: waited_ms >= self.settings.settle_ms,
        };
        doubt::settle(draft, &self.live);
        replace::wiped(draft, &self.live);
        let losses = elections::hold(draft, &self.live, calm);
        faulty::retire(draft, &self.live);
        elections::fence(draft, &self.live);
        elections::relieve(draft, &self.live);
        elections::return_to_preferred(draft, &self.live, calm);
        losses
    }

    fn decide_one(&self, draft: &mut Draft, work: &Work) -> Option<Outcome> {
        match work {
            Work::Request(id, request) => Some(self.decide_request(draft, *id, request)),
            Work::Register(id) => self.decide_registration(draft, *id),
            Work::Change(id, asks) => {
                in_sync::change(draft, &self.live, *id, asks);
                None
            }
            Work::HandOver(id) => {
                let (broker, _) = self.live.speaker(*id)?;
                let kept = elections::hand_over(draft, &self.live, broker);
                Some(Outcome::HandedOver(*id, kept))
            }
            Work::FollowDefaults => {
                topics::follow_defaults(draft, &self.settings.defaults);
                None
            }
        }
    }

    fn decide_request(&self, draft: &mut Draft, id: RequestId, request: &Request) -> Outcome {
        let waits = |topic| Outcome::Waits(topic, id, request.clone());
        let answer = match request {
            Request::Apply {
                name,
                spec,
                dry_run,
                wanted_id,
                new_id,
            } => {
                if let Some(closing) = closing::named(&draft.cluster, name) {
                    return waits(closing);
                }
                let mut rehearsal = dry_run.then(|| draft.clone());
                let draft = rehearsal.as_mut().unwrap_or(draft);
                let defaults = &self.settings.defaults;
                let topics = &draft.cluster.root.value.topics;
                let id = wanted_id.filter(|id| !topics.contains_key(id));
                let id = id.unwrap_or(*new_id);
                let mut applied = topics::apply(draft, defaults, name, spec, id);
                if let Ok(applied) = &mut applied
                    && *dry_run
                {
                    applied.placement = place::rehearse(draft, &self.live, applied.topic_id);
                }
                Answer::Apply(applied)
            }
            Request::Delete { name, .. } if is_internal(name) => {
                let name = name.clone();
                Answer::Delete(Err(ApplyError::InternalTopic { name }))
            }
            Request::Delete { name, policy } => {
                match topics::delete(draft, &self.live, name, *policy) {
                    Ok(deleted) => Answer::Delete(Ok(deleted)),
                    Err(closing) => return waits(closing),
                }
            }
            Request::Move { what, dry_run } => {
                let mut rehearsal = dry_run.then(|| draft.clone());
                let draft = rehearsal.as_mut().unwrap_or(draft);
                let moved = moves::ask(draft, &self.live, what);
                Answer::Move(moved.map_err(ApplyError::Move))
            }
        };
        Outcome::Answer(id, answer)
    }

    /// `None`: the session is gone.
    fn decide_registration(&self, draft: &mut Draft, id: SessionId) -> Option<Outcome> {
        let registration = &self.live.sessions.get(&id)?.registration;
        match register::register(draft, &self.live, id, registration) {
            Ok(admitted) => Some(Outcome::Admitted(id, admitted)),
            Err(error) => Some(Outcome::Refused(id, error)),
        }
    }

    /// Are all wanted brokers there, or has nobody come for a while? Otherwise the first would get everything.
    fn is_settled(&self) -> bool {
        let brokers = self.live.brokers.values();
        let online = brokers.filter(|b| b.liveness == Liveness::Online).count();
        let waited_ms = self.now_ms.saturating_sub(self.live.settled_from_ms);
        online >= self.settings.defaults.brokers_wanted as usize
            || waited_ms >= self.settings.settle_ms
    }

    /// The decision is persisted: tells brokers what changed, then answers.
    pub(super) fn commit(&mut self, cluster: Cluster, outcomes: Vec<Outcome>) {
        self.live.deleted.retain(|(id, broker), _| {
            let topic = cluster.topic(id.topic);
            topic.is_some_and(|topic| topic.pending(id.partition, *broker).is_some())
        });
        let doubted = mem::take(&mut self.live.doubted).into_iter();
        let doubted = doubted.filter(|id| doubt::is_doubted(&cluster, &self.live, *id));
        self.live.doubted = doubted.collect();
        let before = self.cluster.replace(cluster);
        self.publish(before.as_ref(), &[]);
        self.look_for_chores();
        for outcome in outcomes {
            match outcome {
                Outcome::Answer(id, answer) => self.effect(Effect::Answer(id, answer)),
                Outcome::Waits(topic, id, request) => self.wait_for(topic, id, request),
                Outcome::Admitted(id, admitted) => self.admit(id, admitted),
                Outcome::HandedOver(id, kept) => {
                    self.send(id, Message::HandedOver(HandedOver { kept }));
                }
                Outcome::MayLack(losses) => self.tell_losses(&losses),
                Outcome::Refused(id, error) => {
                    self.note(Note::Refused(error.clone()));
                    let error = Some(error.into());
                    self.send(id, Message::Refused(Refused { error }));
                    self.close(id);
                }
            }
        }
        self.release();
    }

    /// Keeps a request until its topic has closed. A deletion that is refused here is under way nevertheless: asked again, it says how it ended.
    fn wait_for(&mut self, topic: TopicId, id: RequestId, request: Request) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((topic, id, request));
        } else {
            let answer = refusal(&request, ApplyError::TooManyWaiting);
            self.effect(Effect::Answer(id, answer));
        }
    }

    /// Is there something to decide that nobody asked for?
    pub(super) fn look_for_chores(&mut self) {
        let Some(cluster) = &self.cluster else { return };
        closing::keep_time(cluster, &mut self.live, self.now_ms);
        self.has_chores |=
            topics::has_confirmed(cluster, &self.live) || closing::is_due(cluster, &self.live);
    }

    /// Goes on with the requests whose topics have closed.
    pub(super) fn release(&mut self) {
        let Some(cluster) = &self.cluster else { return };
        let waiting = mem::take(&mut self.waiting);
        let (closing, closed): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(topic, ..)| closing::is_closing(cluster, *topic));
        self.waiting = closing;
        for (topic, id, request) in closed {
            match request {
                Request::Apply { .. } | Request::Move { .. } => {
                    self.queue.push_back(Work::Request(id, request));
                }
                Request::Delete { .. } => {
                    let deleted = topics::closed(cluster, &self.live, topic);
                    let answer = Answer::Delete(Ok(deleted));
                    self.effects.push(Effect::Answer(id, answer));
                }
            }
        }
    }

    /// Sends every registered broker what is new since `before`, or concerns those in `stirred`.
    pub(super) fn publish(&mut self, before: Option<&Cluster>, stirred: &[BrokerNumber]) {
        let Some(cluster) = self.cluster.take() else {
            return;
        };
        let before = before.unwrap_or(&cluster);
        let update = update::since(before, &cluster, &self.live, stirred);
        let sessions = self.live.brokers.iter();
        let sessions: Vec<_> = sessions
            .filter_map(|(n, b)| Some((b.session?, *n)))
            .collect();
        let orders: Vec<_> = sessions
            .iter()
            .map(|(_, number)| update::deletes_since(before, &cluster, *number))
            .collect();
        if update.is_some() || orders.iter().any(|orders| !orders.is_empty()) {
            self.is_stale = true;
            let update = update.unwrap_or_else(|| MetadataUpdate {
                cluster_id: cluster.root.value.cluster_id.to_string(),
                ..MetadataUpdate::default()
            });
            let stamp = Some(self.next_stamp());
            for ((session, _), deletes) in sessions.into_iter().zip(orders) {
                let update = MetadataUpdate {
                    stamp,
                    deletes,
                    ..update.clone()
                };
                self.send(session, Message::Update(update));
            }
        }
        self.cluster = Some(cluster);
    }

    pub(super) fn send(&mut self, id: SessionId, message: Message) {
        let message = Some(message);
        self.effect(Effect::Send(id, ControllerMessage { message }));
    }
}

/// Topics that wait for their first partitions under ids that this controller drew: those in `before`, those that `work` creates, and the one
/// that was `made` without being asked for.
fn own(
    before: &BTreeSet<TopicId>,
    work: &VecDeque<Work>,
    made: Option<TopicId>,
    cluster: &Cluster,
) -> BTreeSet<TopicId> {
    let drawn = work.iter().filter_map(|work| match work {
        Work::Request(_, Request::Apply { new_id, .. }) => Some(*new_id),
        _ => None,
    });
    let waits = |id: &TopicId| cluster.topic(*id).is_some_and(|topic| topic.placed == 0);
    let drawn = drawn.chain(made).chain(before.iter().copied());
    drawn.filter(waits).collect()
}
