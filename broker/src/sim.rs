//! A broker as the simulator drives it: inputs in, outputs out, one at a time. The decisions are those of the real one; what is here does what its tasks,
//! threads and connections do. Its volume is a [`taffrail_log::Disk`] and, beside it, what the real broker keeps in small files.
//!
//! ```text
//! durable    the small files
//! start      from a volume to a broker
//! obey       the session with the controller, and its updates
//! links      sessions with leaders and followers
//! clients    produce, fetch, and what an observer sees
//! groups     coordinators, and the streams of members
//! ```

mod clients;
mod durable;
mod groups;
mod links;
mod obey;
mod start;

use std::{
    collections::BTreeMap,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::FutureExt as _;
use taffrail_api::{WireError, v1};
use taffrail_core::{BrokerNumber, LeaderEpoch, TopicPartition, replica::Acks};
use tokio::sync::{oneshot, watch};

pub use clients::{Fetched, Placed, ReplicaView};
pub use durable::Durable;
pub use groups::{GroupRecord, GroupSays, Reset};
pub use start::{Settings, partition_dir};

pub use crate::group::{CoordinatorView, GroupView};
use crate::{
    broker::Broker,
    cluster::{apply::Told, known::Known, rebuild::Rebuilds},
    disk::stepped::{Blocking, Stepped},
    follower::throttle::Throttle,
    group::stepped::Stepped as Coordinators,
    partition::ack::Outcome,
    rpc::replication::stepped::Seats,
};
use groups::MemberStream;
use links::{Followed, Following};
use obey::Session;

/// What follows from one input is done in fewer rounds than this.
const SETTLED_AFTER: usize = 10_000;

/// The two clocks of a broker.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// As users read it. May jump.
    pub wall_ms: i64,
    /// Since the broker started. Never goes back.
    pub uptime_ms: u64,
}

/// What happens to a broker.
#[derive(Debug)]
pub enum Input {
    /// A connection to a controller is there.
    ControllerOpened,
    /// It said something.
    ControllerSays(Box<v1::ControllerMessage>),
    /// The connection is gone.
    ControllerClosed,
    /// The connection to a leader, which was asked for, is there.
    LeaderOpened(BrokerNumber),
    /// It said something.
    LeaderSays(BrokerNumber, Box<v1::LeaderMessage>),
    /// The connection is gone, or there never was one.
    LeaderClosed {
        /// Whose.
        leader: BrokerNumber,
        /// There is a machine, and nobody listens.
        refused: bool,
    },
    /// A follower said something on a connection.
    FollowerSays(u64, Box<v1::FollowerMessage>),
    /// The connection is gone.
    FollowerClosed(u64),
    /// A producer asks.
    Produce {
        /// Of the answer.
        id: u64,
        /// Where to.
        partition: TopicPartition,
        /// As the producer knows it.
        epoch: Option<LeaderEpoch>,
        /// When it wants to be answered.
        acks: Acks,
        /// One or more record batches.
        batches: Bytes,
    },
    /// A member of a group said something on a connection.
    MemberSays(u64, Box<v1::MemberRequest>),
    /// The connection is gone.
    MemberClosed(u64),
    /// Somebody resets offsets.
    Reset(u64, Reset),
    /// What blocks is done now.
    Job(u64),
    /// Somebody wants the broker to stop.
    Stopping,
    /// Time passed.
    Tick,
}

/// What a broker wants done.
#[derive(Debug)]
pub enum Output {
    /// To the controller.
    ToController(Box<v1::BrokerMessage>),
    /// End the connection to the controller.
    HangUpController,
    /// Connect to a leader.
    Dial(BrokerNumber),
    /// To a leader.
    ToLeader(BrokerNumber, Box<v1::FollowerMessage>),
    /// End the connection to a leader.
    HangUpLeader(BrokerNumber),
    /// To a follower.
    ToFollower(u64, Box<v1::LeaderMessage>),
    /// End a follower's connection.
    HangUpFollower(u64),
    /// A producer is answered: the offset of its first record, or why not.
    Produced(u64, Result<i64, WireError>),
    /// To a member.
    ToMember(u64, Box<v1::MemberResponse>),
    /// End a member's connection, and say why.
    HangUpMember(u64, WireError),
    /// Offsets were reset, or why not.
    WasReset(u64, Result<(), WireError>),
    /// Something that blocks, to be done by [`Input::Job`] at some time.
    Job(u64),
    /// An update was obeyed: it is durable, and the logs have heard of it. One of a controller that is behind is refused.
    Obeyed,
    /// Whatever others can lead was given to them: the broker may stop.
    HandedOver,
    /// The broker must not go on.
    Fatal(WireError),
    /// Something for counters and traces.
    Note(&'static str),
}

#[derive(Debug, Default)]
struct Clock {
    wall_ms: AtomicI64,
    uptime_ms: AtomicU64,
}

/// A running broker.
pub struct SimBroker {
    broker: Arc<Broker>,
    disk: Stepped,
    clock: Arc<Clock>,
    durable: Durable,
    known: watch::Sender<Arc<Known>>,
    told: Told,
    rebuilds: Rebuilds,
    session: Option<Session>,
    leaders: BTreeMap<BrokerNumber, Following>,
    followers: BTreeMap<u64, Followed>,
    seats: Seats,
    throttle: Throttle,
    jobs: BTreeMap<u64, Blocking>,
    jobs_made: u64,
    asked: BTreeMap<u64, oneshot::Receiver<Outcome>>,
    coordinators: Coordinators,
    members: BTreeMap<u64, MemberStream>,
    resets: BTreeMap<u64, oneshot::Receiver<Result<(), WireError>>>,
    syncs_itself: bool,
    due: Due,
    outputs: Vec<Output>,
}

/// When what has to be done every now and then is due, in milliseconds since the start.
#[derive(Debug, Default)]
struct Due {
    replicas: u64,
    expire: u64,
    checkpoint: u64,
    compact: u64,
    sync: u64,
    space: u64,
    serve: u64,
}

impl fmt::Debug for SimBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBroker")
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}

impl SimBroker {
    /// Takes in one input and says what has to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        self.clock.wall_ms.store(now.wall_ms, Ordering::Relaxed);
        self.clock.uptime_ms.store(now.uptime_ms, Ordering::Relaxed);
        match input {
            Input::ControllerOpened => self.controller_opened(),
            Input::ControllerSays(message) => self.controller_says(*message),
            Input::ControllerClosed => self.session = None,
            Input::LeaderOpened(leader) => self.leader_opened(leader),
            Input::LeaderSays(leader, message) => self.leader_says(leader, *message),
            Input::LeaderClosed { leader, refused } => self.leader_closed(leader, refused),
            Input::FollowerSays(connection, message) => self.follower_says(connection, *message),
            Input::FollowerClosed(connection) => {
                self.followers.remove(&connection);
            }
            Input::Produce {
                id,
                partition,
                epoch,
                acks,
                batches,
            } => self.produce(id, partition, epoch, acks, batches),
            Input::MemberSays(connection, request) => self.member_says(connection, *request),
            Input::MemberClosed(connection) => self.member_closed(connection),
            Input::Reset(id, reset) => self.reset(id, reset),
            Input::Job(id) => {
                if let Some(job) = self.jobs.remove(&id) {
                    self.disk.run(job);
                }
            }
            Input::Stopping => self.stopping(),
            Input::Tick => self.tick(),
        }
        self.settle();
        std::mem::take(&mut self.outputs)
    }

    /// The process is gone. What is left of it but the disk.
    pub fn crash(self) -> Durable {
        self.durable
    }

    /// Stops in order. What is left of it but the disk.
    pub fn close(mut self) -> Durable {
        for job in std::mem::take(&mut self.jobs).into_values() {
            self.disk.run(job);
        }
        self.disk.close();
        self.durable
    }

    /// What a copy of the volume has beside the disk.
    pub fn files(&self) -> Durable {
        self.durable.clone()
    }

    fn now_ms(&self) -> u64 {
        self.clock.uptime_ms.load(Ordering::Relaxed)
    }

    /// As `disk/maintenance.rs` does it.
    fn tick(&mut self) {
        let now_ms = self.now_ms();
        let disk = self.broker.disk.clone();
        let settings = &self.broker.config.disk;
        let is_due = |due_ms: &mut u64, every_ms: u64| {
            let is_due = *due_ms <= now_ms;
            if is_due {
                *due_ms = now_ms + every_ms.max(1);
            }
            is_due
        };
        let due = &mut self.due;
        if is_due(&mut due.space, settings.space_interval_ms)
            && self.broker.space.look() == crate::disk::space::Pressure::Trim
        {
            disk.expire();
        }
        if is_due(&mut due.expire, settings.expire_interval_ms) {
            disk.expire();
        }
        if is_due(&mut due.checkpoint, settings.checkpoint_interval_ms) {
            disk.checkpoint();
        }
        if is_due(&mut due.compact, settings.compaction_interval_ms) {
            disk.compact();
        }
        if is_due(&mut due.sync, settings.background_sync_interval_ms) {
            disk.sync_in_background();
        }
        if is_due(
            &mut due.replicas,
            crate::disk::maintenance::REPLICAS_INTERVAL_MS,
        ) {
            disk.tick();
        }
        if is_due(&mut due.serve, 5_000) {
            self.serve_again();
        }
        self.dial();
        self.beat(false);
    }

    /// Does everything that follows from what happened, until nothing does.
    fn settle(&mut self) {
        for step in 0.. {
            assert!(step < SETTLED_AFTER, "a broker does not come to rest");
            self.disk.round(self.syncs_itself);
            for job in self.disk.take_planned() {
                self.plan(job);
            }
            self.talk_to_leaders();
            self.talk_to_followers();
            self.coordinate();
            if self.disk.is_idle() {
                break;
            }
        }
        self.ask_controller();
        if self.broker.report_now.notified().now_or_never().is_some() {
            self.beat(true);
        }
        self.answer_producers();
        self.talk_to_members();
        self.answer_resets();
    }

    /// What the owner of the logs is asked for, and answers in its next round.
    fn obeyed<T>(disk: &mut Stepped, asked: impl Future<Output = T>) -> Option<T> {
        let mut asked = pin!(asked);
        if let Some(done) = asked.as_mut().now_or_never() {
            return Some(done);
        }
        disk.round(false);
        asked.as_mut().now_or_never()
    }
}
