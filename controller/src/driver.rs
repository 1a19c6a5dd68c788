//! Runs the state machine: clock, channels and the store around it.

mod notes;
mod outbox;
mod storing;

use std::{future::pending, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use taffrail_core::{ClusterId, TopicId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use crate::{
    config::{ControllerConfig, Environment},
    error::ControllerError,
    groups::{Groups, GroupsView},
    handle::{COMMANDS_MAX, Command, ControllerHandle, Office, Pending},
    request::Request,
    state::{Effect, Event, Failure, Machine, Settings, WriteFailure, draft::Write},
    store::{Snapshot, Store, StoreError, Version},
    view::View,
    writes::WriteCounters,
};
use outbox::Outboxes;

/// How often time passes for the state machine.
const TICK: Duration = Duration::from_millis(500);
/// Between tries, doubled up to the second with every failure.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Changes that only heartbeats brought are shown this often at most.
const VIEW_INTERVAL: Duration = Duration::from_millis(200);
/// How often groups are looked at: as often as their coordinators speak of them.
const GROUPS_INTERVAL: Duration = Duration::from_secs(2);

/// Takes office and starts to run. Resolves once every map is claimed. Must be called in a tokio runtime.
///
/// # Errors
/// The store fails, makes no sense, or others keep taking office.
pub async fn start(
    store: impl Store,
    config: ControllerConfig,
    mut environment: Environment,
) -> Result<ControllerHandle, ControllerError> {
    let settings = settings(&config, &mut environment);
    let (machine, first) = Machine::new(settings);
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (view, view_seen) = watch::channel(Arc::new(View::default()));
    let (groups, seen_groups) = watch::channel(Arc::default());
    let (version, version_seen) = watch::channel(0);
    let (office, office_seen) = watch::channel(Office::Active);
    let (started, has_started) = oneshot::channel();
    let handle = ControllerHandle {
        commands,
        view: view_seen,
        groups: seen_groups,
        version: version_seen,
        office: office_seen,
        writes: WriteCounters::default(),
        mode: config.mode,
    };
    let driver = Driver {
        machine,
        store: Arc::new(store),
        environment,
        inbox,
        io: None,
        outboxes: Outboxes::default(),
        pending: Pending::default(),
        started: Some(started),
        view,
        groups: Groups::default(),
        groups_seen: groups,
        version,
        office,
        writes: handle.writes.clone(),
        is_deposed: false,
    };
    // Owned by the handles: it ends when the last one is gone, or is stopped.
    tokio::spawn(driver.run(first));
    // The driver answers or is gone, and it is gone only after an answer.
    has_started
        .await
        .unwrap_or(Err(ControllerError::Contended))?;
    Ok(handle)
}

fn settings(config: &ControllerConfig, environment: &mut Environment) -> Settings {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Settings {
        holder: (environment.random)(),
        new_cluster_id: ClusterId::from_bytes(random_uuid(environment)),
        defaults: config.defaults.clone(),
        heartbeat_interval_ms: u32::try_from(config.heartbeat_interval.as_millis())
            .unwrap_or(u32::MAX),
        suspect_after_ms: ms(config.suspect_after),
        session_timeout_ms: ms(config.session_timeout),
        settle_ms: ms(config.settle_time),
    }
}

/// A random UUID (version 4).
fn random_uuid(environment: &mut Environment) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(environment.random)().to_be_bytes());
    bytes[8..].copy_from_slice(&(environment.random)().to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// What an operation of the store came to.
enum Done {
    Loaded(Result<Snapshot, StoreError>),
    Written(Result<Vec<Version>, StoreError>),
}

struct Driver {
    machine: Machine,
    store: Arc<dyn Store>,
    environment: Environment,
    inbox: mpsc::Receiver<Command>,
    /// The operation under way: one at a time.
    io: Option<BoxFuture<'static, Done>>,
    outboxes: Outboxes,
    pending: Pending,
    /// Until office is taken.
    started: Option<oneshot::Sender<Result<(), ControllerError>>>,
    view: watch::Sender<Arc<View>>,
    groups: Groups,
    groups_seen: watch::Sender<Arc<GroupsView>>,
    version: watch::Sender<u64>,
    office: watch::Sender<Office>,
    writes: WriteCounters,
    is_deposed: bool,
}

impl Driver {
    async fn run(mut self, first: Vec<Effect>) {
        self.perform(first);
        let mut tick = every(TICK);
        let mut show = every(VIEW_INTERVAL);
        let mut look = every(GROUPS_INTERVAL);
        while !self.is_deposed {
            tokio::select! {
                done = operation(&mut self.io) => {
                    self.io = None;
                    self.done(done);
                }
                command = self.inbox.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(command) => self.command(command),
                },
                _ = tick.tick() => self.handle(Event::Tick),
                _ = show.tick() => self.show(),
                _ = look.tick() => self.look(),
            }
        }
        self.end().await;
    }

    fn handle(&mut self, event: Event) {
        let now = (self.environment.clock)().as_millis();
        let effects = self
            .machine
            .handle(u64::try_from(now).unwrap_or(u64::MAX), event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        // Told to the state machine afterwards, so that every session gets its messages in the order of their stamps.
        let mut lost = Vec::new();
        for effect in effects {
            match effect {
                Effect::Load { attempts } => self.load(attempts),
                Effect::Write(writes) => self.write(writes),
                Effect::Send(session, message) => {
                    if !self.outboxes.send(session, message) {
                        self.outboxes.close(session);
                        lost.push(session);
                    }
                }
                Effect::Close(session) => self.outboxes.close(session),
                Effect::Answer(id, answer) => {
                    // Whoever asked sees the change that is answered.
                    self.show();
                    self.pending.answer(id, answer);
                }
                Effect::InOffice { epoch } => self.in_office(epoch),
                Effect::Deposed => {
                    tracing::warn!("another controller took office");
                    self.is_deposed = true;
                }
                Effect::Fail(failure) => self.fail(failure_error(failure)),
                Effect::Note(note) => notes::log(&note),
            }
        }
        for session in lost {
            // The broker does not read its messages, or is gone: it starts again with a full update.
            self.handle(Event::SessionClosed(session));
        }
    }

    fn in_office(&mut self, epoch: u64) {
        tracing::info!(epoch, "took office");
        self.show();
        if let Some(started) = self.started.take() {
            // An error means that nobody waits any more; then the inbox is closed, too.
            let _ = started.send(Ok(()));
        }
    }

    fn fail(&mut self, error: ControllerError) {
        self.is_deposed = true;
        if let Some(started) = self.started.take() {
            // An error means that nobody waits any more.
            let _ = started.send(Err(error));
        } else {
            tracing::error!(%error, "the controller cannot go on");
        }
    }

    fn show(&mut self) {
        if let Some(view) = self.machine.take_view() {
            self.view.send_replace(Arc::new(view));
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn look(&mut self) {
        let view = Arc::clone(&self.view.borrow());
        let groups = self.groups.look(&view, (self.environment.wall_clock)());
        self.groups_seen.send_if_modified(|seen| {
            let is_news = **seen != groups;
            if is_news {
                *seen = Arc::new(groups);
            }
            is_news
        });
    }

    fn load(&mut self, attempts: u32) {
        let store = Arc::clone(&self.store);
        let wait = self.backoff(attempts);
        self.io = Some(
            async move {
                sleep(wait).await;
                let loaded = tokio::time::timeout(storing::STORE_TIMEOUT, store.load()).await;
                Done::Loaded(loaded.unwrap_or_else(|e| Err(StoreError::Unavailable(e.into()))))
            }
            .boxed(),
        );
    }

    fn write(&mut self, writes: Vec<Write>) {
        let store = Arc::clone(&self.store);
        let counters = self.writes.clone();
        self.io = Some(
            async move { Done::Written(storing::put_all(&*store, writes, &counters).await) }
                .boxed(),
        );
    }

    /// Doubled with every failure, capped, with up to half of it taken off by chance.
    fn backoff(&mut self, attempts: u32) -> Duration {
        if attempts == 0 {
            return Duration::ZERO;
        }
        let full = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(attempts.min(10)));
        let share = (self.environment.random)() % 512;
        full * (1024 - share as u32) / 1024
    }

    fn done(&mut self, done: Done) {
        let is_starting = self.started.is_some();
        let event = match done {
            Done::Loaded(Ok(snapshot)) => Event::Loaded(snapshot),
            Done::Written(Ok(versions)) => Event::Written(versions),
            Done::Written(Err(error)) if error.is_resolved_by_reading() => {
                tracing::info!(%error, "reading the metadata store again");
                Event::WriteFailed(WriteFailure::Retry)
            }
            Done::Loaded(Err(error)) | Done::Written(Err(error)) if is_starting => {
                return self.fail(error.into());
            }
            Done::Written(Err(error)) => {
                tracing::warn!(%error, "the metadata store does not take changes");
                Event::WriteFailed(WriteFailure::Down(error.to_string()))
            }
            Done::Loaded(Err(error)) => {
                tracing::warn!(%error, "the metadata store cannot be read");
                Event::LoadFailed(error.to_string())
            }
        };
        self.handle(event);
    }

    fn command(&mut self, command: Command) {
        let event = match command {
            Command::Apply {
                name,
                spec,
                dry_run,
                id: wanted_id,
                answer,
            } => {
                let new_id = TopicId::from_bytes(random_uuid(&mut self.environment));
                let id = self.pending.apply(answer);
                let request = Request::Apply {
                    name,
                    spec,
                    dry_run,
                    wanted_id,
                    new_id,
                };
                Event::Request(id, request)
            }
            Command::Delete {
                name,
                policy,
                answer,
            } => {
                let id = self.pending.delete(answer);
                Event::Request(id, Request::Delete { name, policy })
            }
            Command::Move {
                what,
                dry_run,
                answer,
            } => {
                let id = self.pending.moves(answer);
                Event::Request(id, Request::Move { what, dry_run })
            }
            Command::SetDefaults { defaults, done } => {
                self.handle(Event::DefaultsChanged(defaults));
                let _ = done.send(());
                return;
            }
            Command::SetGroups(groups) => {
                self.groups.declare(&groups);
                Event::GroupsDeclared(groups)
            }
            Command::SessionOpened {
                register,
                outbox,
                session,
            } => {
                let id = self.outboxes.open(outbox);
                let _ = session.send(id);
                Event::SessionOpened(id, register)
            }
            Command::Heartbeat {
                session,
                mut heartbeat,
            } => {
                let reports = std::mem::take(&mut heartbeat.groups);
                self.groups.hear(reports, (self.environment.wall_clock)());
                Event::Heartbeat(session, heartbeat)
            }
            Command::DeleteDone { session, done } => Event::DeleteDone(session, done),
            Command::IsrRequests { session, requests } => Event::IsrRequests(session, requests),
            Command::Stopping { session } => Event::Stopping(session),
            Command::SessionClosed { session } => {
                self.outboxes.close(session);
                Event::SessionClosed(session)
            }
            Command::StoreChanged => Event::StoreChanged,
            Command::Stop => return,
        };
        self.handle(event);
    }

    /// Finishes what is under way at the store, tells brokers to look elsewhere, and is gone.
    async fn end(mut self) {
        self.office.send_replace(if self.is_deposed {
            Office::Deposed
        } else {
            Office::Stopped
        });
        if let Some(io) = self.io.take()
            && !self.is_deposed
        {
            let done = io.await;
            self.done(done);
        }
        let Self {
            inbox, store, io, ..
        } = self;
        // Whoever waits for the end may open the store again: the inbox goes last.
        drop(io);
        drop(store);
        drop(inbox);
    }
}

/// The operation under way; for ever, if there is none.
async fn operation(io: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match io {
        Some(io) => io.await,
        None => pending().await,
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn failure_error(failure: Failure) -> ControllerError {
    match failure {
        Failure::RootVanished => ControllerError::RootVanished,
        Failure::Contended => ControllerError::Contended,
        Failure::Invalid { object, reason } => ControllerError::Invalid { object, reason },
    }
}
