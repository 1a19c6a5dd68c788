//! The entrance: one per cluster and process, cheap to clone.

use std::{collections::HashMap, sync::Arc, time::Instant};

use taffrail_api::{
    WireError,
    status::from_status,
    stream::Route,
    transport::{CALL_MESSAGE_BYTES_MAX, ROUTE_HEADER},
    v1::{self, broker_client::BrokerClient},
};
use taffrail_core::{ErrorCode, Offset, PartitionIndex};
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tonic::{Status, metadata::MetadataValue};

use crate::{
    admin::Admin,
    backoff::Backoff,
    config::{ClientConfig, ConsumerConfig, ProducerConfig},
    connections::{BOOTSTRAP_FIRST, Connections},
    consumer::{Consumer, Start},
    error::ClientError,
    metadata::{ASK_TIMEOUT, Leader, Metadata, MetadataCache, Topic, follow},
    producer::Producer,
};

/// A cluster, as seen by this process.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    connections: Arc<Connections>,
    metadata: Arc<MetadataCache>,
    follower: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// One round of a call that is tried again.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    deadline: Instant,
    /// That failed before.
    attempts: u32,
}

impl Client {
    /// Reaches one of the bootstrap addresses and learns about the cluster. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let connections = Arc::new(Connections::new(config.bootstrap.clone()));
        let metadata = Arc::new(MetadataCache::default());
        // Slower than requests are tried again: following is no hurry, and all clients of a broker lose it at once.
        let backoff = Backoff {
            min: config.backoff_min * 10,
            max: config.backoff_max * 15,
        };
        let follow = follow(Arc::clone(&metadata), Arc::clone(&connections), backoff);
        let client = Self {
            inner: Arc::new(Inner {
                config,
                connections,
                metadata,
                follower: tokio::spawn(follow).abort_handle(),
            }),
        };
        client.refresh(&[]).await?;
        Ok(client)
    }

    /// The newest view of the cluster, asked of a broker now. Empty `topics`: all.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn metadata(&self, topics: &[String]) -> Result<Arc<Metadata>, ClientError> {
        self.refresh(topics).await
    }

    /// What is known without asking. Topics that are produced to or consumed from are followed: they are as new as the broker's own view.
    pub fn known(&self) -> Arc<Metadata> {
        self.inner.metadata.current()
    }

    /// Topics, partitions, brokers.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// A producer with connections of its own. Must be called within a tokio runtime.
    pub fn producer(&self, config: ProducerConfig) -> Producer {
        Producer::new(self.clone(), config.sensible())
    }

    /// A consumer with connections of its own, and no partition yet.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer::new(self.clone(), config)
    }

    /// The offsets at which reading from each of these positions begins; `Latest` is where the next record will be.
    ///
    /// # Errors
    /// A topic or partition is not there, or its leader did not answer within the call timeout.
    pub async fn offsets(
        &self,
        queries: &[(String, PartitionIndex, Start)],
    ) -> Result<Vec<Offset>, ClientError> {
        let deadline = Instant::now() + self.config().call_timeout;
        let mut found: Vec<Option<Offset>> = vec![None; queries.len()];
        let mut attempts = 0;
        loop {
            let missing: Vec<usize> = (0..queries.len()).filter(|&i| found[i].is_none()).collect();
            if missing.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
            let attempt = Attempt { deadline, attempts };
            let once = self.offsets_once(queries, &missing, &mut found, attempt);
            let last = match once.await {
                Ok(None) => continue,
                Ok(Some(error)) => ClientError::Refused(error),
                Err(error) => error,
            };
            let known_missing = matches!(last, ClientError::UnknownPartition { .. });
            if known_missing || !last.is_retriable() {
                return Err(last);
            }
            attempts += 1;
            self.pause(attempts, deadline, "looking up offsets", &last)
                .await?;
            let topics: Vec<String> = missing.iter().map(|&i| queries[i].0.clone()).collect();
            // If no broker answers, the next round says so.
            let _ = self.refresh(&topics).await;
        }
    }

    /// One request to each leader. `Ok(Some)`: some were refused retriably.
    async fn offsets_once(
        &self,
        queries: &[(String, PartitionIndex, Start)],
        missing: &[usize],
        found: &mut [Option<Offset>],
        attempt: Attempt,
    ) -> Result<Option<WireError>, ClientError> {
        let mut by_leader: HashMap<String, Vec<(usize, v1::OffsetQuery)>> = HashMap::new();
        for &i in missing {
            let (name, partition, start) = &queries[i];
            if let Start::Offset(offset) = start {
                found[i] = Some(*offset);
                continue;
            }
            let (topic, leader) = self.leader(name, *partition).await?;
            let query = v1::OffsetQuery {
                topic_id: topic.id_bytes.clone(),
                partition: partition.0,
                leader_epoch: leader.epoch,
                position: start.to_wire(),
            };
            by_leader
                .entry(leader.address)
                .or_default()
                .push((i, query));
        }
        let mut refused: Option<WireError> = None;
        for (address, asked) in by_leader {
            for (i, answer) in self.ask_offsets(&address, asked, attempt).await? {
                match answer.error {
                    Some(error) => refused = Some(error.into()),
                    None => found[i] = Some(Offset(answer.offset.max(0) as u64)),
                }
            }
        }
        match refused {
            Some(error) if !error.retriable => Err(error.into()),
            refused => Ok(refused),
        }
    }

    async fn ask_offsets(
        &self,
        address: &str,
        asked: Vec<(usize, v1::OffsetQuery)>,
        attempt: Attempt,
    ) -> Result<Vec<(usize, v1::OffsetAnswer)>, ClientError> {
        let connections = &self.inner.connections;
        let reached = connections.leader(address, attempt.attempts).await?;
        let (indexes, queries): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let mut request = tonic::Request::new(v1::ListOffsetsRequest { queries });
        if reached.route == Route::Through {
            let value = MetadataValue::from_static("1");
            request.metadata_mut().insert(ROUTE_HEADER, value);
        }
        let mut client =
            BrokerClient::new(reached.channel).max_decoding_message_size(CALL_MESSAGE_BYTES_MAX);
        // Half of what is left: there may be another leader by then, and others are to be asked.
        let after = attempt.deadline.saturating_duration_since(Instant::now()) / 2;
        let answered = match timeout(after, client.list_offsets(request)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Status::unavailable("it does not answer")),
        };
        let answers = answered.map_err(|status| {
            self.inner.connections.forget(&reached.address);
            from_status(&status)
        })?;
        let answers = answers.into_inner().answers;
        if answers.len() != indexes.len() {
            let error = WireError::new(
                ErrorCode::Internal,
                format!(
                    "{} offsets asked for, {} answered",
                    indexes.len(),
                    answers.len()
                ),
            );
            return Err(error.into());
        }
        Ok(indexes.into_iter().zip(answers).collect())
    }

    async fn leader(
        &self,
        name: &str,
        partition: PartitionIndex,
    ) -> Result<(Arc<Topic>, Leader), ClientError> {
        let topic = self.topic(name).await?;
        let partitions = topic.partitions.len() as u32;
        if partition.0 >= partitions {
            return Err(ClientError::UnknownPartition {
                topic: name.to_owned(),
                partition,
                partitions,
            });
        }
        match self.known().leader(name, partition) {
            Some(leader) => Ok((topic, leader)),
            None => Err(no_leader(name, partition).into()),
        }
    }

    /// The topic, waited for a moment if it is not there.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        if let Some(topic) = self.known().topic(name) {
            self.inner.metadata.use_topic(name);
            return Ok(Arc::clone(topic));
        }
        let deadline = Instant::now() + self.config().unknown_topic_wait;
        let mut attempts = 0;
        loop {
            let metadata = self.refresh(&[name.to_owned()]).await?;
            if let Some(topic) = metadata.topic(name) {
                self.inner.metadata.use_topic(name);
                return Ok(Arc::clone(topic));
            }
            attempts += 1;
            let unknown = ClientError::UnknownTopic {
                topic: name.to_owned(),
            };
            let pause = self.backoff().pause(attempts);
            if Instant::now() + pause >= deadline {
                return Err(unknown);
            }
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) async fn pause(
        &self,
        attempts: u32,
        deadline: Instant,
        what: &'static str,
        last: &ClientError,
    ) -> Result<(), ClientError> {
        let pause = self.backoff().pause(attempts);
        if Instant::now() + pause >= deadline {
            return Err(ClientError::TimedOut {
                what,
                after: self.config().call_timeout,
                last: last.to_string(),
            });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    pub(crate) async fn refresh(&self, topics: &[String]) -> Result<Arc<Metadata>, ClientError> {
        let refresh = self.inner.metadata.refresh(&self.inner.connections, topics);
        match timeout(self.config().call_timeout, refresh).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ClientError::TimedOut {
                what: "asking for metadata",
                after: self.config().call_timeout,
                last: "no answer".to_owned(),
            }),
        }
    }

    /// As [`Self::refresh`], of every broker that answers: one that is cut off from the controller does not know who leads.
    pub(crate) async fn refresh_of_all(&self, topics: &[String]) -> Result<(), ClientError> {
        let connections = &self.inner.connections;
        let refresh = self.inner.metadata.refresh_of_all(connections, topics);
        let after = self.config().call_timeout;
        timeout(after, refresh)
            .await
            .unwrap_or(Err(ClientError::TimedOut {
                what: "asking all brokers for metadata",
                after,
                last: "not all of them answered or failed".to_owned(),
            }))
    }

    /// An id for an idempotent producer, from any broker.
    pub(crate) async fn init_producer(&self) -> Result<i64, ClientError> {
        let known = self.known();
        let others = known.brokers.values().map(|b| b.address.clone());
        let ask = |channel| async {
            let mut client = BrokerClient::new(channel);
            let asked = client.init_producer(v1::InitProducerRequest {});
            match timeout(ASK_TIMEOUT, asked).await {
                Ok(answer) => Ok(answer?.into_inner()),
                Err(_elapsed) => Err(Status::unavailable("it does not answer")),
            }
        };
        let answer = self
            .inner
            .connections
            .any_broker(BOOTSTRAP_FIRST, others.collect(), ask);
        Ok(answer.await?.producer_id)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Metadata>> {
        self.inner.metadata.changes()
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.inner.connections
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            min: self.config().backoff_min,
            max: self.config().backoff_max,
        }
    }
}

/// What a client says itself while a partition has no leader.
pub(crate) fn no_leader(topic: &str, partition: PartitionIndex) -> WireError {
    WireError::new(
        ErrorCode::PartitionOffline,
        format!("{topic}/{partition} has no leader just now; see taffrail get partitions"),
    )
}
