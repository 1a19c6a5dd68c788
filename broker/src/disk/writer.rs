//! The one thread that writes. Group commit: everything that waits is written, then each dirty log is synced once on the sync threads.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use taffrail_api::WireError;
use taffrail_core::{BrokerNumber, Durability, ErrorCode, TopicPartition};
use tokio::sync::oneshot;

use super::{
    closing,
    handle::{Command, ReplicationCommand},
    inbox::Inbox,
    space::Space,
    upkeep_pool::Job,
};
use crate::{
    cluster::{asks::Asks, known::Run},
    environment::Environment,
    follower::positions::Positions,
    metrics::Metrics,
    partition::{
        Partition,
        append::{Append, OwnedLog, Removal, Written},
        commit::{SyncDone, SyncJob},
        compact::{CompactionDone, CompactionJob, Ended},
        replicate::Owner,
    },
    repeats::Repeats,
};

/// A lone sync of up to this much is done on the writing thread itself: nothing else is to be written, and a change of threads would
/// cost more than it saves.
const INLINE_SYNC_BYTES: u64 = 64 << 10;
/// Not if a `pageCache` topic was written to within this time: its producers do not wait for others' syncs.
const INLINE_SYNC_QUIET_MS: i64 = 1_000;

/// Who does what blocks, and hands it back as a command.
pub(super) trait Jobs {
    /// Producers wait for it.
    fn sync(&mut self, job: SyncJob);
    /// Nobody does.
    fn keep_up(&mut self, job: Job);
    /// Nobody does, and it takes long.
    fn compact(&mut self, job: CompactionJob);
    /// The pass under way is to end.
    fn stop_compacting(&mut self);
}

/// Where decisions of replicas go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outboxes {
    pub(crate) positions: Arc<Positions>,
    pub(crate) asks: Arc<Asks>,
    /// Replicas that could not be written to.
    pub(crate) stalls: Arc<Repeats>,
}

impl Outboxes {
    fn owner(&self, now_ms: u64, wall_ms: i64) -> Owner<'_> {
        Owner {
            now_ms,
            wall_ms,
            positions: &self.positions,
            asks: &self.asks,
            stalls: &self.stalls,
        }
    }
}

/// Owns every log of the broker. Has no thread and no queue of its own: whoever drives it calls [`Self::round`].
#[derive(Debug)]
pub(super) struct Writer<J> {
    jobs: J,
    environment: Environment,
    space: Arc<Space>,
    metrics: Arc<Metrics>,
    outboxes: Outboxes,
    logs: BTreeMap<TopicPartition, OwnedLog>,
    /// Runs of brokers, as the controller says.
    runs: BTreeMap<BrokerNumber, Run>,
    /// Logs with something to settle after this round.
    touched: Vec<TopicPartition>,
    /// What leaders' answers wrote in this round.
    replicated: Written,
    /// One is planned between two rounds, so that no request waits for many.
    chores: VecDeque<Chore>,
    /// The log that a pass of compaction is out for.
    compacting: Option<TopicPartition>,
    /// The next pass is of one after it.
    compacted_last: Option<TopicPartition>,
    closing: Option<oneshot::Sender<usize>>,
    page_cache_used_ms: i64,
    /// Of this round: the wall clock, and one that never goes back.
    wall_ms: i64,
    now_ms: u64,
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

impl<J: Jobs> Writer<J> {
    pub(super) fn new(
        jobs: J,
        environment: Environment,
        space: Arc<Space>,
        metrics: Arc<Metrics>,
        outboxes: Outboxes,
    ) -> Self {
        Self {
            jobs,
            environment,
            space,
            metrics,
            outboxes,
            logs: BTreeMap::new(),
            runs: BTreeMap::new(),
            touched: Vec::new(),
            replicated: Written::default(),
            chores: VecDeque::new(),
            compacting: None,
            compacted_last: None,
            closing: None,
            page_cache_used_ms: i64::MIN,
            wall_ms: 0,
            now_ms: 0,
        }
    }

    /// Until told to close, and then until everything queued is written, synced and answered; or until cut off.
    pub(super) fn run(mut self, inbox: &Inbox<Command>) {
        let mut commands = VecDeque::new();
        loop {
            if self.chores.is_empty() {
                inbox.take_all(&mut commands);
            } else {
                inbox.try_take_all(&mut commands);
            }
            self.round(&mut commands, || inbox.is_empty());
            if inbox.is_closed() {
                // Cut off: as if the process had crashed.
                return;
            }
            if self.closing.is_some() && self.logs.values().all(OwnedLog::is_quiet) {
                break;
            }
        }
        // What came meanwhile, and what comes now, is answered by being dropped.
        inbox.abandon();
        let failed = closing::close(std::mem::take(&mut self.logs).into_values().collect());
        if let Some(reply) = self.closing.take() {
            // The one who asked may have stopped waiting.
            let _ = reply.send(failed);
        }
    }

    /// Does what it is told, then writes what waits and starts the syncs. `nothing_came`: since the commands were taken.
    pub(super) fn round(
        &mut self,
        commands: &mut VecDeque<Command>,
        nothing_came: impl FnOnce() -> bool,
    ) {
        self.wall_ms = (self.environment.clock)();
        self.now_ms = (self.environment.uptime)();
        for command in commands.drain(..) {
            self.obey(command);
        }
        self.commit(nothing_came);
        self.plan_one_chore();
    }

    /// Is nothing planned for the next round?
    #[cfg(feature = "sim")]
    pub(super) fn is_idle(&self) -> bool {
        self.chores.is_empty()
    }

    /// Has everything reached the disk?
    #[cfg(feature = "sim")]
    pub(super) fn is_quiet(&self) -> bool {
        self.logs.values().all(OwnedLog::is_quiet)
    }

    /// The log of a partition.
    #[cfg(feature = "sim")]
    pub(super) fn log(&self, partition: TopicPartition) -> Option<&OwnedLog> {
        self.logs.get(&partition)
    }

    /// Stops writing.
    #[cfg(feature = "sim")]
    pub(super) fn into_logs(self) -> impl Iterator<Item = OwnedLog> {
        self.logs.into_values()
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
                    Some(job) => self.jobs.keep_up(Job::Upkeep(job)),
                    None => self.keep_up(id),
                }
            }
            Command::TakeInCompacted(partition) => {
                if let Some(log) = self.owned(&partition) {
                    log.take_in_compacted();
                }
            }
            Command::CompactionDone(done) => self.compacted(done),
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
            Command::Replication(command) => self.replicate(command),
            Command::Remove { id, how, reply } => {
                if let Some(mut log) = self.logs.remove(&id) {
                    let reason = match &how {
                        Removal::Delete => gone(),
                        Removal::SetAside(_) => log.partition.offline("its log is set aside"),
                    };
                    log.refuse_all(&reason);
                    let log = Box::new(log);
                    self.jobs.keep_up(Job::Remove { log, how, reply });
                } else {
                    // The one who asked may have stopped waiting.
                    let _ = reply.send(Ok(()));
                }
            }
            Command::SyncInBackground => self.sync_in_background(),
            Command::Expire => self.plan(Chore::Expire),
            Command::Checkpoint => self.plan(Chore::Checkpoint),
            Command::Compact => self.compact(),
            Command::Close { reply } => {
                self.chores.clear();
                self.jobs.stop_compacting();
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
    fn commit(&mut self, nothing_came: impl FnOnce() -> bool) {
        let owner = self.outboxes.owner(self.now_ms, self.wall_ms);
        let mut jobs = Vec::new();
        let mut sum = std::mem::take(&mut self.replicated);
        for id in std::mem::take(&mut self.touched) {
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            let written = log.write(&owner);
            sum.bytes += written.bytes;
            sum.requests += written.requests;
            sum.disk_full |= written.disk_full;
            if written.requests > 0 && log.durability() == Durability::PageCache {
                self.page_cache_used_ms = self.wall_ms;
            }
            jobs.extend(log.settle(&owner));
        }
        if sum.disk_full {
            self.space.report_full();
        }
        if sum.requests > 0 {
            self.metrics.group_written(sum.requests, sum.bytes);
        }
        self.start_syncs(jobs, nothing_came);
    }

    fn start_syncs(&mut self, mut jobs: Vec<SyncJob>, nothing_came: impl FnOnce() -> bool) {
        let is_lone = jobs.len() == 1 && jobs[0].bytes <= INLINE_SYNC_BYTES;
        let quiet_ms = self.wall_ms.saturating_sub(self.page_cache_used_ms);
        if is_lone
            && quiet_ms > INLINE_SYNC_QUIET_MS
            && nothing_came()
            && let Some(job) = jobs.pop()
        {
            let done = job.run(&self.metrics);
            self.synced(&done);
        }
        for job in jobs {
            self.jobs.sync(job);
        }
    }

    fn synced(&mut self, done: &SyncDone) {
        let owner = self.outboxes.owner(self.now_ms, self.wall_ms);
        let id = done.partition.id;
        if let Some(log) = self.logs.get_mut(&id)
            && Arc::ptr_eq(&log.partition, &done.partition)
            && log.synced(done, &owner)
        {
            self.keep_up(id);
        }
    }

    /// The log, unless it was deleted meanwhile.
    fn owned(&mut self, partition: &Arc<Partition>) -> Option<&mut OwnedLog> {
        let log = self.logs.get_mut(&partition.id)?;
        Arc::ptr_eq(&log.partition, partition).then_some(log)
    }

    /// Starts what is due for a log and nobody waits for, unless something of it is under way.
    fn keep_up(&mut self, id: TopicPartition) {
        let now_ms = self.wall_ms;
        let log = self.logs.get_mut(&id);
        if let Some(job) = log.and_then(|log| log.next_upkeep(now_ms)) {
            self.jobs.keep_up(Job::Upkeep(job));
        }
    }

    fn replicate(&mut self, command: ReplicationCommand) {
        let owner = self.outboxes.owner(self.now_ms, self.wall_ms);
        match command {
            ReplicationCommand::Assign { assigns, reply } => {
                for assign in assigns {
                    let id = assign.partition.id;
                    let Some(log) = self.logs.get_mut(&id) else {
                        // It could not be opened: nothing but its standing can change.
                        assign.partition.set_standing(assign.standing);
                        continue;
                    };
                    log.assign(assign, &owner);
                    for run in self.runs.values() {
                        log.registered(run, &owner);
                    }
                    self.touched.push(id);
                }
                // The one who asked may have stopped waiting.
                let _ = reply.send(());
            }
            ReplicationCommand::Fetches { fetches, reply } => {
                let answers = fetches.into_iter().map(|fetch| {
                    let log = self.logs.get_mut(&fetch.partition.id);
                    let log = log.ok_or(ErrorCode::PartitionOffline)?;
                    log.fetched(&fetch.request, &owner)
                });
                let _ = reply.send(answers.collect());
            }
            // Records go on coming while the broker stops.
            ReplicationCommand::Replicated(_) if self.closing.is_some() => {}
            ReplicationCommand::Replicated(all) => {
                for replicated in all {
                    let id = replicated.partition.id;
                    if let Some(log) = self.logs.get_mut(&id) {
                        log.replicated(&replicated, &owner, &mut self.replicated);
                        self.touched.push(id);
                    }
                }
            }
            ReplicationCommand::AskPositions(leader) => {
                for log in self.logs.values() {
                    log.tell_position_to(leader, &owner);
                }
            }
            ReplicationCommand::Registered(runs) => {
                for run in runs {
                    if self.runs.insert(run.broker, run) == Some(run) {
                        continue;
                    }
                    for log in self.logs.values_mut() {
                        log.registered(&run, &owner);
                    }
                }
            }
            ReplicationCommand::ConfirmAgain => {
                for log in self.logs.values() {
                    log.confirm_again(&owner);
                }
            }
            ReplicationCommand::Tick => {
                for log in self.logs.values_mut() {
                    log.tick(&owner);
                }
            }
        }
    }

    /// Starts a pass, in turn over the logs that want one.
    fn compact(&mut self) {
        if self.closing.is_some() || self.compacting.is_some() {
            return;
        }
        let last = self.compacted_last;
        let mut ids: Vec<_> = self.logs.keys().copied().collect();
        let after = ids.partition_point(|id| Some(*id) <= last);
        ids.rotate_left(after);
        let now_ms = self.wall_ms;
        for id in ids {
            let log = self.logs.get_mut(&id);
            if let Some(job) = log.and_then(|log| log.next_compaction(now_ms)) {
                self.compacting = Some(id);
                self.compacted_last = Some(id);
                self.jobs.compact(job);
                return;
            }
        }
    }

    fn compacted(&mut self, done: CompactionDone) {
        self.compacting = None;
        let now_ms = self.wall_ms;
        let partition = Arc::clone(&done.partition);
        let ended = match self.owned(&partition) {
            Some(log) => log.compaction_done(done, now_ms),
            None => Ended::Stopped,
        };
        self.metrics.compacted(ended);
        // What failed is tried again later.
        if matches!(ended, Ended::Done { .. }) {
            self.compact();
        }
    }

    fn sync_in_background(&mut self) {
        for job in self.logs.values_mut().filter_map(OwnedLog::sync) {
            self.jobs.sync(job);
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
