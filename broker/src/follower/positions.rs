//! Where this broker's replicas stand: told by the owner of the logs, sent by the sessions with their leaders.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use taffrail_core::{BrokerNumber, TopicPartition, replica::FetchRequest};
use tokio::sync::Notify;

/// What changed since it was last sent, by leader. `None`: not followed any more.
pub(crate) type Changes = BTreeMap<TopicPartition, Option<FetchRequest>>;

/// Changes on their way to the sessions. Only the newest of a partition counts: a position says everything.
#[derive(Debug, Default)]
pub(crate) struct Positions(Mutex<HashMap<BrokerNumber, Feed>>);

#[derive(Debug, Default)]
struct Feed {
    changes: Changes,
    news: Arc<Notify>,
}

impl Positions {
    /// The replica of `partition` follows `leader` and stands at `request`, or does not follow it any more.
    pub(crate) fn tell(
        &self,
        leader: BrokerNumber,
        partition: TopicPartition,
        request: Option<FetchRequest>,
    ) {
        let mut feeds = self.lock();
        let feed = feeds.entry(leader).or_default();
        feed.changes.insert(partition, request);
        feed.news.notify_one();
    }

    /// Everything that has not been taken yet.
    pub(crate) fn take(&self, leader: BrokerNumber) -> Changes {
        let mut feeds = self.lock();
        let feed = feeds.get_mut(&leader);
        feed.map(|feed| std::mem::take(&mut feed.changes))
            .unwrap_or_default()
    }

    /// Resolves when there may be something to take.
    pub(crate) fn news(&self, leader: BrokerNumber) -> Arc<Notify> {
        Arc::clone(&self.lock().entry(leader).or_default().news)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BrokerNumber, Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
