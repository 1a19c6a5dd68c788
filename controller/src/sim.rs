//! A controller as the simulator drives it: inputs in, outputs out, one at a time. The state machine is the real one; what is here does what its driver
//! and its sessions do.

use std::fmt;

use futures::FutureExt as _;
use taffrail_api::v1;
use taffrail_core::{
    Assignment, ClusterId, DeletionPolicy, TopicDefaults, TopicId, TopicPartition, TopicSpec,
};

use crate::{
    invariants,
    request::{ApplyError, MoveRequest, Request},
    state::{
        Answer, Effect, Event, Machine, Note, Settings, WriteFailure,
        draft::{Value, Write},
        stored,
    },
    store::{MemoryStore, ObjectName, Snapshot, Store as _, StoreError, Version},
    writes::WriteReason,
};

/// What a controller is and how patient it is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Drawn at random: tells controllers apart.
    pub holder: u64,
    /// Used should the store be empty.
    pub new_cluster_id: ClusterId,
    /// Of topics.
    pub defaults: TopicDefaults,
    /// Told to brokers.
    pub heartbeat_interval_ms: u32,
    /// Silence after which a broker is suspected.
    pub suspect_after_ms: u64,
    /// Silence after which a session ends.
    pub session_timeout_ms: u64,
    /// For how long nobody comes or goes before placements even out.
    pub settle_ms: u64,
}

/// What happens to a controller.
#[derive(Debug)]
pub enum Input {
    /// The store was read.
    Loaded(Snapshot),
    /// The store could not be read.
    LoadFailed,
    /// All puts are durable.
    Written(Vec<Version>),
    /// A put failed; those behind it were not tried.
    WriteFailed(StoreError),
    /// Somebody creates or changes a topic.
    Apply {
        /// Of the answer.
        id: u64,
        /// The topic.
        name: String,
        /// What is wanted.
        spec: Box<TopicSpec>,
        /// Should it be new.
        new_id: TopicId,
    },
    /// Somebody ends a topic.
    Delete {
        /// Of the answer.
        id: u64,
        /// The topic.
        name: String,
        /// What becomes of its data.
        policy: DeletionPolicy,
    },
    /// Somebody moves replicas.
    Move {
        /// Of the answer.
        id: u64,
        /// Which, and where to.
        what: MoveRequest,
    },
    /// A broker says something; the first message opens the session.
    BrokerSays(u64, Box<v1::BrokerMessage>),
    /// A session's connection is gone.
    SessionClosed(u64),
    /// Time passed.
    Tick,
}

/// What a controller wants done.
#[derive(Debug)]
pub enum Output {
    /// Read the store, after a while that grows with the failures.
    Load {
        /// Failures since the last success.
        attempts: u32,
    },
    /// Put these one after another, and stop at the first that fails.
    Write(Vec<Put>),
    /// To a broker.
    Send(u64, Box<v1::ControllerMessage>),
    /// End a session, after what was sent before.
    Close(u64),
    /// A request is answered.
    Answered(u64, Result<(), Refusal>),
    /// From now on requests and sessions are served.
    InOffice(u64),
    /// Another controller is in office, or this one cannot go on. Nothing follows.
    Over(String),
    /// Something for counters and traces.
    Note(Noted, String),
}

/// What a note is about, so far as anybody counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Brokers know more than the store.
    InDoubt,
    /// What a broker knew is in the store again.
    Repaired,
    /// A volume is an older copy of itself.
    OlderVolume,
    /// The store is older than what brokers obeyed.
    StoreIsOld,
    /// A broker has what nobody knows of.
    Strays,
    /// An election may have lost records.
    MayLack,
    /// Anything else.
    Other,
}

impl From<&Note> for Noted {
    fn from(note: &Note) -> Self {
        match note {
            Note::InDoubt { .. } => Self::InDoubt,
            Note::Repaired { .. } => Self::Repaired,
            Note::OlderVolume(_) => Self::OlderVolume,
            Note::StoreIsOld { .. } => Self::StoreIsOld,
            Note::Strays { .. } => Self::Strays,
            Note::MayLack(_) => Self::MayLack,
            Note::MapVanished(_)
            | Note::Registered { .. }
            | Note::Refused(_)
            | Note::LivenessChanged { .. } => Self::Other,
        }
    }
}

/// Why a request is not carried out.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As whoever asked reads it.
    pub why: String,
    /// It, or a part of it, may be carried out nevertheless: some of its puts may be in the store.
    pub is_unsure: bool,
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        Self {
            why: error.to_string(),
            is_unsure: matches!(
                error,
                ApplyError::NotActive | ApplyError::StoreUnavailable(_)
            ),
        }
    }
}

/// One put, to be tried at the store.
#[derive(Clone)]
pub struct Put(Write);

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.0.object(), self.0.reason)
    }
}

impl Put {
    /// What is put.
    pub fn object(&self) -> ObjectName {
        self.0.object()
    }

    /// Does it give leadership back to where it belongs?
    pub fn returns_leadership(&self) -> bool {
        self.0.reason == WriteReason::PreferredLeader
    }

    /// Does it.
    ///
    /// # Errors
    /// The store's.
    pub fn apply(&self, store: &MemoryStore) -> Result<Version, StoreError> {
        let expected = self.0.expected.as_ref();
        let put = match &self.0.value {
            Value::Root(root) => store.put_root(expected, root),
            Value::Map(map) => store.put_map(expected, map),
            Value::Broker(broker) => store.put_broker(expected, broker),
        };
        put.now_or_never()
            .expect("a store in memory answers at once")
    }
}

/// A controller.
#[derive(Debug)]
pub struct Controller(Machine);

impl Controller {
    /// One that begins to take office, and what it wants first.
    pub fn new(setup: Setup) -> (Self, Vec<Output>) {
        let (machine, effects) = Machine::new(Settings {
            holder: setup.holder,
            new_cluster_id: setup.new_cluster_id,
            defaults: setup.defaults,
            heartbeat_interval_ms: setup.heartbeat_interval_ms,
            suspect_after_ms: setup.suspect_after_ms,
            session_timeout_ms: setup.session_timeout_ms,
            settle_ms: setup.settle_ms,
        });
        (Self(machine), outputs(effects))
    }

    /// Takes in one input and says what has to be done, in order. A second registration in a session is another session's: it has to be closed by
    /// whoever carries messages.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        let event = match input {
            Input::Loaded(snapshot) => Event::Loaded(snapshot),
            Input::LoadFailed => Event::LoadFailed("simulated outage".to_owned()),
            Input::Written(versions) => Event::Written(versions),
            Input::WriteFailed(error) if error.is_resolved_by_reading() => {
                Event::WriteFailed(WriteFailure::Retry)
            }
            Input::WriteFailed(error) => Event::WriteFailed(WriteFailure::Down(error.to_string())),
            Input::Apply {
                id,
                name,
                spec,
                new_id,
            } => {
                let request = Request::Apply {
                    name,
                    spec: *spec,
                    dry_run: false,
                    wanted_id: None,
                    new_id,
                };
                Event::Request(id, request)
            }
            Input::Delete { id, name, policy } => {
                let policy = Some(policy);
                Event::Request(id, Request::Delete { name, policy })
            }
            Input::Move { id, what } => {
                let dry_run = false;
                Event::Request(id, Request::Move { what, dry_run })
            }
            Input::BrokerSays(session, message) => match event_of(session, *message) {
                Some(event) => event,
                None => return Vec::new(),
            },
            Input::SessionClosed(session) => Event::SessionClosed(session),
            Input::Tick => Event::Tick,
        };
        outputs(self.0.handle(now_ms, event))
    }
}

fn event_of(session: u64, message: v1::BrokerMessage) -> Option<Event> {
    use v1::broker_message::Message;
    Some(match message.message? {
        Message::Register(register) => Event::SessionOpened(session, Box::new(register)),
        Message::Heartbeat(heartbeat) => Event::Heartbeat(session, Box::new(heartbeat)),
        Message::DeleteDone(done) => Event::DeleteDone(session, done),
        Message::IsrRequests(requests) => Event::IsrRequests(session, requests),
        Message::Stopping(_) => Event::Stopping(session),
    })
}

fn outputs(effects: Vec<Effect>) -> Vec<Output> {
    effects.into_iter().map(output).collect()
}

fn output(effect: Effect) -> Output {
    match effect {
        Effect::Load { attempts } => Output::Load { attempts },
        Effect::Write(writes) => Output::Write(writes.into_iter().map(Put).collect()),
        Effect::Send(session, message) => Output::Send(session, Box::new(message)),
        Effect::Close(session) => Output::Close(session),
        Effect::Answer(id, Answer::Apply(answer)) => {
            Output::Answered(id, answer.map(|_| ()).map_err(Refusal::from))
        }
        Effect::Answer(id, Answer::Delete(answer)) => {
            Output::Answered(id, answer.map(|_| ()).map_err(Refusal::from))
        }
        Effect::Answer(id, Answer::Move(answer)) => {
            Output::Answered(id, answer.map(|_| ()).map_err(Refusal::from))
        }
        Effect::InOffice { epoch } => Output::InOffice(epoch),
        Effect::Deposed => Output::Over("deposed".to_owned()),
        Effect::Fail(failure) => Output::Over(format!("{failure:?}")),
        Effect::Note(note) => Output::Note(Noted::from(&note), format!("{note:?}")),
    }
}

/// A partition, as the store has it.
#[derive(Debug, Clone)]
pub struct StoredPartition {
    /// Which.
    pub partition: TopicPartition,
    /// Of its topic.
    pub topic: String,
    /// So many replicas are wanted.
    pub wanted: usize,
    /// Is it served, as opposed to ended?
    pub is_active: bool,
    /// Who holds it.
    pub assignment: Assignment,
}

/// Every partition in a store. Empty if there is no root.
///
/// # Errors
/// It makes no sense.
pub fn partitions(snapshot: Snapshot) -> Result<Vec<StoredPartition>, String> {
    let loaded = stored::load(snapshot).map_err(|e| format!("{e:?}"))?;
    let Some(cluster) = loaded.cluster else {
        return Ok(Vec::new());
    };
    let of = cluster
        .assignments()
        .filter(|(topic, id, _)| id.partition.0 < topic.placed);
    let of = of.map(|(topic, partition, assignment)| StoredPartition {
        partition,
        topic: topic.name.clone(),
        wanted: topic.config.replicas as usize,
        is_active: topic.is_active(),
        assignment: assignment.clone(),
    });
    Ok(of.collect())
}

/// May a put have made `after` of `before`?
///
/// # Errors
/// The invariant that is broken, and by what.
pub fn check(before: Snapshot, after: Snapshot) -> Result<(), String> {
    let load = |snapshot| stored::load(snapshot).map_err(|e| format!("{e:?}"));
    let (before, after) = (load(before)?, load(after)?);
    if let (Some(before), Some(after)) = (&before.cluster, &after.cluster) {
        invariants::check(before, after).map_err(|b| format!("{}: {}", b.rule, b.what))?;
    }
    Ok(())
}
