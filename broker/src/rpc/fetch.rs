//! A fetch stream: each request is a long poll. Requests of one stream wait side by side.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream::FuturesUnordered,
};
use http::{Request, Response};
use prometheus_client::metrics::counter::Counter;
use taffrail_api::{
    WireError, convert,
    stream::{FetchFrame, FetchedChunks, FrameReader, Route, respond},
    transport,
    v1::{self, FetchRequest},
};
use taffrail_core::{BrokerNumber, ErrorCode, LeaderEpoch, Offset};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, body::Body};

use super::{intake::Share, route_of};
use crate::{
    broker::{Broker, Place},
    partition::Partition,
};

/// What a partition gets if the request does not say.
const PARTITION_BYTES_DEFAULT: usize = 1 << 20;
/// What one answer reads on the request's task before the rest goes to other threads: other requests wait meanwhile.
const READ_HERE_BYTES_MAX: usize = 1 << 20;

/// The call goes on until the client ends it.
pub(super) fn serve(broker: Arc<Broker>, request: Request<Body>) -> Response<Body> {
    let route = route_of(request.headers());
    let share = request.extensions().get::<Share>().cloned();
    respond(FetchStream {
        reader: FrameReader::requests(request.into_body(), transport::REQUEST_BYTES_MAX),
        share,
        waiting: FuturesUnordered::new(),
        draining: Box::pin(broker.draining.clone().cancelled_owned()),
        requests: broker.metrics.requests("fetch"),
        route,
        end: End::Open,
        broker,
    })
}

/// Polled by the connection itself: an answer is read from the log when there is room to send it.
struct FetchStream {
    broker: Arc<Broker>,
    route: Route,
    /// Of the connection.
    share: Option<Share>,
    reader: FrameReader<FetchRequest>,
    waiting: FuturesUnordered<BoxFuture<'static, FetchFrame>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    requests: Counter,
    end: End,
}

/// What becomes of the stream.
enum End {
    /// Requests are read.
    Open,
    /// No more requests are read. When all are answered, the stream ends, with a status if there is one.
    Near(Option<Status>),
}

impl FetchStream {
    fn read_requests(&mut self, cx: &mut Context<'_>) {
        let max = self.broker.config.limits.fetch_requests_max;
        while matches!(self.end, End::Open) && self.waiting.len() < max {
            match self.reader.poll_message(cx) {
                Poll::Ready(Ok(Some(request))) => {
                    self.requests.inc();
                    let broker = Arc::clone(&self.broker);
                    let route = self.route;
                    let share = self.share.clone();
                    let answer = async move { fetch_within(&broker, share, request, route).await };
                    self.waiting.push(answer.boxed());
                }
                Poll::Ready(Ok(None)) => self.end = End::Near(None),
                Poll::Ready(Err(status)) => self.end = End::Near(Some(status)),
                Poll::Pending => return,
            }
        }
    }
}

impl Stream for FetchStream {
    type Item = Result<FetchFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.read_requests(cx);
        if matches!(this.end, End::Open) && this.draining.poll_unpin(cx).is_ready() {
            this.end = End::Near(Some(Broker::shutting_down().into()));
        }
        match this.waiting.poll_next_unpin(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => match &mut this.end {
                End::Near(status) => Poll::Ready(status.take().map(Err)),
                End::Open => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

/// One partition of a request, on this broker.
struct Wanted {
    partition: Arc<Partition>,
    offset: Offset,
    epoch: Option<LeaderEpoch>,
    max_bytes: usize,
}

/// How long to wait, and for what.
#[derive(Clone, Copy)]
struct Terms {
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
}

/// Answers one request if not too many partitions are waited for on the connection.
async fn fetch_within(
    broker: &Arc<Broker>,
    share: Option<Share>,
    request: FetchRequest,
    route: Route,
) -> FetchFrame {
    let taken = share.map(|share| share.fetch(request.partitions.len()));
    match taken.transpose() {
        Ok(_permit) => fetch(broker, request, route).await,
        Err(error) => {
            broker.metrics.error("fetch", error.code);
            let first = request.partitions.first().map(|w| failure(w, error));
            FetchFrame {
                request_id: request.request_id,
                partitions: first.into_iter().collect(),
            }
        }
    }
}

/// Answers one request.
pub(super) async fn fetch(broker: &Arc<Broker>, request: FetchRequest, route: Route) -> FetchFrame {
    let started = Instant::now();
    let terms = terms(broker, &request, started);
    let request_id = request.request_id;
    let mut plan = plan(broker, request, route);
    if !plan.failed.is_empty() {
        // What went wrong is said at once, with whatever is there.
        plan.remote.clear();
    }
    let deadline = if plan.failed.is_empty() {
        terms.deadline
    } else {
        started
    };
    let terms = Terms { deadline, ..terms };
    let mut partitions = if plan.remote.is_empty() {
        local(broker, &plan.here, terms).await
    } else {
        everywhere(broker, plan.here, plan.remote, terms).await
    };
    partitions.append(&mut plan.failed);
    broker.metrics.fetched(started.elapsed());
    for error in partitions.iter().filter_map(|p| p.head.error.clone()) {
        broker.metrics.error("fetch", WireError::from(error).code);
    }
    FetchFrame {
        request_id,
        partitions,
    }
}

fn terms(broker: &Broker, request: &FetchRequest, started: Instant) -> Terms {
    let wait_ms = request
        .max_wait_ms
        .min(broker.config.limits.request_timeout_ms_max);
    let max_bytes = match request.max_bytes {
        0 => transport::FETCH_BYTES_MAX,
        bytes => (bytes as usize).min(transport::FETCH_BYTES_MAX),
    };
    Terms {
        min_bytes: (request.min_bytes.max(1) as usize).min(max_bytes),
        max_bytes,
        deadline: started + Duration::from_millis(u64::from(wait_ms)),
    }
}

/// Who serves what.
#[derive(Default)]
struct Plan {
    here: Vec<Wanted>,
    remote: Vec<(BrokerNumber, FetchRequest)>,
    failed: Vec<FetchedChunks>,
}

impl Plan {
    fn route(&mut self, leader: BrokerNumber, wanted: v1::FetchPartition, empty: &FetchRequest) {
        if let Some((_, request)) = self.remote.iter_mut().find(|(l, _)| *l == leader) {
            request.partitions.push(wanted);
        } else {
            let request = FetchRequest {
                partitions: vec![wanted],
                ..empty.clone()
            };
            self.remote.push((leader, request));
        }
    }
}

fn plan(broker: &Broker, request: FetchRequest, route: Route) -> Plan {
    let mut plan = Plan::default();
    let max = broker.config.limits.partitions_per_request_max;
    let too_many = request.partitions.len() > max;
    let empty = FetchRequest {
        partitions: Vec::new(),
        ..request
    };
    // One that names too many is told so once.
    let taken = if too_many { 1 } else { max };
    for wanted in request.partitions.into_iter().take(taken) {
        let placed = if too_many {
            Err(WireError::invalid(format!(
                "more than {max} partitions in one request; send several"
            )))
        } else {
            want(broker, &wanted, route)
        };
        match placed {
            Ok(Ok(here)) => plan.here.push(here),
            Ok(Err(leader)) => plan.route(leader, wanted, &empty),
            Err(error) => plan.failed.push(failure(&wanted, error)),
        }
    }
    plan
}

/// Here, or who else.
fn want(
    broker: &Broker,
    wanted: &v1::FetchPartition,
    route: Route,
) -> Result<Result<Wanted, BrokerNumber>, WireError> {
    let id = convert::topic_partition(&wanted.topic_id, wanted.partition)?;
    let offset = convert::offset_from_wire(wanted.offset)?;
    let epoch = convert::known_epoch(wanted.leader_epoch)?;
    Ok(match broker.place(id, route)? {
        Place::There(leader) => Err(leader),
        Place::Here(partition) => Ok(Wanted {
            partition,
            offset,
            epoch,
            max_bytes: match wanted.max_bytes {
                0 => PARTITION_BYTES_DEFAULT,
                bytes => bytes as usize,
            },
        }),
    })
}

/// Waits until one of the brokers has something; the others' answers count if they are there by then.
async fn everywhere(
    broker: &Arc<Broker>,
    here: Vec<Wanted>,
    remote: Vec<(BrokerNumber, FetchRequest)>,
    terms: Terms,
) -> Vec<FetchedChunks> {
    let mut parts: FuturesUnordered<BoxFuture<'_, Vec<FetchedChunks>>> = FuturesUnordered::new();
    if !here.is_empty() {
        parts.push(async move { local(broker, &here, terms).await }.boxed());
    }
    for (leader, request) in remote {
        parts.push(
            async move {
                let wanted = request.partitions.clone();
                match broker.peers.fetch(leader, request).await {
                    Ok(answer) => answer.partitions.into_iter().map(received).collect(),
                    Err(error) => wanted.iter().map(|w| failure(w, error.clone())).collect(),
                }
            }
            .boxed(),
        );
    }
    let mut all = Vec::new();
    while let Some(mut part) = parts.next().await {
        all.append(&mut part);
        if all
            .iter()
            .any(|p| p.head.error.is_some() || p.batch_bytes() > 0)
        {
            while let Some(Some(mut part)) = parts.next().now_or_never() {
                all.append(&mut part);
            }
            break;
        }
    }
    all
}

/// Waits until there are enough bytes on this broker, something is wrong, or the wait is over.
async fn local(broker: &Broker, wanted: &[Wanted], terms: Terms) -> Vec<FetchedChunks> {
    let first = collect(wanted, terms).await;
    if is_enough(&first, terms) {
        return first;
    }
    let waiter = Arc::new(Notify::new());
    loop {
        for want in wanted {
            want.partition.waiters.add(&waiter);
        }
        // Looked at again after the registration: what came in between woke nobody.
        let answer = collect(wanted, terms).await;
        if is_enough(&answer, terms) {
            return answer;
        }
        let over = tokio::select! {
            () = waiter.notified() => false,
            () = sleep_until(terms.deadline.into()) => true,
            () = broker.draining.cancelled() => true,
        };
        if over {
            return at_the_end(wanted, answer);
        }
    }
}

fn is_enough(answer: &[FetchedChunks], terms: Terms) -> bool {
    let bytes: usize = answer.iter().map(FetchedChunks::batch_bytes).sum();
    bytes >= terms.min_bytes || answer.iter().any(|p| p.head.error.is_some())
}

/// The wait is over: also those without records say where they are.
fn at_the_end(wanted: &[Wanted], mut answer: Vec<FetchedChunks>) -> Vec<FetchedChunks> {
    if answer.is_empty() {
        answer = wanted
            .iter()
            .map(|w| FetchedChunks {
                head: head(&w.partition),
                chunks: Vec::new(),
            })
            .collect();
    }
    answer
}

/// What is there now.
async fn collect(wanted: &[Wanted], terms: Terms) -> Vec<FetchedChunks> {
    let mut answer = Vec::new();
    let (mut left, mut read_bytes) = (terms.max_bytes, 0);
    for want in wanted {
        if left == 0 {
            break;
        }
        match read(want, left, read_bytes < READ_HERE_BYTES_MAX).await {
            Ok(None) => {}
            Ok(Some(fetched)) => {
                let bytes = fetched.batch_bytes();
                want.partition.metrics.fetch_bytes.inc_by(bytes as u64);
                left = left.saturating_sub(bytes);
                read_bytes += bytes;
                answer.push(fetched);
            }
            Err(error) => {
                let mut head = head(&want.partition);
                head.error = Some(error.into());
                answer.push(FetchedChunks {
                    head,
                    chunks: Vec::new(),
                });
            }
        }
    }
    answer
}

/// What is in the page cache is read at once if `here`; all else on a thread that may wait for the disk. To change threads twice costs more CPU than
/// to send the answer.
async fn read(want: &Wanted, left: usize, here: bool) -> Result<Option<FetchedChunks>, WireError> {
    let partition = &want.partition;
    partition.check_leads(want.epoch)?;
    if !partition.has_records_at(want.offset)? {
        return Ok(None);
    }
    let (offset, max_bytes) = (want.offset, want.max_bytes.min(left));
    // Taken before the records, so that it is never beyond what the client may know.
    let head = head(partition);
    let cached = if here {
        partition.read_cached(offset, max_bytes)?
    } else {
        None
    };
    let read = if let Some(cached) = cached {
        cached
    } else {
        let partition = Arc::clone(partition);
        spawn_blocking(move || partition.read(offset, max_bytes))
            .await
            .unwrap_or_else(|e| Err(WireError::new(ErrorCode::Internal, format!("reading: {e}"))))?
    };
    Ok((!read.chunks.is_empty()).then_some(FetchedChunks {
        head,
        chunks: read.chunks,
    }))
}

fn head(partition: &Partition) -> v1::FetchedPartition {
    v1::FetchedPartition {
        topic_id: crate::cluster::view::topic_id_bytes(partition.id.topic),
        partition: partition.id.partition.0,
        leader_epoch: convert::epoch_to_wire(partition.standing().leader_epoch),
        high_watermark: convert::offset_to_wire(partition.progress.high_watermark()),
        log_start_offset: convert::offset_to_wire(partition.progress.log_start()),
        ..v1::FetchedPartition::default()
    }
}

fn failure(wanted: &v1::FetchPartition, error: WireError) -> FetchedChunks {
    FetchedChunks {
        head: v1::FetchedPartition {
            topic_id: wanted.topic_id.clone(),
            partition: wanted.partition,
            leader_epoch: -1,
            high_watermark: -1,
            log_start_offset: -1,
            error: Some(error.into()),
            ..v1::FetchedPartition::default()
        },
        chunks: Vec::new(),
    }
}

fn received(mut head: v1::FetchedPartition) -> FetchedChunks {
    let batches = std::mem::take(&mut head.batches);
    FetchedChunks {
        head,
        chunks: if batches.is_empty() {
            Vec::new()
        } else {
            vec![batches]
        },
    }
}
