//! The controller as a pure state machine: events in, store and session effects out. No clock, no I/O, no randomness.
//!
//! Whatever is asked while a write is under way waits. When the store is idle, everything that waits is decided on one draft of the
//! metadata, whose changed objects are put in an order of which every beginning recovers. Only when all puts are answered is anybody told.
//! A put that failed, or may have failed, throws the draft away: the store is read again and the same requests are decided anew.

mod admit;
mod closing;
pub(crate) mod cluster;
mod decide;
mod doubt;
pub(crate) mod draft;
mod effect;
mod elections;
mod faulty;
mod groups;
mod heard;
mod in_sync;
mod internal;
mod live;
mod moves;
mod office;
mod place;
mod raise;
mod register;
mod registration;
mod replace;
mod sessions;
mod status;
pub(crate) mod stored;
mod topics;
mod update;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

use taffrail_api::{WireError, v1};
use taffrail_core::{
    BrokerNumber, ClusterId, ControllerStamp, Incarnation, TopicDefaults, TopicId, TopicPartition,
};

use crate::{
    groups::WantedGroup,
    request::Request,
    store::{ObjectName, Snapshot, Version},
    view::{Loss, View},
};
use cluster::Cluster;
use draft::Draft;
pub(crate) use effect::{Answer, Effect, Failure, Note};
use elections::Losses;
use in_sync::Ask;
use live::Live;
pub(crate) use live::SessionId;
use register::Admitted;

/// Names a request until it is answered.
pub(crate) type RequestId = u64;

/// What happens to the controller.
#[derive(Debug)]
pub(crate) enum Event {
    /// The store was read.
    Loaded(Snapshot),
    /// The store could not be read. It is tried again.
    LoadFailed(String),
    /// All puts of the last `Effect::Write` are durable at these versions.
    Written(Vec<Version>),
    /// A put failed; those behind it were not tried.
    WriteFailed(WriteFailure),
    Request(RequestId, Request),
    DefaultsChanged(TopicDefaults),
    /// All that is declared of consumer groups.
    GroupsDeclared(BTreeMap<String, WantedGroup>),
    /// Somebody else took something out of the store: it has to be read again.
    StoreChanged,
    SessionOpened(SessionId, Box<v1::Register>),
    Heartbeat(SessionId, Box<v1::Heartbeat>),
    DeleteDone(SessionId, v1::DeleteDone),
    IsrRequests(SessionId, v1::IsrRequests),
    /// The broker is about to stop.
    Stopping(SessionId),
    SessionClosed(SessionId),
    /// Time passed.
    Tick,
}

/// How a put failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteFailure {
    /// By a conflict, or with an unknown outcome: to be decided again after reading.
    Retry,
    /// The store does not take it now, or at all. Requests are told; registrations wait.
    Down(String),
}

/// Who this controller is, and its settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Drawn at random: tells controllers apart.
    pub(crate) holder: u64,
    /// Used should the store be empty.
    pub(crate) new_cluster_id: ClusterId,
    pub(crate) defaults: TopicDefaults,
    pub(crate) heartbeat_interval_ms: u32,
    pub(crate) suspect_after_ms: u64,
    pub(crate) session_timeout_ms: u64,
    pub(crate) settle_ms: u64,
}

/// How far this controller is on its way into office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Next: raise the epoch of the root. A controller that was in office already does so only while the root is still its own.
    Take,
    /// The epoch is ours. Next: read again, and claim every map and broker.
    Claim,
    Active,
    /// Deposed or failed.
    Ended,
}

/// What is under way at the store. One thing at a time.
#[derive(Debug)]
enum Io {
    Idle,
    Loading,
    Writing(Box<Batch>),
}

/// A decision that is being persisted.
#[derive(Debug)]
struct Batch {
    /// Where the controller stood when it decided.
    step: Step,
    draft: Draft,
    writes: Vec<ObjectName>,
    work: VecDeque<Work>,
    outcomes: Vec<Outcome>,
}

/// Something to decide.
#[derive(Debug, Clone)]
enum Work {
    Request(RequestId, Request),
    Register(SessionId),
    Change(SessionId, Vec<(TopicPartition, Ask)>),
    HandOver(SessionId),
    FollowDefaults,
}

impl Work {
    /// Whose it is: without that session, nothing is left to decide.
    const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Register(id) | Self::Change(id, _) | Self::HandOver(id) => Some(*id),
            Self::Request(..) | Self::FollowDefaults => None,
        }
    }
}

/// Something to tell once the decision is persisted.
#[derive(Debug)]
enum Outcome {
    Answer(RequestId, Answer),
    /// The request is decided anew once this topic has closed.
    Waits(TopicId, RequestId, Request),
    Admitted(SessionId, Admitted),
    Refused(SessionId, WireError),
    HandedOver(SessionId, u32),
    MayLack(Losses),
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    step: Step,
    io: Io,
    /// Of our term; 0 before the first.
    epoch: u64,
    /// A term has to begin above this: brokers have seen it.
    epoch_floor: u64,
    sequence: u64,
    /// Failed tries since something last succeeded.
    attempts: u32,
    /// The store is to be read before anything else is decided.
    wants_read: bool,
    /// As persisted, as far as we know. `None` until it was first read.
    cluster: Option<Cluster>,
    live: Live,
    queue: VecDeque<Work>,
    /// Requests about topics that are closing.
    waiting: Vec<(TopicId, RequestId, Request)>,
    /// Topics without partitions whose ids this controller drew: no broker has anything of them.
    own: BTreeSet<TopicId>,
    /// Tombstones, placements or elections may have become possible.
    has_chores: bool,
    /// When to look for them though nothing happened: what waits for a time to pass.
    look_again_ms: u64,
    /// The picture changed.
    is_stale: bool,
    /// Brokers that the others were last told are gone.
    told_gone: BTreeSet<BrokerNumber>,
    /// The last elections that may have lost records.
    losses: VecDeque<Loss>,
    losses_found: u64,
    now_ms: u64,
    effects: Vec<Effect>,
}

impl Machine {
    /// A controller that begins to take office, and what it wants first.
    pub(crate) fn new(settings: Settings) -> (Self, Vec<Effect>) {
        let mut machine = Self {
            settings,
            step: Step::Take,
            io: Io::Idle,
            epoch: 0,
            epoch_floor: 0,
            sequence: 0,
            attempts: 0,
            wants_read: false,
            cluster: None,
            live: Live::default(),
            queue: VecDeque::new(),
            waiting: Vec::new(),
            own: BTreeSet::new(),
            has_chores: false,
            look_again_ms: 0,
            is_stale: false,
            told_gone: BTreeSet::new(),
            losses: VecDeque::new(),
            losses_found: 0,
            now_ms: 0,
            effects: Vec::new(),
        };
        machine.read();
        let effects = mem::take(&mut machine.effects);
        (machine, effects)
    }

    /// Takes in one event at time `now_ms` and says what has to be done, in order.
    pub(crate) fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        self.now_ms = now_ms;
        if self.step == Step::Ended {
            self.turn_away(event);
            return mem::take(&mut self.effects);
        }
        match event {
            Event::Loaded(snapshot) => self.loaded(snapshot),
            Event::LoadFailed(reason) => self.load_failed(reason),
            Event::Written(versions) => self.written(versions),
            Event::WriteFailed(failure) => self.write_failed(failure),
            Event::Request(id, request) => self.queue.push_back(Work::Request(id, request)),
            Event::StoreChanged => self.wants_read = true,
            Event::DefaultsChanged(defaults) => {
                self.settings.defaults = defaults;
                self.queue.push_back(Work::FollowDefaults);
            }
            Event::GroupsDeclared(groups) => self.groups_declared(groups),
            Event::SessionOpened(id, register) => self.session_opened(id, *register),
            Event::Heartbeat(id, heartbeat) => {
                let has_doubts = !heartbeat.doubts.is_empty();
                let is_news = self.live.heard(id, *heartbeat, self.now_ms);
                self.is_stale |= is_news;
                let has_changed = self.judge();
                self.look_for_chores();
                self.has_chores |=
                    self.step == Step::Active && (is_news || has_doubts || has_changed);
            }
            Event::DeleteDone(id, done) => self.delete_done(id, &done),
            Event::IsrRequests(id, asked) => {
                let asks = in_sync::read(&asked);
                self.wait_in_line(Work::Change(id, asks));
            }
            Event::Stopping(id) => {
                if self.live.stops(id) {
                    self.queue.push_back(Work::HandOver(id));
                }
            }
            Event::SessionClosed(id) => self.session_closed(id),
            Event::Tick => self.tick(),
        }
        self.decide();
        mem::take(&mut self.effects)
    }

    /// The picture, if it changed since it was last taken.
    pub(crate) fn take_view(&mut self) -> Option<View> {
        if !self.is_stale || self.step != Step::Active {
            return None;
        }
        self.is_stale = false;
        let cluster = self.cluster.as_ref()?;
        Some(View {
            losses: self.losses.iter().cloned().collect(),
            ..status::view(cluster, &self.live)
        })
    }

    /// The broker at the other end of a session that counts, and its run.
    pub(crate) fn speaker(&self, id: SessionId) -> Option<(BrokerNumber, Incarnation)> {
        self.live.speaker(id)
    }

    /// The stamp of the next message.
    fn next_stamp(&mut self) -> v1::ControllerStamp {
        self.sequence += 1;
        self.stamp().into()
    }

    /// That of the last message.
    fn stamp(&self) -> ControllerStamp {
        ControllerStamp {
            epoch: self.epoch,
            sequence: self.sequence,
        }
    }

    /// An identity that no topic has had: of this controller, in its term, after what it has said so far. A UUID of version 8.
    fn new_topic_id(&self) -> TopicId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.settings.holder.to_be_bytes());
        bytes[8..12].copy_from_slice(&(self.epoch as u32).to_be_bytes());
        bytes[12..].copy_from_slice(&(self.sequence as u32).to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        TopicId::from_bytes(bytes)
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    fn read(&mut self) {
        self.wants_read = false;
        self.io = Io::Loading;
        let attempts = self.attempts;
        self.effect(Effect::Load { attempts });
    }
}
