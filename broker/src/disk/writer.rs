//! The one thread that writes. Group commit: everything that waits is written, then each dirty log is synced once on the sync threads.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use taffrail_api::WireError;
use taffrail_core::{Durability, ErrorCode, TopicPartition};
use tokio::sync::oneshot;

use super::{
    closing,
    handle::Command,
    inbox::Inbox,
    space::Space,
    sync_pool::SyncPool,
    upkeep_pool::{Job, UpkeepPool},
};
use crate::{
    environment::Environment,
    metrics::Metrics,
    partition::{
        Partition,
        append::{Append, OwnedLog},
        commit::{SyncDone, SyncJob},
    },
};

/// A lone sync of up to this much is done on the writing thread itself: nothing else is to be written, and a change of threads would
/// cost more than it saves.
const INLINE_SYNC_BYTES: u64 = 64 << 10;
/// Not if a `pageCache` topic was written to within this time: its producers do not wait for others' syncs.
const INLINE_SYNC_QUIET_MS: i64 = 1_000;

/// Owns every log of the broker.
#[derive(Debug)]
pub(super) struct Writer {
    inbox: Arc<Inbox<Command>>,
    pool: SyncPool,
    upkeeps: UpkeepPool,
    environment: Environment,
    space: Arc<Space>,
    metrics: Arc<Metrics>,
    logs: HashMap<TopicPartition, OwnedLog>,
    /// Logs with something to settle after this round.
    touched: Vec<TopicPartition>,
    /// One is planned between two rounds, so that no request waits for many.
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
        upkeeps: UpkeepPool,
        environment: Environment,
        space: Arc<Space>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inbox,
            pool,
            upkeeps,
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
            self.plan_one_chore();
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
        let failed = closing::close(self.logs.drain().map(|(_, log)| log).collect());
        if let Some(reply) = self.closing.take() {
            // The one who asked may have stopped waiting.
            let _ = reply.send(failed);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Append(append) if self.closing.is_some() => drop(append),
            Command::Append(append) => self.enqueue(append),
            Command::SyncDone(done) => {
                self.synced(&done);
                self.touched.push(done.partition.id);
            }
            Command::UpkeepDone(done) => {
                let id = done.partition.id;
                let next = self
                    .owned(&done.partition)
                    .and_then(|log| log.upkeep_done(done));
                match next {
                    Some(job) => self.upkeeps.push(Job::Upkeep(job)),
                    None => self.keep_up(id),
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
                if let Some(mut log) = self.logs.remove(&id) {
                    log.refuse_all(&gone());
                    let log = Box::new(log);
                    self.upkeeps.push(Job::Delete { log, reply });
                } else {
                    // The one who asked may have stopped waiting.
                    let _ = reply.send(Ok(()));
                }
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
        if let Some(log) = self.logs.get_mut(&id) {
            if log.enqueue(append) {
                self.touched.push(id);
            }
        } else {
            // One that could not be opened says so itself.
            let error = append.content.err().unwrap_or_else(gone);
            append.responder.answer(Err(error));
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
            self.synced(&done);
        }
        for job in jobs {
            self.pool.push(job);
        }
    }

    fn synced(&mut self, done: &SyncDone) {
        if let Some(log) = self.owned(&done.partition)
            && log.synced(&done.token, &done.result)
        {
            self.keep_up(done.partition.id);
        }
    }

    /// The log, unless it was deleted meanwhile.
    fn owned(&mut self, partition: &Arc<Partition>) -> Option<&mut OwnedLog> {
        let log = self.logs.get_mut(&partition.id)?;
        Arc::ptr_eq(&log.partition, partition).then_some(log)
    }

    /// Starts what is due for a log and nobody waits for, unless something of it is under way.
    fn keep_up(&mut self, id: TopicPartition) {
        let now_ms = (self.environment.clock)();
        let log = self.logs.get_mut(&id);
        if let Some(job) = log.and_then(|log| log.next_upkeep(now_ms)) {
            self.upkeeps.push(Job::Upkeep(job));
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

    fn plan_one_chore(&mut self) {
        let Some(chore) = self.chores.pop_front() else {
            return;
        };
        if let Some(log) = self.logs.get_mut(&chore.id()) {
            match chore {
                Chore::Expire(_) => log.expiry_is_due(),
                Chore::Checkpoint(_) => log.checkpoint_is_due(),
            }
            self.keep_up(chore.id());
        }
    }
}

fn gone() -> WireError {
    WireError::new(
        ErrorCode::UnknownPartition,
        "the partition was deleted here; refresh the metadata",
    )
}
