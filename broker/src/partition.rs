//! One partition as every task sees it. The way of a record: `verify` (on the request's task) -> `append` (the disk thread writes) ->
//! `replicate` (followers ask for it and say what they have) -> `commit` (durable on every in-sync replica: the high watermark moves, producers
//! are answered) -> `fetch`.

pub(crate) mod ack;
pub(crate) mod append;
pub(crate) mod chain;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod fetch;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod growth;
pub(crate) mod hearing;
pub(crate) mod progress;
pub(crate) mod replicate;
pub(crate) mod scrub;
pub(crate) mod sequence;
pub(crate) mod standing;
pub(crate) mod table;
pub(crate) mod untaken;
pub(crate) mod upkeep;
pub(crate) mod verify;
pub(crate) mod waiters;
mod waiting;

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use taffrail_api::WireError;
use taffrail_core::{
    ErrorCode, LeaderEpoch, PartitionFault, TopicPartition,
    internal::is_internal,
    replica::{FollowerLag, Standing as Worth},
};
use taffrail_log::{LogError, LogReader};

use self::{
    growth::Growth, hearing::Hearing, progress::Progress, standing::Standing, waiters::Waiters,
};
use crate::metrics::TopicMetrics;

/// One partition on this broker.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: TopicPartition,
    pub(crate) topic_name: Arc<str>,
    pub(crate) progress: Progress,
    pub(crate) waiters: Waiters,
    /// For the sessions of followers.
    pub(crate) growth: Growth,
    /// Followers of an internal topic's partition.
    pub(crate) hearing: Hearing,
    pub(crate) metrics: TopicMetrics,
    /// `None`: the log could not be opened, and `fault` says why.
    reader: Option<LogReader>,
    standing: RwLock<Arc<Standing>>,
    fault: RwLock<Option<Fault>>,
    /// The leader epoch in which a log that had been opened failed: what this run told a leader, it told in this one or before.
    failed_in: OnceLock<LeaderEpoch>,
    /// A former log that could not be used, where it is kept, and why.
    quarantine: OnceLock<Arc<str>>,
    /// It may have less than it once reported, and no controller knows yet.
    may_lack: AtomicBool,
    /// A leader that takes no records with acks=all: too few replicas are in sync. Of internal topics only.
    is_short: AtomicBool,
    /// As of the leader's last tick; empty unless this broker leads.
    followers: Mutex<Vec<FollowerLag>>,
}

/// Why a partition is offline on this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: PartitionFault,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn of(error: &LogError) -> Self {
        Self {
            kind: error.fault().unwrap_or(PartitionFault::Io),
            message: error.to_string(),
        }
    }

    /// A write or sync failed: what the disk holds is not known.
    pub(crate) fn poisoned(error: &LogError) -> Self {
        Self {
            kind: PartitionFault::Poisoned,
            message: error.to_string(),
        }
    }
}

impl Partition {
    /// A partition that can be read.
    pub(crate) fn new(
        id: TopicPartition,
        topic_name: Arc<str>,
        reader: LogReader,
        metrics: TopicMetrics,
    ) -> Self {
        Self::with(id, topic_name, Some(reader), None, metrics)
    }

    /// A partition whose log cannot be opened.
    pub(crate) fn broken(
        id: TopicPartition,
        topic_name: Arc<str>,
        fault: Fault,
        metrics: TopicMetrics,
    ) -> Self {
        Self::with(id, topic_name, None, Some(fault), metrics)
    }

    fn with(
        id: TopicPartition,
        topic_name: Arc<str>,
        reader: Option<LogReader>,
        fault: Option<Fault>,
        metrics: TopicMetrics,
    ) -> Self {
        Self {
            id,
            topic_name,
            progress: Progress::default(),
            waiters: Waiters::default(),
            growth: Growth::default(),
            hearing: Hearing::default(),
            failed_in: OnceLock::new(),
            quarantine: OnceLock::new(),
            may_lack: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            followers: Mutex::default(),
            metrics,
            reader,
            standing: RwLock::new(Arc::new(Standing::stray())),
            fault: RwLock::new(fault),
        }
    }

    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        *self
            .standing
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(standing);
        self.wake();
    }

    /// What this replica is worth to an election, of what is not known yet.
    pub(crate) fn worth(&self) -> Worth {
        if self.fault().is_some() {
            Worth::Unusable
        } else if self.may_lack.load(Ordering::Acquire) {
            Worth::MayLack
        } else {
            Worth::Whole
        }
    }

    pub(crate) fn set_may_lack(&self, may_lack: bool) {
        self.may_lack.store(may_lack, Ordering::Release);
    }

    pub(crate) fn set_short(&self, is_short: bool) {
        self.is_short.store(is_short, Ordering::Release);
    }

    /// Would a leader take records with acks=all, by what it has seen of its followers?
    pub(crate) fn check_in_sync(&self) -> Result<(), WireError> {
        if !self.is_short.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(WireError::new(
            ErrorCode::NotEnoughReplicas,
            format!(
                "{}: fewer replicas than minInSync are in sync: nothing was stored; retry when the others are back, see taffrail get partitions",
                self.label()
            ),
        ))
    }

    pub(crate) fn set_followers(&self, lags: impl Iterator<Item = FollowerLag>) {
        let mut followers = self.followers();
        followers.clear();
        followers.extend(lags);
    }

    /// Locked for as long as somebody looks.
    pub(crate) fn followers(&self) -> MutexGuard<'_, Vec<FollowerLag>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the partition offline. The first fault stays: later ones are its consequences.
    pub(crate) fn fail(&self, fault: Fault) {
        {
            let mut slot = self.fault.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_some() {
                return;
            }
            tracing::error!(topic = %self.topic_name, partition = %self.id.partition, reason = %fault.message,
                "partition is offline");
            *slot = Some(fault);
            // Whoever tells a leader where the log ends stands in that epoch already, and looks for a fault then.
            let _ = self.failed_in.set(self.standing().leader_epoch);
        }
        self.wake();
    }

    /// Says more of a fault. False: that was said before.
    pub(crate) fn add_to_fault(&self, what: &str) -> bool {
        let mut slot = self.fault.write().unwrap_or_else(PoisonError::into_inner);
        let fault = slot.as_mut().filter(|fault| !fault.message.ends_with(what));
        fault.map(|fault| fault.message += what).is_some()
    }

    /// Could a leader of `epoch` know something of this log? Not if this run never opened it, and not if it had failed before that epoch.
    pub(crate) fn is_unheard_in(&self, epoch: LeaderEpoch) -> bool {
        match self.failed_in.get() {
            Some(failed_in) => epoch > *failed_in,
            None => self.reader.is_none(),
        }
    }

    pub(crate) fn quarantine(&self) -> Option<&Arc<str>> {
        self.quarantine.get()
    }

    /// To be called once, before others know the partition.
    pub(crate) fn set_quarantine(&self, kept: Arc<str>) {
        let _ = self.quarantine.set(kept);
    }

    /// There is something new: records, a high watermark, another leader, a fault.
    pub(crate) fn wake(&self) {
        self.waiters.wake();
        self.growth.tell(self.id);
    }

    /// May a request of `epoch` be served here as by the leader?
    pub(crate) fn check_leads(
        &self,
        epoch: Option<LeaderEpoch>,
    ) -> Result<Arc<Standing>, WireError> {
        if let Some(fault) = self.fault() {
            return Err(self.offline(&fault.message));
        }
        let standing = self.standing();
        standing.check(epoch).map_err(|(code, message)| {
            WireError::new(code, format!("{}: {message}", self.label()))
        })?;
        Ok(standing)
    }

    pub(crate) fn offline(&self, reason: &str) -> WireError {
        WireError::new(
            ErrorCode::PartitionOffline,
            format!("{} is offline on this broker: {reason}", self.label()),
        )
    }

    /// Does it belong to a topic that the cluster made for itself?
    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.topic_name)
    }

    /// `topic/partition`, for messages.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.topic_name, self.id.partition)
    }
}
