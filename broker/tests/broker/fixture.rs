//! A broker in a directory of its own, and the shortest way to talk to it.

use std::{future::Future, path::Path, time::Duration};

use bytes::Bytes;
use futures::channel::mpsc;
use taffrail_api::{
    WireError,
    status::from_status,
    stream::{FrameReader, Route, fetch, produce},
    transport,
    v1::{
        self, FetchPartition, FetchRequest, FetchedPartition, ListOffsetsRequest, OffsetAnswer,
        OffsetQuery, ProduceAck, ProduceRequest, ProduceResponse, broker_client::BrokerClient,
        offset_query::Position, produce_response,
    },
};
use taffrail_broker::{
    BrokerConfig, BrokerError, DiskSettings, Environment, Limits, RunningBroker, start_with,
};
use taffrail_core::{Durability, ErrorCode, TopicId};
use taffrail_record::{BatchBuilder, Compression, NewRecord, records, split};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::controller::{FakeController, Topic, bytes_of};

/// Everything here is over long before.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// The topic of most tests.
pub(crate) const TOPIC: TopicId = TopicId::from_bytes([0x42; 16]);

/// A broker, its directory and its controller.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) controller: FakeController,
    pub(crate) broker: RunningBroker,
}

impl Fixture {
    /// A registered broker with topic `flights` of so many partitions.
    pub(crate) async fn start(partitions: usize) -> Self {
        Self::in_environment(partitions, Environment::real(None), DiskSettings::default()).await
    }

    pub(crate) async fn in_environment(
        partitions: usize,
        environment: Environment,
        disk: DiskSettings,
    ) -> Self {
        Self::configured(partitions, environment, |config| config.disk = disk).await
    }

    /// With one partition.
    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::configured(1, Environment::real(None), |config| config.limits = limits).await
    }

    async fn configured(
        partitions: usize,
        environment: Environment,
        configure: impl FnOnce(&mut BrokerConfig),
    ) -> Self {
        let controller = FakeController::start().await;
        let dir = tempfile::tempdir().expect("temp dir");
        let mut config = config(&dir, &controller);
        configure(&mut config);
        let broker = start_with(config, environment).await.expect("starts");
        within("registration", broker.ready()).await;
        let fixture = Self {
            dir,
            controller,
            broker,
        };
        fixture
            .put(Topic::new("flights", &vec![1; partitions]))
            .await;
        fixture
    }

    /// Creates or changes the topic, and waits until all its partitions are served.
    pub(crate) async fn put(&self, topic: Topic) {
        let (partitions, epoch) = (topic.partitions.len(), topic.leader_epoch);
        self.controller.put(TOPIC, topic);
        until("all partitions are served", async || {
            (0..partitions).all(|p| {
                let report = self.controller.report(TOPIC, p as u32);
                report.is_some_and(|r| r.leader_epoch == epoch && (r.leading || r.fault != 0))
            })
        })
        .await;
    }

    /// Makes the topic, of one partition, one whose records are acknowledged from the page cache.
    pub(crate) async fn put_page_cache(&self) {
        let mut topic = Topic::new("flights", &[1]);
        topic.config.durability = Durability::PageCache;
        (topic.generation, topic.leader_epoch) = (2, 2);
        self.put(topic).await;
    }

    /// Stops the broker cleanly and starts another on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// The same, with something done to the directory while nobody runs on it.
    pub(crate) async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        let Self {
            dir,
            controller,
            broker,
        } = self;
        broker.stop().await;
        change(dir.path());
        let broker = start_with(config(&dir, &controller), Environment::real(None))
            .await
            .expect("starts again");
        within("registration", broker.ready()).await;
        Self {
            dir,
            controller,
            broker,
        }
    }

    /// Drops the broker in the middle of whatever it does, and starts another once the directory is free.
    pub(crate) async fn crash_and_restart(self) -> Self {
        self.crash_and_restart_in(Environment::real(None)).await
    }

    /// The same, where the next broker finds another environment.
    pub(crate) async fn crash_and_restart_in(self, environment: Environment) -> Self {
        let Self {
            dir,
            controller,
            broker,
        } = self;
        drop(broker);
        let broker = within("the lock", async {
            loop {
                match start_with(config(&dir, &controller), environment.clone()).await {
                    Err(BrokerError::DataDirInUse { .. }) => sleep(Duration::from_millis(5)).await,
                    started => return started.expect("starts again"),
                }
            }
        })
        .await;
        within("registration", broker.ready()).await;
        Self {
            dir,
            controller,
            broker,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(&self.broker)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.channel(), Route::Direct).await
    }
}

pub(crate) fn config(dir: &TempDir, controller: &FakeController) -> BrokerConfig {
    BrokerConfig {
        data_dir: dir.path().to_owned(),
        client_listen: "127.0.0.1:0".parse().expect("address"),
        replication_listen: "127.0.0.1:0".parse().expect("address"),
        http_listen: Some("127.0.0.1:0".parse().expect("address")),
        controllers: vec![controller.addr.to_string()],
        shutdown_timeout_ms: 5_000,
        ..BrokerConfig::default()
    }
}

pub(crate) fn channel(broker: &RunningBroker) -> Channel {
    channel_to(&broker.client_addr().to_string())
}

pub(crate) fn channel_to(address: &str) -> Channel {
    transport::endpoint(address)
        .expect("address")
        .connect_lazy()
}

/// One produce and one fetch stream.
pub(crate) struct Client {
    pub(crate) channel: Channel,
    route: Route,
    requests: mpsc::UnboundedSender<ProduceRequest>,
    answers: FrameReader<ProduceResponse>,
    next_id: u64,
}

impl Client {
    pub(crate) async fn connect(channel: Channel, route: Route) -> Self {
        let (requests, stream) = mpsc::unbounded();
        let answers = produce(channel.clone(), route, stream)
            .await
            .expect("opens");
        Self {
            channel,
            route,
            requests,
            answers,
            next_id: 0,
        }
    }

    /// Sends a request without waiting; its id.
    pub(crate) fn send(&mut self, request: ProduceRequest) -> u64 {
        self.next_id += 1;
        let request = ProduceRequest {
            request_id: self.next_id,
            ..request
        };
        self.requests.unbounded_send(request).expect("open");
        self.next_id
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> (u64, Result<ProduceAck, WireError>) {
        let answer = within("an answer", self.answers.next())
            .await
            .expect("open")
            .expect("an answer");
        let result = match answer.result.expect("a result") {
            produce_response::Result::Ack(ack) => Ok(ack),
            produce_response::Result::Error(error) => Err(error.into()),
        };
        (answer.request_id, result)
    }

    /// Was the next one acknowledged? Or how the stream ended.
    pub(crate) async fn next_result(&mut self) -> Result<bool, WireError> {
        let answer = self.answers.next().await.map_err(|s| from_status(&s))?;
        let answer = answer.expect("a stream that is cut off ends with an error");
        Ok(matches!(
            answer.result,
            Some(produce_response::Result::Ack(_))
        ))
    }

    pub(crate) async fn produce(
        &mut self,
        request: ProduceRequest,
    ) -> Result<ProduceAck, WireError> {
        let id = self.send(request);
        let (answered, result) = self.answer().await;
        assert_eq!(answered, id);
        result
    }

    /// Batches of one partition from `offset` on.
    pub(crate) async fn fetch(
        &self,
        request: FetchPartition,
        max_wait_ms: u32,
    ) -> FetchedPartition {
        let request = FetchRequest {
            request_id: 7,
            partitions: vec![request],
            max_wait_ms,
            ..FetchRequest::default()
        };
        let stream = futures::stream::iter([request]);
        let mut answers = fetch(self.channel.clone(), self.route, stream)
            .await
            .expect("opens");
        let answer = within("a fetch", answers.next())
            .await
            .expect("open")
            .expect("an answer");
        assert_eq!(answer.request_id, 7);
        answer.partitions.into_iter().next().expect("one partition")
    }

    /// Values of all records from `offset` on.
    pub(crate) async fn values(&self, partition: u32, offset: i64) -> Vec<String> {
        let mut at = FetchPartition {
            offset,
            ..fetch_at(partition, offset)
        };
        let mut values = Vec::new();
        loop {
            let fetched = self.fetch(at.clone(), 0).await;
            assert_eq!(fetched.error, None);
            if fetched.batches.is_empty() {
                return values;
            }
            for batch in split(&fetched.batches) {
                let (header, batch) = batch.expect("whole batches");
                for record in records(batch, 1 << 20).expect("decodes") {
                    let value = record.expect("decodes").value.expect("a value");
                    values.push(String::from_utf8(value.to_vec()).expect("text"));
                }
                at.offset = header.next_offset().0 as i64;
            }
        }
    }

    pub(crate) async fn offset(
        &self,
        partition: u32,
        position: Position,
    ) -> Result<(i64, i64), WireError> {
        self.offsets(&[(partition, position)]).await.remove(0)
    }

    /// Of several partitions, in one request.
    pub(crate) async fn offsets(
        &self,
        of: &[(u32, Position)],
    ) -> Vec<Result<(i64, i64), WireError>> {
        let queries = of.iter().map(|(partition, position)| OffsetQuery {
            topic_id: bytes_of(TOPIC),
            partition: *partition,
            leader_epoch: -1,
            position: Some(*position),
        });
        let mut request = tonic::Request::new(ListOffsetsRequest {
            queries: queries.collect(),
        });
        if self.route == Route::Through {
            request
                .metadata_mut()
                .insert(transport::ROUTE_HEADER, "1".parse().expect("value"));
        }
        let answers = BrokerClient::new(self.channel.clone())
            .list_offsets(request)
            .await
            .expect("answers");
        let answers = answers.into_inner().answers.into_iter();
        let answer = |answer: OffsetAnswer| match answer.error {
            Some(error) => Err(error.into()),
            None => Ok((answer.offset, answer.timestamp_ms)),
        };
        answers.map(answer).collect()
    }
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_at(values, 1_000)
}

/// Records with times from `first_ms` on.
pub(crate) fn batch_at(values: &[&str], first_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (i, value) in values.iter().enumerate() {
        builder.push(&NewRecord {
            value: Some(value.as_bytes()),
            timestamp_ms: first_ms + i as i64,
            ..NewRecord::default()
        });
    }
    builder.build().expect("not empty")
}

pub(crate) fn request(partition: u32, batches: Bytes) -> ProduceRequest {
    ProduceRequest {
        topic_id: bytes_of(TOPIC),
        partition,
        leader_epoch: -1,
        batches,
        ..ProduceRequest::default()
    }
}

pub(crate) fn fetch_at(partition: u32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic_id: bytes_of(TOPIC),
        partition,
        leader_epoch: -1,
        offset,
        max_bytes: 0,
    }
}

/// The code of an error on the wire.
pub(crate) fn code(error: v1::Error) -> ErrorCode {
    WireError::from(error).code
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    within(what, async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
