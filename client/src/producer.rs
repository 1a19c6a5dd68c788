//! Sends records: batched by partition, in order, retried until the delivery timeout, bounded in memory.

mod batch;
mod budget;
mod completion;
mod coordinator;
mod lane;
mod partition;
mod shared;
mod topic;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::task::coop::consume_budget;

use crate::{
    client::Client,
    config::ProducerConfig,
    connections::Connections,
    error::{FlushError, ProduceError},
    record::Record,
};
pub use completion::Delivery;
use shared::Shared;
use topic::TopicQueues;

/// Sends records of any number of topics. Clones share buffers and connections.
///
/// Dropping the last clone (and the last [`TopicProducer`]) fails what is not acknowledged yet; call [`Producer::close`] to wait for it.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// The same for one topic: the fastest way to send many records.
#[derive(Debug, Clone)]
pub struct TopicProducer {
    handle: Arc<Handle>,
    queues: Arc<TopicQueues>,
}

/// What the coordinator and the handles share.
#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
    client: Client,
    connections: Connections,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicQueues>>>,
}

/// Held by users only: when it goes, the producer is gone.
#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Producer {
    pub(crate) fn new(client: Client, config: ProducerConfig) -> Self {
        let core = Arc::new(Core {
            shared: Arc::new(Shared::new(config, client.backoff())),
            connections: client.connections().separate(),
            client,
            topics: RwLock::default(),
        });
        tokio::spawn(coordinator::run(Arc::clone(&core)));
        Self {
            handle: Arc::new(Handle { core }),
        }
    }

    /// Takes the record into a batch; waits only while the buffer is full, or a topic is used for the first time.
    ///
    /// Cancel safe: if the future is dropped before it is done, the record was not taken.
    ///
    /// # Errors
    /// The topic is not there, the record is too large, the producer was closed. Everything else comes with the delivery.
    pub async fn send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, ProduceError> {
        let queues = match self.handle.core.known_topic(topic) {
            Some(queues) => queues,
            None => self.handle.core.resolve(topic).await?,
        };
        self.handle.core.send(&queues, &record).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Self::send`], and if it would have to wait.
    pub fn try_send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, ProduceError> {
        let queues = self.handle.core.known_topic(topic);
        queues.ok_or(ProduceError::NotResolved)?.push(&record)
    }

    /// A handle that looks the topic up once.
    ///
    /// # Errors
    /// The topic is not there, or no broker answers.
    pub async fn topic(&self, topic: &str) -> Result<TopicProducer, ProduceError> {
        let queues = match self.handle.core.known_topic(topic) {
            Some(queues) => queues,
            None => self.handle.core.resolve(topic).await?,
        };
        Ok(TopicProducer {
            handle: Arc::clone(&self.handle),
            queues,
        })
    }

    /// Sends everything taken so far without lingering, and waits until all of it is acknowledged or failed.
    ///
    /// # Errors
    /// Records failed since the last flush, whether or not anybody awaited their deliveries.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.handle.core.flush().await
    }

    /// Flushes and ends the producer, its clones included.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn close(self) -> Result<(), FlushError> {
        let flushed = self.handle.core.flush().await;
        self.handle.core.close();
        // A clone may have sent something in between.
        flushed.and(self.handle.core.shared.take_failures())
    }
}

impl TopicProducer {
    /// As [`Producer::send`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, ProduceError> {
        self.handle.core.send(&self.queues, &record).await
    }

    /// As [`Producer::try_send`].
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    #[inline]
    pub fn try_send(&self, record: Record<'_>) -> Result<Delivery, ProduceError> {
        self.queues.push(&record)
    }
}

impl Core {
    async fn send(
        &self,
        queues: &TopicQueues,
        record: &Record<'_>,
    ) -> Result<Delivery, ProduceError> {
        // Whoever sends in a loop lets others run now and then, so that what was sent can leave.
        consume_budget().await;
        loop {
            match queues.push(record) {
                Err(ProduceError::BufferFull) => {}
                done => return done,
            }
            let mut freed = std::pin::pin!(self.shared.budget.freed());
            freed.as_mut().enable();
            match queues.push(record) {
                Err(ProduceError::BufferFull) => {}
                done => return done,
            }
            self.shared.ask_for_room();
            freed.await;
        }
    }

    fn known_topic(&self, name: &str) -> Option<Arc<TopicQueues>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned()
    }

    async fn resolve(&self, name: &str) -> Result<Arc<TopicQueues>, ProduceError> {
        self.shared.config.check()?;
        let topic = self.client.topic(name).await?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: close() looks at the topics after it has set the flag.
        if self.shared.is_closed() {
            return Err(ProduceError::Closed {
                maybe_stored: false,
            });
        }
        let queues = topics
            .entry(Arc::clone(&topic.name))
            .or_insert_with(|| Arc::new(TopicQueues::new(&topic, Arc::clone(&self.shared))));
        Ok(Arc::clone(queues))
    }

    fn topics(&self) -> Vec<Arc<TopicQueues>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    async fn flush(&self) -> Result<(), FlushError> {
        let mut open = Vec::new();
        for topic in self.topics() {
            for partition in topic.partitions() {
                open.extend(partition.flush());
            }
        }
        for completion in open {
            // The outcome is counted where it is decided.
            let _ = Delivery::new(completion, 0).await;
        }
        self.shared.take_failures()
    }

    /// Fails what is still here. May be called several times.
    fn close(&self) {
        self.shared.close();
        for topic in self.topics() {
            for partition in topic.partitions() {
                partition.close();
            }
        }
        // Who waits for room learns that there is no producer any more.
        self.shared.budget.give_back(0);
    }
}
