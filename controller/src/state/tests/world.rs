//! Controllers, brokers and a store, without a clock: whoever tests decides what happens next.

mod broker;
mod good;
mod history;
mod replication;
mod restore;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use futures::FutureExt as _;
use taffrail_api::v1::{self, MetadataUpdate, controller_message::Message};
use taffrail_core::{ClusterId, Incarnation, TopicDefaults, TopicId, TopicSpec};

use crate::{
    invariants::{self, BROKER_NUMBERS_ARE_NEVER_REUSED},
    request::{ApplyError, Deleted, Request},
    state::{
        Answer, Effect, Event, Machine, SessionId, Settings, WriteFailure,
        cluster::Cluster,
        draft::{Value, Write},
        stored,
    },
    store::{Fault, MemoryStore, Store, Version},
    view::View,
    writes::WriteReason,
};

use broker::{Broker, key};
use history::{History, once};

pub(super) const CONTROLLERS: usize = 2;
pub(super) const BROKERS: usize = 3;
/// Reports under a raised epoch, an election, catching up, a confirmation or a change.
const ROUNDS: usize = 6;
/// Somebody was told that a broker is not there.
pub(super) const TOLD_GONE: &str = "told gone";
pub(super) const TOLD_THERE: &str = "told there";

enum Io {
    Load,
    Write {
        left: VecDeque<Write>,
        versions: Vec<Version>,
    },
}

struct Controller {
    machine: Machine,
    io: Option<Io>,
    /// Session to broker.
    sessions: HashMap<SessionId, usize>,
}

pub(super) struct World {
    store: MemoryStore,
    controllers: Vec<Controller>,
    brokers: Vec<Broker>,
    history: History,
    now_ms: u64,
    /// The last that was taken.
    view: Option<View>,
    /// Makes every random number another.
    drawn: u64,
    /// What controllers are told.
    defaults: TopicDefaults,
    /// No topic is ever ended by policy `Delete`: then no record may go.
    pub(super) keeps_records: bool,
    /// No broker follows one that is down, so nobody can say that it is.
    pub(super) doubts_nobody: bool,
    /// Somebody took the root away: no controller can go on.
    is_without_root: bool,
    /// Names of what happened.
    pub(super) reached: BTreeSet<String>,
}

impl World {
    /// A new store, on which nobody works yet; no internal topics.
    pub(super) fn new() -> Self {
        Self::wanting(BROKERS, 0)
    }

    /// The same, for a cluster that is to have so many brokers, and so many partitions of `__offsets`.
    pub(super) fn wanting(brokers_wanted: usize, offsets_partitions: u32) -> Self {
        let brokers = (0..BROKERS).map(|b| Broker {
            uuid: [b as u8 + 1; 16],
            candidates: Vec::new(),
            cluster_id: String::new(),
            number: None,
            stamp: v1::ControllerStamp::default(),
            stored: BTreeMap::new(),
            gone: BTreeMap::new(),
            logs: BTreeMap::new(),
            name: format!("main-{b}"),
            faults: BTreeSet::new(),
            is_full: false,
            may_lack: false,
            leading: BTreeMap::new(),
            is_down: true,
            served: BTreeSet::new(),
            is_mute: false,
            session: None,
            inbox: VecDeque::new(),
        });
        let mut world = Self {
            store: MemoryStore::default(),
            controllers: Vec::new(),
            brokers: brokers.collect(),
            history: History::default(),
            now_ms: 0,
            view: None,
            drawn: 0,
            defaults: TopicDefaults {
                brokers_wanted: brokers_wanted as u32,
                offsets_partitions,
                ..TopicDefaults::default()
            },
            keeps_records: false,
            doubts_nobody: false,
            is_without_root: false,
            reached: BTreeSet::new(),
        };
        for _ in 0..CONTROLLERS {
            let controller = world.controller();
            world.controllers.push(controller);
        }
        world
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn controller(&mut self) -> Controller {
        let settings = Settings {
            holder: self.draw(),
            new_cluster_id: ClusterId::from_bytes([self.draw() as u8; 16]),
            defaults: self.defaults.clone(),
            heartbeat_interval_ms: 1000,
            suspect_after_ms: 3000,
            session_timeout_ms: 60_000,
            settle_ms: 10_000,
        };
        let (machine, _) = Machine::new(settings);
        Controller {
            machine,
            io: Some(Io::Load),
            sessions: HashMap::new(),
        }
    }

    /// From now on the cluster is to have so many brokers.
    pub(super) fn want(&mut self, brokers: usize) {
        self.defaults.brokers_wanted = brokers as u32;
        for controller in 0..CONTROLLERS {
            self.event(controller, Event::DefaultsChanged(self.defaults.clone()));
        }
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.controllers[index] = self.controller();
        for broker in &mut self.brokers {
            if broker
                .session
                .is_some_and(|(controller, _)| controller == index)
            {
                broker.session = None;
                broker.inbox.clear();
            }
        }
    }

    pub(super) fn apply(&mut self, controller: usize, name: &str, spec: TopicSpec) {
        let id = self.draw();
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        let request = Request::Apply {
            name: name.to_owned(),
            spec,
            dry_run: false,
            wanted_id: None,
            new_id: TopicId::from_bytes(bytes),
        };
        self.request(controller, request);
    }

    pub(super) fn request(&mut self, controller: usize, request: Request) {
        let id = self.draw();
        self.event(controller, Event::Request(id, request));
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        for controller in 0..CONTROLLERS {
            self.event(controller, Event::Tick);
        }
    }

    fn event(&mut self, index: usize, event: Event) {
        let effects = self.controllers[index].machine.handle(self.now_ms, event);
        for effect in effects {
            self.effect(index, effect);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        self.note(&effect);
        let controller = &mut self.controllers[index];
        match effect {
            Effect::Load { .. } => {
                assert!(controller.io.is_none(), "one operation at a time");
                controller.io = Some(Io::Load);
            }
            Effect::Write(writes) => {
                assert!(controller.io.is_none(), "one operation at a time");
                controller.io = Some(Io::Write {
                    left: writes.into(),
                    versions: Vec::new(),
                });
            }
            Effect::Send(session, message) => self.sent(index, session, message),
            Effect::Close(session) => {
                if let Some(broker) = controller.sessions.remove(&session) {
                    self.close(broker, index, session);
                }
            }
            Effect::Fail(failure) => {
                assert!(self.is_without_root, "{failure:?}");
            }
            Effect::Answer(..) | Effect::InOffice { .. } | Effect::Deposed | Effect::Note(_) => {}
        }
    }

    fn note(&mut self, effect: &Effect) {
        let debug = match effect {
            Effect::Answer(_, Answer::Apply(Ok(applied))) => format!("{:?}", applied.outcome),
            Effect::Answer(_, Answer::Delete(Ok(Deleted::Deleting { pending: 0 }))) => {
                "nothing is waited for".to_owned()
            }
            Effect::Answer(_, Answer::Delete(Ok(deleted))) => format!("{deleted:?}"),
            Effect::Answer(_, Answer::Move(Ok(moves))) if moves.is_empty() => return,
            Effect::Answer(_, Answer::Move(Ok(_))) => "moves".to_owned(),
            Effect::Answer(
                _,
                Answer::Apply(Err(error)) | Answer::Delete(Err(error)) | Answer::Move(Err(error)),
            ) => match error {
                ApplyError::Move(error) => format!("{error:?}"),
                error => format!("{error:?}"),
            },
            Effect::Note(note) => format!("{note:?}"),
            Effect::InOffice { .. } => "InOffice".to_owned(),
            Effect::Deposed => "Deposed".to_owned(),
            Effect::Fail(failure) => format!("{failure:?}"),
            Effect::Load { attempts: 1.. } => "write again".to_owned(),
            Effect::Write(writes) => {
                let elects = |w: &Write| w.reason == WriteReason::Election;
                let maps = |w: &&Write| matches!(w.value, Value::Map(_));
                let reasons = writes.iter().map(|write| write.reason.name().to_owned());
                self.reached.extend(reasons);
                match writes.iter().filter(maps).count() {
                    2.. => "several maps".to_owned(),
                    _ if writes.iter().any(elects) => "election".to_owned(),
                    _ => return,
                }
            }
            _ => return,
        };
        let name = debug.split([' ', '(', '{']).next();
        let is_name = debug.starts_with(char::is_uppercase);
        self.reached
            .insert(name.filter(|_| is_name).unwrap_or(&debug).to_owned());
    }

    /// The broker reads what was sent, then sees the end.
    fn close(&mut self, broker: usize, controller: usize, session: SessionId) {
        if self.brokers[broker].session == Some((controller, session)) {
            self.brokers[broker].session = None;
        }
    }

    fn sent(&mut self, index: usize, session: SessionId, message: v1::ControllerMessage) {
        let message = message.message.expect("no empty messages");
        let Some(&broker) = self.controllers[index].sessions.get(&session) else {
            return;
        };
        if let Message::Update(update) = &message {
            self.history.check_update(update);
            if update.brokers.iter().any(|broker| !broker.alive) {
                self.reached.insert(TOLD_GONE.to_owned());
            }
            if update.brokers.iter().any(|broker| broker.alive) {
                self.reached.insert(TOLD_THERE.to_owned());
            }
        }
        if let Message::Registered(registered) = &message {
            let uuid = self.brokers[broker].uuid;
            once(
                &mut self.history.numbers,
                registered.broker_number,
                uuid,
                BROKER_NUMBERS_ARE_NEVER_REUSED,
            );
        }
        if self.brokers[broker].session == Some((index, session)) {
            self.brokers[broker].inbox.push_back(message);
        }
    }

    /// Does it want nothing of the store?
    pub(super) fn is_idle(&self, controller: usize) -> bool {
        self.controllers[controller].io.is_none()
    }

    /// The next operation of a controller at the store.
    pub(super) fn step_store(&mut self, index: usize, fault: Fault) {
        match self.controllers[index].io.take() {
            None => {}
            Some(Io::Load) => {
                let event = if fault == Fault::Unavailable {
                    Event::LoadFailed("injected".to_owned())
                } else {
                    Event::Loaded(self.store.snapshot())
                };
                self.event(index, event);
            }
            Some(Io::Write {
                mut left,
                mut versions,
            }) => {
                let write = left.pop_front().expect("never empty");
                let before = self.cluster();
                self.store.inject([fault]);
                let result = put(&self.store, &write);
                self.persisted(before.as_ref());
                match result {
                    Ok(version) => versions.push(version),
                    Err(failure) => return self.event(index, Event::WriteFailed(failure)),
                }
                if left.is_empty() {
                    self.event(index, Event::Written(versions));
                } else {
                    self.controllers[index].io = Some(Io::Write { left, versions });
                }
            }
        }
    }

    pub(super) fn cluster(&self) -> Option<Cluster> {
        let loaded = stored::load(self.store.snapshot()).expect("only sense is written");
        loaded.cluster
    }

    /// Checks one put and remembers what it made durable.
    fn persisted(&mut self, before: Option<&Cluster>) {
        let Some(after) = self.cluster() else { return };
        if let Some(before) = before {
            invariants::check(before, &after).expect("the invariants hold");
            check_leavers(before, &after);
            assert!(after.root.value.epoch >= before.root.value.epoch);
        }
        self.history.remember(&after);
    }

    pub(super) fn start_broker(&mut self, broker: usize, controller: usize) {
        self.disconnect(broker);
        let random = self.draw();
        let candidates = &mut self.brokers[broker].candidates;
        let generation = candidates.last().map_or(1, |last| last.generation + 1);
        candidates.push(Incarnation { generation, random });
        self.brokers[broker].is_down = false;
        self.brokers[broker].leading.clear();
        self.dial(broker, controller);
    }

    pub(super) fn dial(&mut self, index: usize, controller: usize) {
        self.disconnect(index);
        let session = self.draw();
        let broker = &mut self.brokers[index];
        if broker.is_down {
            return;
        }
        broker.session = Some((controller, session));
        let register = broker.register();
        self.controllers[controller].sessions.insert(session, index);
        self.event(
            controller,
            Event::SessionOpened(session, Box::new(register)),
        );
    }

    /// Its registration comes once more, in the same session.
    pub(super) fn register_again(&mut self, index: usize) {
        let broker = &self.brokers[index];
        let (controller, session) = broker.session.expect("it has a session");
        let register = Box::new(broker.register());
        self.event(controller, Event::SessionOpened(session, register));
    }

    pub(super) fn disconnect(&mut self, broker: usize) {
        let broker = &mut self.brokers[broker];
        broker.inbox.clear();
        if let Some((controller, session)) = broker.session.take() {
            self.controllers[controller].sessions.remove(&session);
            self.event(controller, Event::SessionClosed(session));
        }
    }

    /// The broker takes in one message, makes it durable, and answers.
    pub(super) fn obey(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        let Some(message) = broker.inbox.pop_front() else {
            return;
        };
        match message {
            Message::HandedOver(handed) => {
                self.reached
                    .insert(format!("handed over but {}", handed.kept));
            }
            Message::Registered(registered) => {
                broker.cluster_id.clone_from(&registered.cluster_id);
                broker.number = Some(registered.broker_number);
                let own = broker.candidates.pop().expect("it runs");
                broker.candidates = vec![own];
            }
            Message::Update(update) => {
                if key(update.stamp) <= key(Some(broker.stamp)) {
                    // A controller that is behind.
                    return self.disconnect(index);
                }
                let number = broker.number.expect("registered before");
                if !update.deletes.is_empty() {
                    self.reached.insert("delete order".to_owned());
                }
                self.history.check_orders(&update, number);
                let cluster = self.cluster().expect("it gave orders");
                let lost = self.brokers[index].act(&update);
                let is_tombstone = |topic| cluster.topic(topic).is_none_or(|t| t.is_tombstone());
                for (partition, records) in lost {
                    if is_tombstone(partition.topic) {
                        assert!(
                            !self.keeps_records || records == 0,
                            "a topic that is deleted if empty took records along"
                        );
                    } else {
                        self.reached.insert("moved away".to_owned());
                    }
                }
                self.report(index, &update);
            }
            Message::NotActive(_) | Message::Refused(_) => self.disconnect(index),
        }
    }

    /// Producers write to every partition that the broker leads, and it reports a little later.
    pub(super) fn produce(&mut self, broker: usize) {
        let drawn = &mut self.drawn;
        self.brokers[broker].produce(|| {
            *drawn += 1;
            *drawn
        });
        self.advance(broker);
    }

    /// From now on the broker's heartbeats name no partition.
    pub(super) fn mute(&mut self, broker: usize) {
        self.brokers[broker].is_mute = true;
    }

    /// A heartbeat without a reason.
    pub(super) fn beat(&mut self, broker: usize) {
        if self.brokers[broker].number.is_some() {
            self.report(broker, &MetadataUpdate::default());
        }
    }

    fn report(&mut self, index: usize, update: &MetadataUpdate) {
        let broker = &self.brokers[index];
        let Some((controller, session)) = broker.session else {
            return;
        };
        let mut heartbeat = broker.heartbeat();
        heartbeat.doubts = self.doubts(index);
        self.event(controller, Event::Heartbeat(session, Box::new(heartbeat)));
        for order in &update.deletes {
            let done = v1::DeleteDone {
                topic_id: order.topic_id.clone(),
                partition: order.partition,
                partition_epoch: order.partition_epoch,
            };
            self.event(controller, Event::DeleteDone(session, done));
        }
    }

    /// The store does what is asked, brokers obey, replicate and report, for a while, without faults.
    pub(super) fn run(&mut self, controller: usize, steps: usize) {
        for _ in 0..steps {
            self.step_store(controller, Fault::Nothing);
            for broker in 0..BROKERS {
                self.obey(broker);
                self.beat(broker);
                self.replicate(broker, 1);
                self.ask(broker, false);
            }
        }
    }

    /// One controller and every broker start anew, and nothing fails any more.
    pub(super) fn recover(&mut self) {
        for controller in 0..CONTROLLERS {
            self.crash(controller);
        }
        for broker in 0..BROKERS {
            self.fill(broker, false);
        }
        self.settle_one(0);
        for _ in 0..3 {
            // A controller whose broker has seen a later term takes office again, and is dialled again.
            for broker in 0..BROKERS {
                let is_away = self.brokers[broker].session.is_none();
                if is_away || self.brokers[broker].is_down {
                    self.start_broker(broker, 0);
                }
            }
            self.settle_one(0);
        }
        self.settle();
    }

    /// Until nothing is under way any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.settle_one(0);
            for broker in 0..BROKERS {
                self.beat(broker);
                self.settle_one(0);
                self.replicate(broker, usize::MAX);
            }
            for broker in 0..BROKERS {
                self.ask(broker, false);
            }
            self.settle_one(0);
            self.wait(500);
        }
        self.settle_one(0);
    }

    fn settle_one(&mut self, controller: usize) {
        for _ in 0..10_000 {
            let mut is_idle = self.controllers[controller].io.is_none();
            self.step_store(controller, Fault::Nothing);
            for broker in 0..BROKERS {
                is_idle &= self.brokers[broker].inbox.is_empty();
                self.obey(broker);
            }
            if is_idle {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

/// Whoever a move takes away was noted before: it is told to delete what it has whenever it comes.
fn check_leavers(before: &Cluster, after: &Cluster) {
    for (topic, partition, next) in after.assignments() {
        let Some(known) = before.assignment(topic, partition) else {
            continue;
        };
        let left = known.removing.iter().filter(|b| !next.replicas.contains(b));
        for broker in left {
            let noted = before
                .topic(topic.id)
                .and_then(|t| t.pending(partition.partition, *broker));
            assert!(
                noted.is_some(),
                "{broker} left {partition} and nothing reminds of it"
            );
        }
    }
}

fn put(store: &MemoryStore, write: &Write) -> Result<Version, WriteFailure> {
    let expected = write.expected.as_ref();
    let put = match &write.value {
        Value::Root(root) => store.put_root(expected, root),
        Value::Map(map) => store.put_map(expected, map),
        Value::Broker(broker) => store.put_broker(expected, broker),
    };
    let result = put.now_or_never().expect("a memory store answers at once");
    result.map_err(|error| {
        if error.is_resolved_by_reading() {
            WriteFailure::Retry
        } else {
            WriteFailure::Down(error.to_string())
        }
    })
}
