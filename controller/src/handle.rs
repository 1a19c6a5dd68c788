//! How the rest of the process talks to its controller.

mod pending;

use std::{collections::BTreeMap, sync::Arc};

use taffrail_api::v1;
use taffrail_core::{DeletionPolicy, TopicDefaults, TopicId, TopicSpec};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::Mode,
    groups::{GroupsView, WantedGroup},
    request::{Applied, ApplyError, Deleted, MoveRequest, PlannedMove},
    view::View,
    writes::{WriteCount, WriteCounters},
};

pub(crate) use pending::Pending;

/// Requests waiting for the driver. Each is decided in a batch with the others, so this only bounds memory.
pub(crate) const COMMANDS_MAX: usize = 1024;

pub(crate) type ApplyAnswer = oneshot::Sender<Result<Applied, ApplyError>>;
pub(crate) type MoveAnswer = oneshot::Sender<Result<Vec<PlannedMove>, ApplyError>>;
pub(crate) type DeleteAnswer = oneshot::Sender<Result<Deleted, ApplyError>>;

/// What the driver is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Apply {
        name: String,
        spec: TopicSpec,
        dry_run: bool,
        /// What a new topic is to be called by, if whoever asks cares.
        id: Option<TopicId>,
        answer: ApplyAnswer,
    },
    Delete {
        name: String,
        policy: Option<DeletionPolicy>,
        answer: DeleteAnswer,
    },
    Move {
        what: MoveRequest,
        dry_run: bool,
        answer: MoveAnswer,
    },
    SetDefaults {
        defaults: TopicDefaults,
        done: oneshot::Sender<()>,
    },
    SetGroups(BTreeMap<String, WantedGroup>),
    SessionOpened {
        register: Box<v1::Register>,
        outbox: mpsc::Sender<v1::ControllerMessage>,
        session: oneshot::Sender<u64>,
    },
    Heartbeat {
        session: u64,
        heartbeat: Box<v1::Heartbeat>,
    },
    DeleteDone {
        session: u64,
        done: v1::DeleteDone,
    },
    IsrRequests {
        session: u64,
        requests: v1::IsrRequests,
    },
    Stopping {
        session: u64,
    },
    SessionClosed {
        session: u64,
    },
    StoreChanged,
    Stop,
}

/// Whether the controller is in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Office {
    Active,
    Deposed,
    Stopped,
}

/// A running controller. Clones are the same controller.
#[derive(Debug, Clone)]
pub struct ControllerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) groups: watch::Receiver<Arc<GroupsView>>,
    pub(crate) version: watch::Receiver<u64>,
    pub(crate) office: watch::Receiver<Office>,
    pub(crate) writes: WriteCounters,
    pub(crate) mode: Mode,
}

impl ControllerHandle {
    /// Creates or changes a topic. Answers once that is persisted; partitions are online a little later (see the topic's status).
    /// Idempotent: dropping the future does not undo it.
    ///
    /// # Errors
    /// The spec is refused, or nothing can be changed just now.
    pub async fn apply_topic(
        &self,
        name: &str,
        spec: TopicSpec,
        dry_run: bool,
    ) -> Result<Applied, ApplyError> {
        self.apply(name, spec, dry_run, None).await
    }

    /// Creates or changes a topic as `apply_topic` does. A new one gets the identity `id`, unless another topic has it.
    ///
    /// # Errors
    /// The spec is refused, or nothing can be changed just now.
    pub async fn apply_topic_as(
        &self,
        id: Option<TopicId>,
        name: &str,
        spec: TopicSpec,
    ) -> Result<Applied, ApplyError> {
        self.apply(name, spec, false, id).await
    }

    async fn apply(
        &self,
        name: &str,
        spec: TopicSpec,
        dry_run: bool,
        id: Option<TopicId>,
    ) -> Result<Applied, ApplyError> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let command = Command::Apply {
            name,
            spec,
            dry_run,
            id,
            answer,
        };
        self.ask(command, answered).await
    }

    /// Ends a topic. What becomes of its data is `policy`'s to say. Ask again to see a deletion through.
    ///
    /// # Errors
    /// Nothing can be changed just now.
    pub async fn delete_topic(
        &self,
        name: &str,
        policy: DeletionPolicy,
    ) -> Result<Deleted, ApplyError> {
        self.delete(name, Some(policy)).await
    }

    /// Ends a topic, with its data as its own deletion policy says.
    ///
    /// # Errors
    /// Nothing can be changed just now.
    pub async fn delete_topic_as_it_says(&self, name: &str) -> Result<Deleted, ApplyError> {
        self.delete(name, None).await
    }

    async fn delete(
        &self,
        name: &str,
        policy: Option<DeletionPolicy>,
    ) -> Result<Deleted, ApplyError> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let command = Command::Delete {
            name,
            policy,
            answer,
        };
        self.ask(command, answered).await
    }

    /// Begins to move replicas, or with `dry_run` says what would move. Answers once that is persisted; partitions show how far they are.
    ///
    /// # Errors
    /// What is asked for cannot be, or nothing can be changed just now.
    pub async fn move_replicas(
        &self,
        what: MoveRequest,
        dry_run: bool,
    ) -> Result<Vec<PlannedMove>, ApplyError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Move {
            what,
            dry_run,
            answer,
        };
        self.ask(command, answered).await
    }

    async fn ask<T>(
        &self,
        command: Command,
        answered: oneshot::Receiver<Result<T, ApplyError>>,
    ) -> Result<T, ApplyError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| ApplyError::NotActive)?;
        answered.await.unwrap_or(Err(ApplyError::NotActive))
    }

    /// Changes what holds for topics that do not say.
    pub async fn set_defaults(&self, defaults: TopicDefaults) {
        let (done, is_done) = oneshot::channel();
        let command = Command::SetDefaults { defaults, done };
        if self.commands.send(command).await.is_ok() {
            // An error means that the controller stopped: the next one is told at its start.
            let _ = is_done.await;
        }
    }

    /// Says what is declared of consumer groups: all there is, each time. Brokers remember it over restarts of both sides; as long as nothing was said,
    /// what they remember holds.
    pub async fn set_groups(&self, groups: BTreeMap<String, WantedGroup>) {
        // An error means that the controller stopped: the next one is told at its start.
        let _ = self.commands.send(Command::SetGroups(groups)).await;
    }

    /// Consumer groups, as they were a few seconds ago at most: those with a policy, and those that a coordinator knows.
    pub fn groups(&self) -> Arc<GroupsView> {
        self.groups.borrow().clone()
    }

    /// Whenever there is a new picture of the groups.
    pub fn groups_changed(&self) -> watch::Receiver<Arc<GroupsView>> {
        self.groups.clone()
    }

    /// Tells that somebody else took something out of the store: what is missing is written anew. Only whoever has seen it has to tell.
    pub async fn store_changed(&self) {
        // An error means that the controller stopped: the next one reads everything.
        let _ = self.commands.send(Command::StoreChanged).await;
    }

    /// The cluster as it is now.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// An active topic's status.
    pub fn topic_status(&self, name: &str) -> Option<v1::TopicStatus> {
        self.view().topics.get(name).cloned()
    }

    /// All active topics, by name.
    pub fn topics(&self) -> Vec<v1::TopicStatus> {
        self.view().topics.values().cloned().collect()
    }

    /// The partitions of `topics`, or of all if there are none.
    pub fn partitions(&self, topics: &[String]) -> Vec<v1::PartitionStatus> {
        let view = self.view();
        if topics.is_empty() {
            return view.partitions.values().flatten().cloned().collect();
        }
        let named = topics.iter().filter_map(|name| view.partitions.get(name));
        named.flatten().cloned().collect()
    }

    /// All registered brokers, by number.
    pub fn brokers(&self) -> Vec<v1::BrokerStatus> {
        self.view().brokers.clone()
    }

    /// Should nobody stop a broker now, because replicas are away or behind? Not for what has a single copy: it never does without its broker.
    pub fn stops_should_wait(&self) -> bool {
        self.view().stops_should_wait
    }

    /// The cluster's identity.
    pub fn cluster_id(&self) -> String {
        self.view().cluster_id.clone()
    }

    /// Counts up whenever the view changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }

    /// How often the store was written.
    pub fn writes(&self) -> Vec<WriteCount> {
        self.writes.list()
    }

    /// Is this controller in office, as far as it knows?
    pub fn is_active(&self) -> bool {
        *self.office.borrow() == Office::Active
    }

    /// Resolves when another controller took office, or this one stopped.
    pub async fn deposed(&self) {
        let mut office = self.office.clone();
        // An error means that the driver is gone, which is the end of the office as well.
        let _ = office.wait_for(|office| *office != Office::Active).await;
    }

    /// Ends all sessions and the driver; a decision under way is finished first.
    pub async fn stop(self) {
        // An error means that it stopped before.
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
    }
}
