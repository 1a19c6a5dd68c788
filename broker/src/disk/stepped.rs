//! The owner of the logs without threads: whoever drives it says when a round is due, and when what blocks is done.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use taffrail_core::TopicPartition;
use tokio_util::sync::CancellationToken;

use super::{
    handle::{Command, DiskHandle},
    inbox::Inbox,
    space::Space,
    upkeep_pool::Job,
    writer::{Jobs, Outboxes, Writer},
};
use crate::{
    environment::Environment,
    metrics::Metrics,
    partition::{append::OwnedLog, commit::SyncJob, compact::CompactionJob},
};

/// What is left to do at the end is done in fewer rounds than this.
const CLOSED_AFTER: usize = 10_000;
/// Logs are small here.
const COMPACTION_MAP_BYTES: usize = 1 << 20;

/// What a thread would do beside the writer.
#[derive(Debug)]
pub(crate) enum Blocking {
    Sync(SyncJob),
    #[expect(private_interfaces, reason = "nobody else looks at it")]
    Upkeep(Job),
    Compaction(CompactionJob),
}

impl Blocking {
    const fn is_removal(&self) -> bool {
        matches!(self, Self::Upkeep(Job::Remove { .. }))
    }
}

#[derive(Debug, Default, Clone)]
struct Planned(Arc<Mutex<Vec<Blocking>>>);

impl Planned {
    fn push(&self, blocking: Blocking) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(blocking);
    }

    fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn take(&self) -> Vec<Blocking> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Jobs for Planned {
    fn sync(&mut self, job: SyncJob) {
        self.push(Blocking::Sync(job));
    }

    fn keep_up(&mut self, job: Job) {
        self.push(Blocking::Upkeep(job));
    }

    fn compact(&mut self, job: CompactionJob) {
        self.push(Blocking::Compaction(job));
    }

    /// A pass is one step, and never under way.
    fn stop_compacting(&mut self) {}
}

/// The writer and its queue.
#[derive(Debug)]
pub(crate) struct Stepped {
    inbox: Arc<Inbox<Command>>,
    writer: Writer<Planned>,
    planned: Planned,
    metrics: Arc<Metrics>,
}

impl Stepped {
    pub(crate) fn new(
        environment: &Environment,
        space: &Arc<Space>,
        metrics: &Arc<Metrics>,
        outboxes: Outboxes,
    ) -> (DiskHandle, Self) {
        let inbox = Arc::new(Inbox::default());
        let planned = Planned::default();
        let writer = Writer::new(
            planned.clone(),
            environment.clone(),
            Arc::clone(space),
            Arc::clone(metrics),
            outboxes,
        );
        let handle = DiskHandle {
            inbox: Arc::clone(&inbox),
            broken: CancellationToken::new(),
        };
        let stepped = Self {
            inbox,
            writer,
            planned,
            metrics: Arc::clone(metrics),
        };
        (handle, stepped)
    }

    /// The log of a partition, to look at it.
    pub(crate) fn log(&self, partition: TopicPartition) -> Option<&OwnedLog> {
        self.writer.log(partition)
    }

    /// Does everything that is queued. `syncs_itself`: a small sync is done at once.
    pub(crate) fn round(&mut self, syncs_itself: bool) {
        let mut commands = VecDeque::new();
        loop {
            self.inbox.try_take_all(&mut commands);
            self.writer.round(&mut commands, || syncs_itself);
            if self.inbox.is_empty() && self.writer.is_idle() {
                return;
            }
        }
    }

    /// What blocks, to be done at any later time. Removals are done already: whoever ordered them waits.
    pub(crate) fn take_planned(&mut self) -> Vec<Blocking> {
        let (removals, rest) = self
            .planned
            .take()
            .into_iter()
            .partition(Blocking::is_removal);
        let removals: Vec<_> = removals;
        for removal in removals {
            self.run(removal);
        }
        rest
    }

    /// Is there nothing to do?
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_empty() && self.planned.is_empty()
    }

    /// Does what blocks; the writer hears of it in its next round.
    pub(crate) fn run(&self, blocking: Blocking) {
        let done = match blocking {
            Blocking::Sync(job) => Command::SyncDone(job.run(&self.metrics)),
            Blocking::Upkeep(Job::Upkeep(job)) => Command::UpkeepDone(job.run()),
            Blocking::Compaction(job) => {
                Command::CompactionDone(job.run(COMPACTION_MAP_BYTES, |_| true))
            }
            Blocking::Upkeep(Job::Remove { log, how, reply }) => {
                // The one who asked may have stopped waiting.
                let _ = reply.send(log.remove(how));
                return;
            }
        };
        // It is never closed.
        let _ = self.inbox.push(done);
    }

    /// Does all that is left to do and leaves the marks of a clean stop.
    pub(crate) fn close(mut self) {
        for round in 0.. {
            assert!(round < CLOSED_AFTER, "logs do not come to rest");
            self.round(false);
            let jobs = self.take_planned();
            if jobs.is_empty() && self.writer.is_quiet() {
                break;
            }
            for job in jobs {
                self.run(job);
            }
        }
        for log in self.writer.into_logs() {
            // The next start recovers it.
            let _ = log.close();
        }
    }
}
