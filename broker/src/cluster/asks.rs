//! What this broker asks of the controller as a leader, on its way to the session.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use taffrail_core::{BrokerNumber, Incarnation, LeaderEpoch, TopicPartition, replica::IsrRequest};
use tokio::sync::Notify;

/// Runs of members that have caught up, in the epoch in which they did.
pub(crate) type Confirmations = BTreeMap<(TopicPartition, BrokerNumber), (LeaderEpoch, Incarnation)>;

/// Everything that waits to be sent, in one message.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// One is under way for a partition at most: the newest counts.
    pub(crate) requests: BTreeMap<TopicPartition, IsrRequest>,
    pub(crate) confirmations: Confirmations,
}

/// Filled by the owner of the logs, emptied by the session. What gets lost on the way is asked again by the leader's decisions.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    waiting: Mutex<Waiting>,
    pub(crate) news: Notify,
}

impl Asks {
    pub(crate) fn ask(&self, partition: TopicPartition, request: IsrRequest) {
        self.lock().requests.insert(partition, request);
        self.news.notify_one();
    }

    pub(crate) fn confirm(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        broker: BrokerNumber,
        incarnation: Incarnation,
    ) {
        let confirmation = (epoch, incarnation);
        let mut waiting = self.lock();
        waiting
            .confirmations
            .insert((partition, broker), confirmation);
        drop(waiting);
        self.news.notify_one();
    }

    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
