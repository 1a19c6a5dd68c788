//! The one thread that writes. Group commit: everything that waits is written, then each dirty log is synced once on the sync threads.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    thread,
};

use taffrail_api::WireError;
use taffrail_core::{Durability, ErrorCode, TopicPartition};
use tokio::sync::oneshot;

use super::{handle::Command, inbox::Inbox, space::Space, sync_pool::SyncPool};
use crate::{
    environment::Environment,
    metrics::Metrics,
    partition::{
        append::{Append, OwnedLog},
        commit::SyncJob,
    },
};

/// A lone sync of up to this much is done on the writing thread itself: nothing else is to be written, and a change of threads would
/// cost more than it saves.
const INLINE_SYNC_BYTES: u64 = 64 << 10;
/// Not if a `pageCache` topic was written to within this time: its producers do not wait for others' syncs.
const INLINE_SYNC_QUIET_MS: i64 = 1_000;
/// Logs are closed by so many threads at a time.
const CLOSING_THREADS: usize = 8;

/// Owns every log of the broker.
#[derive(Debug)]
pub(super) struct Writer {
    inbox: Arc<Inbox<Command>>,
    pool: SyncPool,
    environment: Environment,
    space: Arc<Space>,
    metrics: Arc<Metrics>,
    logs: HashMap<TopicPartition, OwnedLog>,
    /// Logs with something to settle after this round.
    touched: Vec<TopicPartition>,
    /// One is done between two rounds, so that no request waits for many.
    chores: VecDeque<Chore>,
    closing: Option<oneshot::Sender<usize>>,
    page_cache_used_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chore {
    Expire(TopicPartition),
    Checkpoint(TopicPartition),
}

impl Chore {
    const fn id(self) -> TopicPartition {
        match self {
            Self::Expire(id) | Self::Checkpoint(id) => id,
        }
    }
}

impl Writer {
    pub(super) fn new(
        inbox: Arc<Inbox<Command>>,
        pool: SyncPool,
        environment: Environment,
        space: Arc<Space>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inbox,
            pool,
            environment,
            space,
            metrics,
            logs: HashMap::new(),
            touched: Vec::new(),
            chores: VecDeque::new(),
            closing: None,
            page_cache_used_ms: i64::MIN,
        }
    }

    /// Until told to close, and then until everything queued is written, synced and answered; or until cut off.
    pub(super) fn run(mut self) {
        let mut commands = VecDeque::new();
        loop {
            if self.chores.is_empty() {
                self.inbox.take_all(&mut commands);
            } else {
                self.inbox.try_take_all(&mut commands);
            }
            for command in commands.drain(..) {
                self.obey(command);
            }
            self.commit();
            self.do_one_chore();
            if self.inbox.is_closed() {
                // Cut off: as if the process had crashed.
                return;
            }
            if self.closing.is_some() && self.logs.values().all(OwnedLog::is_quiet) {
                break;
            }
        }
        // What came meanwhile, and what comes now, is answered by being dropped.
        self.inbox.abandon();
        self.close();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Append(append) if self.closing.is_some() => drop(append),
            Command::Append(append) => self.enqueue(append),
            Command::SyncDone(done) => {
                let id = done.partition.id;
                if let Some(log) = self.logs.get_mut(&id) {
                    log.synced(&done.token, done.result);
                    self.touched.push(id);
                }
            }
            Command::Adopt(log) => {
                self.logs.insert(log.partition.id, *log);
            }
            Command::Configure {
                id,
                config,
                durability,
            } => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.configure(config, durability);
                }
            }
            Command::Fence { epochs, reply } => {
                for (id, epoch) in epochs {
                    if let Some(log) = self.logs.get_mut(&id) {
                        log.fence(epoch);
                    }
                }
                // The one who asked may have stopped waiting.
                let _ = reply.send(());
            }
            Command::Delete { id, reply } => {
                let deleted = self
                    .logs
                    .remove(&id)
                    .map_or(Ok(()), |log| log.delete(&gone()));
                // The one who asked may have stopped waiting.
                let _ = reply.send(deleted);
            }
            Command::SyncInBackground => self.sync_in_background(),
            Command::Expire => self.plan(Chore::Expire),
            Command::Checkpoint => self.plan(Chore::Checkpoint),
            Command::Close { reply } => {
                self.chores.clear();
                self.closing = Some(reply);
            }
        }
    }

    fn enqueue(&mut self, append: Append) {
        let id = append.partition.id;
        match self.logs.get_mut(&id) {
            Some(log) => {
                if log.enqueue(append) {
                    self.touched.push(id);
                }
            }
            None => append.responder.answer(Err(gone())),
        }
    }

    /// Writes what waits, and starts the syncs.
    fn commit(&mut self) {
        let mut jobs = Vec::new();
        let (mut bytes, mut requests) = (0, 0);
        let now_ms = (self.environment.clock)();
        for id in std::mem::take(&mut self.touched) {
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            let written = log.write(now_ms);
            bytes += written.bytes;
            requests += written.requests;
            if written.requests > 0 && log.durability() == Durability::PageCache {
                self.page_cache_used_ms = now_ms;
            }
            if written.disk_full {
                self.space.report_full();
            }
            jobs.extend(log.settle());
        }
        if requests > 0 {
            self.metrics.group_written(requests, bytes);
        }
        self.start_syncs(jobs, now_ms);
    }

    fn start_syncs(&mut self, mut jobs: Vec<SyncJob>, now_ms: i64) {
        let nobody_waits_for_writes = self.inbox.is_empty()
            && now_ms.saturating_sub(self.page_cache_used_ms) > INLINE_SYNC_QUIET_MS;
        if jobs.len() == 1
            && jobs[0].bytes <= INLINE_SYNC_BYTES
            && nobody_waits_for_writes
            && let Some(job) = jobs.pop()
        {
            let done = job.run(&self.metrics);
            if let Some(log) = self.logs.get_mut(&done.partition.id) {
                log.synced(&done.token, done.result);
            }
        }
        for job in jobs {
            self.pool.push(job);
        }
    }

    fn sync_in_background(&mut self) {
        for job in self.logs.values_mut().filter_map(OwnedLog::sync) {
            self.pool.push(job);
        }
    }

    /// One chore for each log, unless those of the last time are not done yet.
    fn plan(&mut self, chore: fn(TopicPartition) -> Chore) {
        let same_kind = |planned: &Chore| {
            std::mem::discriminant(planned) == std::mem::discriminant(&chore(planned.id()))
        };
        if self.closing.is_none() && !self.chores.iter().any(same_kind) {
            self.chores.extend(self.logs.keys().map(|id| chore(*id)));
        }
    }

    fn do_one_chore(&mut self) {
        let now_ms = (self.environment.clock)();
        match self.chores.pop_front() {
            Some(Chore::Expire(id)) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.expire(now_ms);
                }
            }
            Some(Chore::Checkpoint(id)) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.checkpoint();
                }
            }
            None => {}
        }
    }

    /// Leaves the clean-stop marks, on several threads: each costs a few syncs.
    fn close(&mut self) {
        let logs: Vec<OwnedLog> = self.logs.drain().map(|(_, log)| log).collect();
        let failed = std::sync::atomic::AtomicUsize::new(0);
        let queue = std::sync::Mutex::new(logs);
        let next = || {
            queue
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .pop()
        };
        thread::scope(|scope| {
            for _ in 0..CLOSING_THREADS {
                scope.spawn(|| {
                    while let Some(log) = next() {
                        let partition = Arc::clone(&log.partition);
                        if let Err(error) = log.close() {
                            failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            tracing::warn!(topic = %partition.topic_name, partition = %partition.id.partition,
                                %error, "no clean stop; the next start recovers this partition");
                        }
                    }
                });
            }
        });
        if let Some(reply) = self.closing.take() {
            // The one who asked may have stopped waiting.
            let _ = reply.send(failed.into_inner());
        }
    }
}

fn gone() -> WireError {
    WireError::new(
        ErrorCode::UnknownPartition,
        "the partition was deleted here; refresh the metadata",
    )
}
