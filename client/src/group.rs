//! Reads topics together with others: each partition belongs to at most one member of a group at a time.
//!
//! ```text
//!  Group::next <─ batches <─ Consumer ══ fetch streams ══ leaders        pull: whoever awaits it drives it
//!      │ ▲ standing: what is told, what is carried out, until when it is valid
//!      ▼ │ commits
//!   session ══ one stream ══ coordinator                                 a task: joins, heartbeats, commits, comes back
//! ```
//!
//! ```text
//! settings     which group, what it reads, delivery
//! policy       what the group's policy says of it
//! pull         the next event
//! change       from the assignment that is carried out to the one that was told
//! held starts  partitions, how far they came, where they begin
//! standing     shared by pull loop and session; all decisions about the membership
//! session      streams to the coordinator, one after the other
//! stream       one of them: what is said and heard
//! commits      commits on their way, in order
//! coordinator  which broker it is
//! assignment   what a member is told
//! event        what the application is told
//! ```

mod assignment;
mod change;
mod commits;
mod coordinator;
mod event;
mod held;
mod policy;
mod pull;
mod session;
mod settings;
mod standing;
mod starts;
mod stream;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use taffrail_api::WireError;
use taffrail_core::{GroupEpoch, MemberId, Offset, PartitionIndex, TopicPartition};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    client::Client,
    consumer::{ConsumedBatch, Consumer},
    error::ClientError,
};
use change::Change;
pub use commits::Commit;
pub use event::{GroupEvent, GroupPartition, Loss};
use held::Held;
use policy::Policy;
use session::Session;
pub use settings::{DeliveryMode, GroupBuilder, OutOfRange};
use settings::{Settings, SharedSettings};
use standing::{Leaving, Shared};
use starts::Starts;

/// A member of a consumer group. [`Client::group`] makes one.
///
/// The application asks for one event after the other, and whoever awaits [`Group::next`] drives the fetching: what it does not ask for is not fetched, up to
/// what is prefetched. Heartbeats go on meanwhile. A partition goes to another member only after the application came back for the next event, so that
/// nobody else has it while its records are being processed; an application that stays away for longer than `poll_interval_max` loses its partitions.
///
/// [`Group::close`] commits and leaves. Of a member that is dropped instead, others get the partitions when its session is over.
#[derive(Debug)]
pub struct Group {
    client: Client,
    settings: SharedSettings,
    policy: Policy,
    shared: Arc<Shared>,
    /// Says that there is something new in `shared`.
    changes: watch::Receiver<()>,
    session: JoinHandle<()>,
    consumer: Consumer,
    /// Of the standing: when it has another one, everything here is lost.
    life: u64,
    /// The assignment that is carried out.
    epoch: GroupEpoch,
    held: HashMap<TopicPartition, Held>,
    /// What was told and is not carried out yet.
    change: Option<Change>,
    starts: Starts,
    events: VecDeque<GroupEvent>,
    /// The batch that the application has.
    out: Option<(TopicPartition, Offset)>,
    /// At most once: what is handed out when its commit is stored.
    ahead: Option<(ConsumedBatch, Commit)>,
    commit_at: Instant,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.session.abort();
    }
}

impl Group {
    async fn join(client: Client, settings: Settings) -> Result<Self, ClientError> {
        let settings = Arc::new(settings);
        let shared = Arc::new(Shared::new());
        let session = Session::new(client.clone(), Arc::clone(&settings), Arc::clone(&shared));
        let mut group = Self {
            consumer: client.consumer(settings.consumer.clone()),
            starts: Starts::new(client.clone(), settings.start),
            changes: shared.changes(),
            session: tokio::spawn(session.run()),
            commit_at: Instant::now() + settings.commit_interval,
            client,
            settings,
            policy: Policy::default(),
            shared,
            life: 0,
            epoch: GroupEpoch(0),
            held: HashMap::new(),
            change: None,
            events: VecDeque::new(),
            out: None,
            ahead: None,
        };
        let inside = group.shared.enter();
        group.told().await?;
        drop(inside);
        Ok(group)
    }

    /// Waits until the member is told what to read for the first time.
    async fn told(&mut self) -> Result<(), ClientError> {
        let after = self.client.config().call_timeout;
        let (shared, changes) = (Arc::clone(&self.shared), &mut self.changes);
        let told = async {
            loop {
                let seen = shared.look(Instant::now());
                if let Some(error) = seen.failed {
                    return Err(error);
                }
                if seen.told.is_some() {
                    return Ok(());
                }
                // Its sender lives as long as we do.
                let _ = changes.changed().await;
            }
        };
        match timeout(after, told).await {
            Ok(told) => told,
            Err(_elapsed) => {
                let trouble = self.shared.standing().trouble.clone();
                Err(ClientError::TimedOut {
                    what: "joining the group",
                    after,
                    last: trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string()),
                })
            }
        }
    }

    /// Commits everything that was handed out, and waits until it is stored. To be called when all of it is processed.
    ///
    /// # Errors
    /// A partition is not the member's any more or its offset was reset (`NOT_ASSIGNED`), or the coordinator did not store it within the call timeout.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let after = self.client.config().call_timeout;
        let commit = self.begin_commit();
        stored(commit, after).await
    }

    /// As [`Self::commit`], and the caller may wait or not. Commits are stored in the order in which they were begun.
    pub fn begin_commit(&mut self) -> Commit {
        self.out = None;
        for progress in self.held.values_mut().filter_map(|h| h.progress.as_mut()) {
            progress.process_all();
        }
        self.commit_due(|_| true)
    }

    /// Commits how far one partition was processed: `next` is the first record that was not.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: records below `next` were never handed out, or the partition is not the member's. Nothing is committed then.
    pub fn begin_commit_of(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        next: Offset,
    ) -> Result<Commit, ClientError> {
        let is_ahead = self.delivery() == DeliveryMode::AtMostOnce;
        let found = self.find(topic, partition);
        let progress = found
            .and_then(|at| self.held.get_mut(&at))
            .and_then(|held| held.progress.as_mut())
            .filter(|progress| progress.may_commit(next));
        let (Some(progress), Some(found)) = (progress, found) else {
            return Err(WireError::invalid(format!(
                "offset {next} of {topic}/{partition} cannot be committed: this member was not handed out what is before it"
            ))
            .into());
        };
        if is_ahead {
            // What is committed ahead of processing does not go back.
            progress.process_up_to(next);
        } else {
            progress.process(next);
        }
        self.out = self.out.filter(|(out, _)| *out != found);
        Ok(self.commit_due(|at| *at == found))
    }

    /// Commits what is to be of these partitions.
    fn commit_due(&self, which: impl Fn(&TopicPartition) -> bool) -> Commit {
        let mut offsets = BTreeMap::new();
        // A later commit of that one is under way, or stored: an earlier one must not come after it.
        let ahead = self.ahead.as_ref().map(|(batch, _)| pull::place(batch));
        let is_due = |at: &TopicPartition| ahead != Some(*at) && which(at);
        for (at, held) in self.held.iter().filter(|(at, _)| is_due(at)) {
            let stored = self.shared.commits.stored(at, held.since);
            if let Some(offset) = held.due(stored) {
                offsets.insert(*at, (Arc::clone(&held.topic), offset));
            }
        }
        self.push_commit(offsets)
    }

    fn push_commit(&self, offsets: BTreeMap<TopicPartition, (Arc<str>, Offset)>) -> Commit {
        if offsets.is_empty() {
            return Commit::nothing();
        }
        let commit = self.shared.commits.push(self.life, self.epoch, offsets);
        self.shared.wake.notify_one();
        commit
    }

    /// Commits what is processed, and leaves. What was handed out last counts as processed only if [`Self::commit`] was called: a batch on which the application
    /// failed is read again. A static member's partitions wait for it; others are given away at once.
    ///
    /// # Errors
    /// As [`Self::commit`]. The member leaves all the same.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let after = self.client.config().call_timeout;
        let commit = self.commit_due(|_| true);
        let committed = stored(commit, after).await;
        self.shared.leave(Leaving {
            comes_back: self.settings.instance_id.is_some(),
        });
        // If it cannot say so, its session ends by itself.
        let _ = timeout(after, &mut self.session).await;
        committed
    }

    /// Stops handing out records of the partition until [`Self::resume`], or until it goes to another member. False: the member does not have it.
    pub fn pause(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        self.want_paused(topic, partition, true)
    }

    /// Goes on where [`Self::pause`] stopped, once it is certain that the partition stays. False: the member does not have it.
    pub fn resume(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        self.want_paused(topic, partition, false)
    }

    fn want_paused(&mut self, topic: &str, partition: PartitionIndex, paused: bool) -> bool {
        let Some(at) = self.find(topic, partition) else {
            return false;
        };
        if let Some(held) = self.held.get_mut(&at) {
            held.is_paused = paused;
        }
        self.heed_pause(at);
        true
    }

    /// Nothing is handed out of what goes to another member, or is paused by the application.
    fn heed_pause(&mut self, at: TopicPartition) {
        let is_paused = self.held.get(&at).is_some_and(|held| held.is_paused);
        let is_going = self.is_going(&at);
        self.consumer.set_paused(at, is_paused || is_going);
    }

    /// The name that the member has drawn for itself. It draws another one when the group has forgotten it.
    pub fn member_id(&self) -> MemberId {
        self.shared.standing().member
    }

    /// What the member has.
    pub fn partitions(&self) -> Vec<GroupPartition> {
        let mut partitions: Vec<_> = self.held.iter().map(|(at, h)| named(*at, h)).collect();
        partitions.sort_unstable();
        partitions
    }

    /// The next record of the partition to be handed out; `None`: the member does not have it, or where it begins is not known yet.
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let at = self.find(topic, partition)?;
        Some(self.held.get(&at)?.progress.as_ref()?.handed())
    }

    /// Where the partition ended when it was last heard of; `None` before.
    pub fn high_watermark(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        self.consumer.high_watermark(topic, partition)
    }

    fn find(&self, topic: &str, partition: PartitionIndex) -> Option<TopicPartition> {
        let is =
            |at: &TopicPartition, held: &Held| at.partition == partition && *held.topic == *topic;
        let found = self.held.iter().find(|(at, held)| is(at, held));
        found.map(|(at, _)| *at)
    }
}

fn named(at: TopicPartition, held: &Held) -> GroupPartition {
    GroupPartition {
        topic: Arc::clone(&held.topic),
        partition: at.partition,
    }
}

async fn stored(commit: Commit, after: std::time::Duration) -> Result<(), ClientError> {
    match timeout(after, commit).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(ClientError::TimedOut {
            what: "committing",
            after,
            last: "the coordinator did not say that it is stored; it may be".to_owned(),
        }),
    }
}
