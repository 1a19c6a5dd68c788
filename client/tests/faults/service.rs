//! One fake broker.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use taffrail_api::{
    WireError,
    transport::ROUTE_HEADER,
    v1::{
        self,
        broker_server::{Broker, BrokerServer},
    },
};
use taffrail_client::ErrorCode;
use taffrail_core::producers::ProducerTable;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{Cluster, Fault, Partition, TOPIC_ID, header};

pub(crate) struct FakeBroker {
    number: usize,
    cluster: Arc<Cluster>,
}

impl FakeBroker {
    pub(crate) fn server(number: usize, cluster: Arc<Cluster>) -> BrokerServer<Self> {
        BrokerServer::new(Self { number, cluster }).max_decoding_message_size(64 << 20)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn refused(code: ErrorCode) -> v1::Error {
    WireError::new(code, "refused by the fake broker").into()
}

#[tonic::async_trait]
impl Broker for FakeBroker {
    type WatchMetadataStream = Answers<v1::Metadata>;
    type ProduceStream = Answers<v1::ProduceResponse>;
    type FetchStream = Answers<v1::FetchResponse>;

    async fn get_metadata(
        &self,
        request: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::Metadata>, Status> {
        let asked = request.into_inner().topics;
        self.cluster.state().asked += 1;
        Ok(Response::new(self.cluster.metadata(self.number, &asked)))
    }

    async fn watch_metadata(
        &self,
        request: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        let asked = request.into_inner().topics;
        let mut state = self.cluster.state();
        state.watched += 1;
        if state.unwatchable {
            return Err(Status::unavailable("refused by the fake broker"));
        }
        drop(state);
        let (answers, receiver) = mpsc::unbounded_channel();
        let (number, cluster) = (self.number, Arc::clone(&self.cluster));
        tokio::spawn(async move {
            let mut changed = cluster.changed.subscribe();
            while answers.send(Ok(cluster.metadata(number, &asked))).is_ok() {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receiver,
        ))))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let mut state = self.cluster.state();
        if state.ids_refused > 0 {
            state.ids_refused -= 1;
            return Err(
                WireError::new(ErrorCode::ShuttingDown, "refused by the fake broker").into(),
            );
        }
        state.producer_ids += 1;
        Ok(Response::new(v1::InitProducerResponse {
            producer_id: state.producer_ids,
            producer_epoch: 0,
        }))
    }

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (answers, receiver) = mpsc::unbounded_channel();
        let session = Produce {
            number: self.number,
            routes: request.metadata().contains_key(ROUTE_HEADER),
            cluster: Arc::clone(&self.cluster),
            broken: HashMap::new(),
        };
        tokio::spawn(session.run(request.into_inner(), answers));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receiver,
        ))))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let (answers, receiver) = mpsc::unbounded_channel();
        let is_routed = request.metadata().contains_key(ROUTE_HEADER);
        let number = (!is_routed).then_some(self.number);
        let cluster = Arc::clone(&self.cluster);
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let cluster = Arc::clone(&cluster);
                let answers = answers.clone();
                tokio::spawn(async move {
                    let answer = fetch(number, &cluster, request).await;
                    // The client may be gone.
                    let _ = answers.send(Ok(answer));
                });
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receiver,
        ))))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let mut state = self.cluster.state();
        let is_routed = request.metadata().contains_key(ROUTE_HEADER);
        state.routed += usize::from(is_routed);
        let answer = |query: v1::OffsetQuery| {
            let partition = &state.partitions[query.partition as usize];
            let is_elsewhere = partition.leader != self.number && !is_routed;
            let error = is_elsewhere.then(|| refused(ErrorCode::NotLeader));
            v1::OffsetAnswer {
                topic_id: query.topic_id,
                partition: query.partition,
                offset: position(partition, query.position) as i64,
                timestamp_ms: -1,
                leader_epoch: partition.epoch as i32,
                error,
            }
        };
        let queries = request.into_inner().queries;
        Ok(Response::new(v1::ListOffsetsResponse {
            answers: queries.into_iter().map(answer).collect(),
        }))
    }
}

fn position(partition: &Partition, position: Option<v1::offset_query::Position>) -> u64 {
    use v1::offset_query::Position;
    match position.expect("the client says what it wants") {
        Position::Earliest(_) => partition.log_start,
        Position::Latest(_) => partition.end(),
        Position::TimestampMs(ms) => {
            let all = partition
                .log
                .iter()
                .flat_map(|b| taffrail_record::records(b.clone(), 1 << 20).expect("sound"));
            all.map(|r| r.expect("sound"))
                .find(|r| r.timestamp_ms >= ms)
                .map_or_else(|| partition.end(), |r| r.offset.0)
        }
    }
}

/// One produce stream.
struct Produce {
    number: usize,
    routes: bool,
    cluster: Arc<Cluster>,
    /// The highest broken chain of each partition, and why.
    broken: HashMap<u32, (u32, ErrorCode)>,
}

impl Produce {
    async fn run(
        mut self,
        mut requests: Streaming<v1::ProduceRequest>,
        answers: mpsc::UnboundedSender<Result<v1::ProduceResponse, Status>>,
    ) {
        while let Ok(Some(request)) = requests.message().await {
            match self.handle(&request) {
                Ok(Some(answer)) => {
                    // The client may be gone.
                    let _ = answers.send(Ok(answer));
                }
                Ok(None) => {}
                Err(status) => {
                    let _ = answers.send(Err(status));
                    return;
                }
            }
        }
    }

    fn handle(
        &mut self,
        request: &v1::ProduceRequest,
    ) -> Result<Option<v1::ProduceResponse>, Status> {
        let outcome = self.append(request)?;
        if let Some(Err(code)) = outcome
            && code.is_retriable()
        {
            self.broken
                .entry(request.partition)
                .or_insert((request.chain, code))
                .0 = request.chain;
        }
        let result = outcome.map(|outcome| match outcome {
            Ok(base_offset) => v1::produce_response::Result::Ack(v1::ProduceAck {
                base_offset,
                append_time_ms: 1,
                log_start_offset: 0,
            }),
            Err(code) => v1::produce_response::Result::Error(refused(code)),
        });
        Ok(result.map(|result| v1::ProduceResponse {
            request_id: request.request_id,
            result: Some(result),
        }))
    }

    fn append(
        &self,
        request: &v1::ProduceRequest,
    ) -> Result<Option<Result<i64, ErrorCode>>, Status> {
        if let Some(&(chain, code)) = self.broken.get(&request.partition)
            && request.chain <= chain
        {
            return Ok(Some(Err(code)));
        }
        let mut state = self.cluster.state();
        let fault = state.faults.pop_front();
        match fault {
            Some(Fault::Refuse(code)) => return Ok(Some(Err(code))),
            Some(Fault::Silence) => return Ok(None),
            Some(Fault::CutBeforeAppend) => return Err(Status::unavailable("cut")),
            Some(Fault::CutAfterAppend | Fault::CutAfterAppendAndForget) | None => {}
        }
        let partition = request.partition as usize;
        if state.partitions[partition].leader != self.number {
            if !self.routes {
                return Ok(Some(Err(ErrorCode::NotLeader)));
            }
            state.routed += 1;
        }
        let produced = state.partitions[partition].produce(&request.batches);
        if matches!(fault, Some(Fault::CutAfterAppendAndForget)) {
            state.partitions[partition].producers = ProducerTable::default();
        }
        drop(state);
        let base = match produced {
            Ok(base) => base,
            Err(code) => return Ok(Some(Err(code))),
        };
        self.cluster.appended.notify_waiters();
        if fault.is_some() {
            return Err(Status::unavailable("cut"));
        }
        let with_offset = request.acks() != v1::Acks::None;
        Ok(Some(Ok(if with_offset { base as i64 } else { -1 })))
    }
}

/// Answers when there is something to say, or the wait is over.
/// By the broker of this number; `None`: it passes the request on to whoever leads.
async fn fetch(
    number: Option<usize>,
    cluster: &Cluster,
    request: v1::FetchRequest,
) -> v1::FetchResponse {
    let asked = request.partitions.iter().map(|asked| asked.offset as u64);
    cluster.state().fetched_from.extend(asked);
    let wait = Duration::from_millis(request.max_wait_ms.into());
    let answered = timeout(wait, async {
        loop {
            let appended = cluster.appended.notified();
            let partitions = fetch_now(number, cluster, &request);
            if !partitions.is_empty() {
                return partitions;
            }
            appended.await;
        }
    });
    v1::FetchResponse {
        request_id: request.request_id,
        partitions: answered.await.unwrap_or_default(),
    }
}

fn fetch_now(
    number: Option<usize>,
    cluster: &Cluster,
    request: &v1::FetchRequest,
) -> Vec<v1::FetchedPartition> {
    let state = cluster.state();
    let one = |asked: &v1::FetchPartition| {
        let partition = &state.seen_by(number)[asked.partition as usize];
        let (offset, end) = (asked.offset as u64, partition.end());
        let in_range = (partition.log_start..=end).contains(&offset);
        let error = if number.is_some_and(|number| partition.leader != number) {
            Some(refused(ErrorCode::NotLeader))
        } else if asked.leader_epoch > partition.epoch as i32 {
            Some(refused(ErrorCode::NotYetKnown))
        } else if !in_range {
            Some(refused(ErrorCode::OffsetOutOfRange))
        } else if offset == end {
            return None;
        } else {
            None
        };
        let from = |b: &&Bytes| error.is_none() && header(b).next_offset().0 > offset;
        let batches: Vec<Bytes> = partition.log.iter().filter(from).take(3).cloned().collect();
        Some(v1::FetchedPartition {
            topic_id: Bytes::from_static(&TOPIC_ID),
            partition: asked.partition,
            leader_epoch: partition.epoch as i32,
            high_watermark: end as i64,
            log_start_offset: partition.log_start as i64,
            error,
            batches: batches.concat().into(),
        })
    };
    request.partitions.iter().filter_map(one).collect()
}
