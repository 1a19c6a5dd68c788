//! A produce stream: requests are verified here, queued for the disk thread, and answered from there.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use http::{Request, Response};
use prometheus_client::metrics::counter::Counter;
use taffrail_api::{
    WireError, convert,
    stream::{FrameReader, Route, respond},
    transport,
    v1::{Acks, ProduceAck, ProduceRequest},
};
use taffrail_core::{BrokerNumber, ErrorCode, TopicPartition, internal, replica};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, body::Body};

use super::route_of;
use crate::{
    broker::{Broker, Place},
    partition::{
        ack::{Answers, Responder, Room, Ticket},
        append::Append,
        chain::{Chain, ChainLink},
        verify::{Limits, Verified, verify},
    },
    peers::ProduceLink,
};

const TIMEOUT_DEFAULT_MS: u32 = 30_000;
/// Deadlines are looked at this often: they are for disks that hang, not for the usual case.
const DEADLINE_INTERVAL: Duration = Duration::from_millis(100);
/// What a request takes of the broker's queue besides its batches.
const REQUEST_OVERHEAD_BYTES: usize = 1_024;

/// Answers come while requests go on; the call ends when the client has no more requests and all are answered.
pub(super) fn serve(broker: Arc<Broker>, request: Request<Body>) -> Response<Body> {
    let route = route_of(request.headers());
    let reader = FrameReader::requests(request.into_body(), transport::DATA_MESSAGE_BYTES_MAX);
    let (sender, answers) = mpsc::unbounded_channel();
    let streams = broker.streams.clone();
    let stream = ProduceStream::new(broker, route, sender);
    let untaken = Arc::clone(&stream.answers.untaken);
    streams.spawn(stream.run(reader));
    respond(UnboundedReceiverStream::new(answers).inspect(move |_| untaken.take()))
}

struct ProduceStream {
    broker: Arc<Broker>,
    route: Route,
    answers: Arc<Answers>,
    /// Bytes of this stream that wait for an answer.
    queue: Arc<Semaphore>,
    /// What each request takes at least, so that there are not too many either.
    room_bytes_min: usize,
    pending: VecDeque<Pending>,
    deadlines: Interval,
    requests: Counter,
    chains: HashMap<TopicPartition, Arc<Chain>>,
    /// Streams of this stream's own to other brokers: the order of its requests is kept there as here.
    links: HashMap<BrokerNumber, ProduceLink>,
}

/// A request that may run out of time.
struct Pending {
    ticket: Ticket,
    deadline: Instant,
}

impl ProduceStream {
    fn new(
        broker: Arc<Broker>,
        route: Route,
        sender: mpsc::UnboundedSender<Result<taffrail_api::v1::ProduceResponse, Status>>,
    ) -> Self {
        let limits = &broker.config.limits;
        let mut deadlines = interval(DEADLINE_INTERVAL);
        deadlines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            route,
            answers: Arc::new(Answers {
                sender,
                metrics: Arc::clone(&broker.metrics),
                untaken: Arc::default(),
            }),
            queue: Arc::new(Semaphore::new(limits.stream_queue_bytes_max)),
            room_bytes_min: limits
                .stream_queue_bytes_max
                .div_ceil(limits.produce_requests_max),
            pending: VecDeque::new(),
            deadlines,
            requests: broker.metrics.requests("produce"),
            chains: HashMap::new(),
            links: HashMap::new(),
            broker,
        }
    }

    async fn run(mut self, mut reader: FrameReader<ProduceRequest>) {
        let draining = self.broker.draining.clone();
        let answers = Arc::clone(&self.answers);
        let answers_max = self.broker.config.limits.produce_requests_max;
        let end = loop {
            let request = async {
                // A client that does not read its answers is not read either.
                answers.untaken.below(answers_max).await;
                reader.next().await
            };
            tokio::select! {
                request = request => match request {
                    Ok(Some(request)) => self.accept(request).await,
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                },
                () = draining.cancelled() => break Some(Broker::shutting_down().into()),
                () = self.answers.sender.closed() => return,
                _ = self.deadlines.tick(), if !self.pending.is_empty() => self.expire(),
            }
        };
        self.drain().await;
        if let Some(status) = end {
            self.broker
                .metrics
                .error("produce", taffrail_api::status::from_status(&status).code);
            self.answers.end(status);
        }
    }

    async fn accept(&mut self, request: ProduceRequest) {
        self.requests.inc();
        let room = self.room(request.batches.len()).await;
        let id = convert::topic_partition(&request.topic_id, request.partition);
        let (id, link) = match id.and_then(|id| Ok((id, self.chain(id, request.chain)?))) {
            Ok(chained) => chained,
            Err(error) => {
                let ticket = Ticket::new(request.request_id, ChainLink::default());
                return self.answers.send(&ticket, Err(error));
            }
        };
        let ticket = Ticket::new(request.request_id, link);
        let placed = match ticket.chain.broken() {
            Some(error) => Err(error),
            None => convert::acks(request.acks)
                .and_then(|acks| Ok((acks, self.broker.place(id, self.route)?))),
        };
        match placed {
            Err(error) => self.answers.send(&ticket, Err(error)),
            Ok((_, Place::There(leader))) => {
                let responder = self.responder(request.timeout_ms, ticket, room);
                self.route(leader, request, responder).await;
            }
            Ok((acks, Place::Here(partition))) => {
                let content = check(&self.broker, &partition, &request);
                let responder = if acks == Acks::None && content.is_ok() {
                    let ack = ProduceAck {
                        base_offset: -1,
                        ..ProduceAck::default()
                    };
                    self.answers.send(&ticket, Ok(ack));
                    Responder::nobody(room)
                } else {
                    self.responder(request.timeout_ms, ticket, room)
                };
                self.broker.disk.append(Append {
                    partition,
                    content,
                    acks: core_acks(acks),
                    responder,
                });
            }
        }
    }

    fn chain(&mut self, id: TopicPartition, number: u32) -> Result<ChainLink, WireError> {
        if number == 0 {
            return Ok(ChainLink::default());
        }
        let max = self.broker.config.limits.partitions_per_request_max;
        if self.chains.len() >= max && !self.chains.contains_key(&id) {
            return Err(WireError::new(
                ErrorCode::ResourceExhausted,
                format!("more than {max} partitions on one produce stream; use several"),
            ));
        }
        Ok(ChainLink::new(self.chains.entry(id).or_default(), number))
    }

    async fn route(&mut self, leader: BrokerNumber, request: ProduceRequest, responder: Responder) {
        let link = match self.links.get(&leader).filter(|link| link.is_open()) {
            Some(link) => link.clone(),
            None => match self.broker.peers.open_produce(leader) {
                Ok(link) => {
                    self.links.insert(leader, link.clone());
                    link
                }
                Err(error) => return responder.answer(Err(error)),
            },
        };
        self.keeping_time(async move { link.send(request, responder).await })
            .await;
    }

    fn responder(&mut self, timeout_ms: u32, ticket: Ticket, room: Room) -> Responder {
        let timeout_ms = match timeout_ms {
            0 => TIMEOUT_DEFAULT_MS,
            ms => ms.min(self.broker.config.limits.request_timeout_ms_max),
        };
        while self.pending.front().is_some_and(|p| p.ticket.is_claimed()) {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending {
            deadline: ticket.started + Duration::from_millis(u64::from(timeout_ms)),
            ticket: ticket.clone(),
        });
        Responder::stream(&self.answers, ticket, room)
    }

    /// Waits for room in the queues: that is the back-pressure.
    async fn room(&mut self, batch_bytes: usize) -> Room {
        let limits = &self.broker.config.limits;
        let of_stream = batch_bytes
            .max(self.room_bytes_min)
            .min(limits.stream_queue_bytes_max);
        let of_broker = (batch_bytes + REQUEST_OVERHEAD_BYTES).min(limits.queue_bytes_max);
        let (stream, broker) = (Arc::clone(&self.queue), Arc::clone(&self.broker.queue));
        let room = async move {
            // Semaphores that are never closed.
            [
                stream.acquire_many_owned(of_stream as u32).await.ok(),
                broker.acquire_many_owned(of_broker as u32).await.ok(),
            ]
        };
        self.keeping_time(room).await
    }

    /// Awaits `work` while deadlines of earlier requests go on.
    async fn keeping_time<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.deadlines.tick() => self.expire(),
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.pending.retain(|Pending { ticket, deadline }| {
            if now >= *deadline && ticket.claim() {
                let outcome = Err(WireError::new(
                    ErrorCode::TimedOut,
                    "the records were not stored in time; whether they will be is not known",
                ));
                self.answers.send(ticket, outcome);
            }
            !ticket.is_claimed()
        });
    }

    /// Waits until every request is answered, or out of time.
    async fn drain(&mut self) {
        let all = self.broker.config.limits.stream_queue_bytes_max as u32;
        let queue = Arc::clone(&self.queue);
        let drained = queue.acquire_many(all);
        tokio::pin!(drained);
        loop {
            tokio::select! {
                _ = &mut drained => return,
                () = self.answers.sender.closed() => return,
                _ = self.deadlines.tick() => {
                    self.expire();
                    if self.pending.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}

pub(super) const fn core_acks(acks: Acks) -> replica::Acks {
    match acks {
        Acks::None => replica::Acks::None,
        Acks::Leader => replica::Acks::Leader,
        Acks::All => replica::Acks::All,
    }
}

/// Everything that can be said of a request before it is queued.
pub(crate) fn check(
    broker: &Broker,
    partition: &crate::partition::Partition,
    request: &ProduceRequest,
) -> Result<Verified, WireError> {
    // First: whoever does not lead says so, and clients look for the leader, whose disk may have room.
    let standing = partition.check_leads(convert::known_epoch(request.leader_epoch)?)?;
    not_internal(&partition.topic_name)?;
    broker.space.check()?;
    let limits = Limits {
        batch_bytes_max: standing.max_batch_bytes,
        decompressed_bytes_max: broker.config.limits.decompressed_bytes_max,
    };
    verify(&request.batches, limits, standing.leader_epoch)
}

/// May clients write to the topic of this name?
///
/// # Errors
/// It is the cluster's own.
pub(super) fn not_internal(topic: &str) -> Result<(), WireError> {
    if !internal::is_internal(topic) {
        return Ok(());
    }
    Err(WireError::new(
        ErrorCode::InternalTopic,
        format!(
            "topic {topic} is the cluster's own: it can be read, and records go to a topic of yours"
        ),
    ))
}
