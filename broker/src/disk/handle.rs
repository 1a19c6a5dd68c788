//! What the rest of the broker sees of the disk threads.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use taffrail_api::WireError;
use taffrail_core::{BrokerNumber, Durability, ErrorCode, TopicPartition};
use taffrail_log::{LogConfig, LogError, PartitionLog};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    compactor::Compactor,
    inbox::Inbox,
    space::Space,
    sync_pool::SyncPool,
    upkeep_pool::{Job, UpkeepPool},
    writer::{Jobs, Outboxes, Writer},
};
use crate::{
    cluster::known::Run,
    config::DiskSettings,
    datadir::DataDir,
    environment::Environment,
    metrics::Metrics,
    partition::{
        Partition,
        append::{Append, OwnedLog, Removal},
        commit::{SyncDone, SyncJob},
        compact::{CompactionDone, CompactionJob},
        replicate::{Assign, Fetched, ReplicaFetch, Replicated},
        upkeep::UpkeepDone,
    },
};

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Command {
    Append(Append),
    Adopt(Box<OwnedLog>),
    Configure {
        id: TopicPartition,
        config: LogConfig,
        durability: Durability,
    },
    Replication(ReplicationCommand),
    Remove {
        id: TopicPartition,
        how: Removal,
        reply: oneshot::Sender<Result<(), LogError>>,
    },
    SyncDone(SyncDone),
    UpkeepDone(UpkeepDone),
    TakeInCompacted(Arc<Partition>),
    CompactionDone(CompactionDone),
    SyncInBackground,
    Expire,
    Checkpoint,
    Compact,
    Close {
        reply: oneshot::Sender<usize>,
    },
}

/// What the writer is told of replicas.
#[derive(Debug)]
pub(super) enum ReplicationCommand {
    Assign {
        assigns: Vec<Assign>,
        reply: oneshot::Sender<()>,
    },
    Fetches {
        fetches: Vec<ReplicaFetch>,
        reply: oneshot::Sender<Vec<Fetched>>,
    },
    Replicated(Vec<Replicated>),
    AskPositions(BrokerNumber),
    Registered(Vec<Run>),
    ConfirmAgain,
    Tick,
}

/// The threads, as the writer sees them.
#[derive(Debug)]
struct Pools {
    syncs: SyncPool,
    upkeeps: UpkeepPool,
    compactor: Compactor,
}

impl Jobs for Pools {
    fn sync(&mut self, job: SyncJob) {
        self.syncs.push(job);
    }

    fn keep_up(&mut self, job: Job) {
        self.upkeeps.push(job);
    }

    fn compact(&mut self, job: CompactionJob) {
        self.compactor.push(job);
    }

    fn stop_compacting(&mut self) {
        self.compactor.stop();
    }
}

/// Talks to the disk threads.
#[derive(Debug, Clone)]
pub(crate) struct DiskHandle {
    pub(super) inbox: Arc<Inbox<Command>>,
    pub(super) broken: CancellationToken,
}

/// Held by each disk thread. If the thread panics, nothing more is accepted, what is queued is answered, and the broker is told.
#[derive(Debug, Clone)]
pub(super) struct Watch(DiskHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.cancel();
            self.0.cut_off();
        }
    }
}

/// The threads, to be joined.
#[derive(Debug)]
pub(crate) struct DiskThreads(Mutex<Vec<JoinHandle<()>>>);

/// Starts the threads.
pub(crate) fn start(
    settings: &DiskSettings,
    dir: Arc<DataDir>,
    environment: &Environment,
    space: &Arc<Space>,
    metrics: &Arc<Metrics>,
    outboxes: Outboxes,
) -> io::Result<(DiskHandle, DiskThreads)> {
    let inbox = Arc::new(Inbox::default());
    let handle = DiskHandle {
        inbox: Arc::clone(&inbox),
        broken: CancellationToken::new(),
    };
    let watch = Watch(handle.clone());
    let (syncs, mut threads) = SyncPool::start(settings.sync_threads, &inbox, metrics, &watch)?;
    let (upkeeps, upkeep_threads) = UpkeepPool::start(&dir, &inbox, &watch)?;
    threads.extend(upkeep_threads);
    let (compactor, compaction_thread) =
        Compactor::start(settings, &dir, environment, &inbox, metrics, &watch)?;
    threads.push(compaction_thread);
    let writer = Writer::new(
        Pools {
            syncs,
            upkeeps,
            compactor,
        },
        environment.clone(),
        Arc::clone(space),
        Arc::clone(metrics),
        outboxes,
    );
    threads.push(
        thread::Builder::new()
            .name("disk-writer".into())
            .spawn(move || {
                let _watch = watch;
                writer.run(&inbox);
                // The directory stays locked until nobody writes to it any more.
                drop(dir);
            })?,
    );
    Ok((handle, DiskThreads(Mutex::new(threads))))
}

impl DiskHandle {
    /// Queues a request. It is answered in any case.
    pub(crate) fn append(&self, append: Append) {
        if let Err(Command::Append(append)) = self.inbox.push(Command::Append(append)) {
            append.responder.answer(Err(WireError::new(
                ErrorCode::ShuttingDown,
                "the broker is stopping; retry with the new leader",
            )));
        }
    }

    /// Hands a log to the writer. On return the partition says where its log begins and ends.
    pub(crate) fn adopt(
        &self,
        partition: &Arc<Partition>,
        log: PartitionLog,
        durability: Durability,
    ) {
        let owned = OwnedLog::new(Arc::clone(partition), log, durability);
        self.tell(Command::Adopt(Box::new(owned)));
    }

    pub(crate) fn configure(&self, id: TopicPartition, config: LogConfig, durability: Durability) {
        self.tell(Command::Configure {
            id,
            config,
            durability,
        });
    }

    /// On return every replica is what its assignment makes of it: nothing is written or acknowledged any more under an older epoch, and the
    /// partitions say what they are and where their logs end.
    pub(crate) async fn assign(&self, assigns: Vec<Assign>) {
        let (reply, done) = oneshot::channel();
        self.replication(ReplicationCommand::Assign { assigns, reply });
        // An error means that the broker stops: nothing is written any more at all.
        let _ = done.await;
    }

    /// Followers ask; the answers are in the same order. Empty if the broker stops.
    pub(crate) async fn replica_fetches(&self, fetches: Vec<ReplicaFetch>) -> Vec<Fetched> {
        let (reply, answers) = oneshot::channel();
        self.replication(ReplicationCommand::Fetches { fetches, reply });
        answers.await.unwrap_or_default()
    }

    /// Leaders answered. Where the replicas stand then is told to [`crate::follower::positions::Positions`].
    pub(crate) fn replicated(&self, all: Vec<Replicated>) {
        self.replication(ReplicationCommand::Replicated(all));
    }

    /// Tells where every replica stands that follows `leader`: a session begins.
    pub(crate) fn ask_positions(&self, leader: BrokerNumber) {
        self.replication(ReplicationCommand::AskPositions(leader));
    }

    /// The controller registered these runs, and hears them or not.
    pub(crate) fn registered(&self, runs: Vec<Run>) {
        self.replication(ReplicationCommand::Registered(runs));
    }

    /// Another session with the controller began: what it was told of members is told again.
    pub(crate) fn confirm_again(&self) {
        self.replication(ReplicationCommand::ConfirmAgain);
    }

    /// Time passed.
    pub(crate) fn tick(&self) {
        self.replication(ReplicationCommand::Tick);
    }

    fn replication(&self, command: ReplicationCommand) {
        self.tell(Command::Replication(command));
    }

    /// Takes a log from the writer and removes it from where it is. No error if the writer does not know it.
    pub(crate) async fn remove(&self, id: TopicPartition, how: Removal) -> Result<(), LogError> {
        let (reply, done) = oneshot::channel();
        self.tell(Command::Remove { id, how, reply });
        done.await.unwrap_or(Ok(()))
    }

    pub(crate) fn sync_in_background(&self) {
        self.tell(Command::SyncInBackground);
    }

    pub(crate) fn expire(&self) {
        self.tell(Command::Expire);
    }

    pub(crate) fn checkpoint(&self) {
        self.tell(Command::Checkpoint);
    }

    pub(crate) fn compact(&self) {
        self.tell(Command::Compact);
    }

    /// Writes and syncs what is queued, leaves clean-stop marks and ends the threads. The number of logs that could not be closed cleanly.
    pub(crate) async fn close(&self) -> usize {
        let (reply, done) = oneshot::channel();
        self.tell(Command::Close { reply });
        done.await.unwrap_or(0)
    }

    /// Ends the threads at once: what is queued is dropped, and no clean-stop marks are left.
    pub(crate) fn cut_off(&self) {
        self.inbox.abandon();
    }

    /// Resolves when a disk thread has panicked: nothing is stored any more.
    pub(crate) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    fn tell(&self, command: Command) {
        // Closed: the broker stops, and nothing of this matters any more.
        let _ = self.inbox.push(command);
    }
}

impl DiskThreads {
    /// Waits for the threads after a close.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a disk thread panicked");
            }
        }
    }
}
