//! Where partitions begin: their topic is found, and their offset if none is committed. Both are waited for as long as it takes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use taffrail_core::{GroupEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use tokio::time::sleep;

use super::held::Held;
use crate::{client::Client, consumer::Start, error::ClientError, metadata::Topic};

/// Lookups that are under way.
#[derive(Debug)]
pub(super) struct Starts {
    client: Client,
    policy: Start,
    work: FuturesUnordered<BoxFuture<'static, Found>>,
}

/// A partition that waits for its topic.
#[derive(Debug, Clone, Copy)]
struct Sought {
    index: PartitionIndex,
    since: GroupEpoch,
    committed: Option<Offset>,
}

enum Found {
    Topic(Arc<Topic>, Vec<Sought>),
    Start(Begin),
}

/// A partition that can be read.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) topic: Arc<Topic>,
    pub(super) index: PartitionIndex,
    /// The assignment that it was looked up for.
    pub(super) since: GroupEpoch,
    pub(super) offset: Result<Offset, ClientError>,
}

impl Begin {
    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.id,
            partition: self.index,
        }
    }
}

impl Starts {
    pub(super) fn new(client: Client, policy: Start) -> Self {
        Self {
            client,
            policy,
            work: FuturesUnordered::new(),
        }
    }

    /// From now on. True: those that are looked up have to be looked up again.
    pub(super) fn go_by(&mut self, policy: Start) -> bool {
        let is_other = self.policy != policy;
        self.policy = policy;
        is_other && !self.work.is_empty()
    }

    /// Looks up those that have not begun, and no others.
    pub(super) fn seek<'a>(&mut self, held: impl Iterator<Item = (&'a TopicPartition, &'a Held)>) {
        self.work.clear();
        let mut topics: BTreeMap<TopicId, (Arc<str>, Vec<Sought>)> = BTreeMap::new();
        for (partition, held) in held.filter(|(_, held)| held.progress.is_none()) {
            let (_, sought) = topics
                .entry(partition.topic)
                .or_insert_with(|| (Arc::clone(&held.topic), Vec::new()));
            sought.push(Sought {
                index: partition.partition,
                since: held.since,
                committed: held.committed,
            });
        }
        for (id, (name, sought)) in topics {
            let client = self.client.clone();
            let found = async move { Found::Topic(find_topic(&client, id, &name).await, sought) };
            self.work.push(found.boxed());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    /// The next ones that can be read. Pending also if nothing is looked up.
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Begin>> {
        while let Poll::Ready(Some(found)) = self.work.poll_next_unpin(cx) {
            let begins = match found {
                Found::Start(begin) => vec![begin],
                Found::Topic(topic, sought) => self.begin(&topic, sought),
            };
            if !begins.is_empty() {
                return Poll::Ready(begins);
            }
        }
        Poll::Pending
    }

    /// Those of which something is committed; the others are asked for.
    fn begin(&self, topic: &Arc<Topic>, sought: Vec<Sought>) -> Vec<Begin> {
        let mut begins = Vec::new();
        for Sought {
            index,
            since,
            committed,
        } in sought
        {
            let begin = move |topic, offset| Begin {
                topic,
                index,
                since,
                offset,
            };
            let topic = Arc::clone(topic);
            if let Some(offset) = committed {
                begins.push(begin(topic, Ok(offset)));
                continue;
            }
            let (client, policy) = (self.client.clone(), self.policy);
            let start = async move {
                let offset = find_start(&client, &topic.name, index, policy).await;
                Found::Start(begin(topic, offset))
            };
            self.work.push(start.boxed());
        }
        begins
    }
}

/// The topic of this id. One that was deleted is waited for until the coordinator takes it away.
async fn find_topic(client: &Client, id: TopicId, name: &str) -> Arc<Topic> {
    let mut attempts = 0;
    loop {
        match client.topic(name).await {
            Ok(topic) if topic.id == id => return topic,
            Ok(topic) => {
                tracing::debug!(topic = name, assigned = %id, known = %topic.id, "metadata knows another topic of this name");
            }
            Err(error) => tracing::debug!(topic = name, %error, "an assigned topic is not found"),
        }
        attempts += 1;
        sleep(client.backoff().pause(attempts)).await;
        // If no broker answers, the next round says so.
        let _ = client.refresh(&[name.to_owned()]).await;
    }
}

async fn find_start(
    client: &Client,
    topic: &str,
    partition: PartitionIndex,
    policy: Start,
) -> Result<Offset, ClientError> {
    let query = [(topic.to_owned(), partition, policy)];
    let mut attempts = 0;
    loop {
        match client.offsets(&query).await {
            Ok(found) => match found.first() {
                Some(offset) => return Ok(*offset),
                None => {
                    return Err(ClientError::UnknownTopic {
                        topic: topic.to_owned(),
                    });
                }
            },
            Err(error) if error.is_retriable() => {
                tracing::debug!(topic, %partition, %error, "where a partition begins is not known yet");
            }
            Err(error) => return Err(error),
        }
        attempts += 1;
        sleep(client.backoff().pause(attempts)).await;
    }
}
