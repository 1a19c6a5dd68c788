//! Records out: a loop of fetches, decoded.

mod patience;
mod positions;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use taffrail_api::{
    WireError, convert,
    stream::{FetchedChunks, Route},
    v1::{
        FetchPartition, FetchRequest, SubscribeRequest, SubscribeResponse, offset_query::Position,
        subscribe_request::Start,
    },
};
use taffrail_core::{ErrorCode, Offset, TopicId};
use taffrail_record::{BatchError, BatchHeader, split};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::patience::{Patience, is_exhausted};
use super::{find_topic, unpack::Unpack};
use crate::{broker::Broker, rpc::fetch::fetch};

const RECORDS_DEFAULT: usize = 500;
const RECORDS_MAX: usize = 10_000;
/// One wait at the tail. New partitions are found after it.
const WAIT_MS: u32 = 1_000;
/// One fetch: decoded records are held in memory.
const FETCH_BYTES: u32 = 1 << 20;
/// Answers that the client has not taken yet.
const ANSWERS_MAX: usize = 2;
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

type Answers = mpsc::Sender<SubscribeResponse>;

/// A subscription under way.
struct Subscription {
    broker: Arc<Broker>,
    topic_name: String,
    topic: TopicId,
    /// Empty: all.
    chosen: BTreeSet<u32>,
    start: Position,
    records_max: usize,
    next: BTreeMap<u32, Offset>,
    /// With `until_end`: where to stop.
    ends: Option<BTreeMap<u32, Offset>>,
}

/// Finds the positions, then streams until the client ends the call.
pub(super) async fn subscribe(
    broker: &Arc<Broker>,
    request: SubscribeRequest,
) -> Result<BoxStream<'static, Result<SubscribeResponse, Status>>, WireError> {
    let max = broker.config.limits.partitions_per_request_max;
    if request.partitions.len() > max {
        return Err(WireError::invalid(format!(
            "more than {max} partitions in one request; name none to get all"
        )));
    }
    let (topic, _, partitions) = find_topic(broker, &request.topic)?;
    let known: BTreeSet<u32> = partitions.iter().map(|id| id.partition.0).collect();
    let chosen: BTreeSet<u32> = request.partitions.into_iter().collect();
    if let Some(unknown) = chosen.difference(&known).next() {
        return Err(WireError::new(
            ErrorCode::UnknownPartition,
            format!(
                "there is no partition {unknown}, topic {} has {}",
                request.topic,
                partitions.len()
            ),
        ));
    }
    let mut subscription = Subscription {
        broker: Arc::clone(broker),
        topic_name: request.topic,
        topic,
        start: Position::Latest(true),
        records_max: match request.max_records {
            0 => RECORDS_DEFAULT,
            n => (n as usize).min(RECORDS_MAX),
        },
        chosen,
        next: BTreeMap::new(),
        ends: None,
    };
    let wanted = subscription.partitions()?;
    match request.start {
        Some(Start::Offset(offset)) => {
            let [partition] = wanted[..] else {
                return Err(WireError::invalid(
                    "a start offset needs exactly one partition; name it in partitions",
                ));
            };
            subscription
                .next
                .insert(partition, convert::offset_from_wire(offset)?);
        }
        Some(Start::Earliest(true)) => subscription.start = Position::Earliest(true),
        Some(Start::TimestampMs(ms)) => subscription.start = Position::TimestampMs(ms),
        _ => {}
    }
    subscription.find(&wanted).await?;
    // Partitions that are added later are read from their beginning.
    subscription.start = Position::Earliest(true);
    if request.until_end {
        subscription.ends = Some(
            subscription
                .offsets(&wanted, Position::Latest(true))
                .await?,
        );
    }
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    let (farewell, last) = oneshot::channel();
    broker.streams.spawn(subscription.run(answers, farewell));
    let last = last
        .into_stream()
        .filter_map(async |said| Some(Err(said.ok()?)));
    Ok(ReceiverStream::new(stream).map(Ok).chain(last).boxed())
}

impl Subscription {
    /// Says in `farewell` why it ended early: after all answers, and without waiting for a client that is slow to take them.
    async fn run(mut self, answers: Answers, farewell: oneshot::Sender<Status>) {
        let draining = self.broker.draining.clone();
        let error = tokio::select! {
            () = answers.closed() => return,
            () = draining.cancelled() => Broker::shutting_down(),
            outcome = self.deliver(&answers) => match outcome {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        self.broker.metrics.error("subscribe", error.code);
        // The client may be gone.
        let _ = farewell.send(error.into());
    }

    /// Until the ends are reached, or for ever.
    async fn deliver(&mut self, answers: &Answers) -> Result<(), WireError> {
        let mut patience = Patience::default();
        loop {
            // A fetch of a broker that drains waits for nothing: without this the loop would never give way.
            if self.broker.draining.is_cancelled() {
                return Err(Broker::shutting_down());
            }
            let wanted = match self.refresh().await {
                Ok(wanted) => wanted,
                Err(error) if error.retriable && error.code != ErrorCode::UnknownTopic => {
                    let refusal = is_exhausted(&error).then_some(error);
                    patience.bear(refusal, Instant::now())?;
                    sleep(RETRY_INTERVAL).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if wanted.is_empty() && self.ends.is_some() {
                return Ok(());
            }
            let request = FetchRequest {
                request_id: 0,
                partitions: wanted.iter().map(|p| self.fetch_partition(*p)).collect(),
                min_bytes: 1,
                max_wait_ms: WAIT_MS,
                max_bytes: FETCH_BYTES,
            };
            let fetched = fetch(&self.broker, request, Route::Through).await;
            let (mut retry, mut refusal) = (false, None);
            for partition in fetched.partitions {
                match partition.head.error.clone().map(WireError::from) {
                    Some(error) if error.retriable => {
                        retry = true;
                        refusal = refusal.or_else(|| is_exhausted(&error).then_some(error));
                    }
                    Some(error) => return Err(error),
                    None => self.decode(partition, answers).await?,
                }
            }
            patience.bear(refusal, Instant::now())?;
            if retry {
                sleep(RETRY_INTERVAL).await;
            }
        }
    }

    /// The partitions to fetch from, new ones included.
    async fn refresh(&mut self) -> Result<Vec<u32>, WireError> {
        let mut wanted = self.partitions()?;
        if let Some(ends) = &self.ends {
            wanted.retain(|p| {
                ends.get(p)
                    .is_some_and(|end| self.next.get(p).is_none_or(|next| next < end))
            });
        }
        let new: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|p| !self.next.contains_key(p))
            .collect();
        if !new.is_empty() {
            self.find(&new).await?;
        }
        // So that no partition is always the last one.
        if !wanted.is_empty() {
            let turn = (self.broker.environment.random)() % wanted.len() as u64;
            wanted.rotate_left(turn as usize);
        }
        Ok(wanted)
    }

    fn fetch_partition(&self, partition: u32) -> FetchPartition {
        let offset = self.next.get(&partition).copied().unwrap_or_default();
        FetchPartition {
            topic_id: Bytes::copy_from_slice(self.topic.as_bytes()),
            partition,
            leader_epoch: -1,
            offset: convert::offset_to_wire(offset),
            max_bytes: FETCH_BYTES,
        }
    }

    async fn decode(&mut self, fetched: FetchedChunks, answers: &Answers) -> Result<(), WireError> {
        let partition = fetched.head.partition;
        for chunk in fetched.chunks {
            for batch in split(&chunk) {
                let (header, batch) = batch.map_err(|e| corrupt(&e))?;
                self.unpack(partition, &header, batch, answers).await?;
                self.next.insert(partition, header.next_offset());
            }
        }
        Ok(())
    }

    /// Sends the records of a batch. While the client does not take them, nothing of the batch is kept decompressed.
    async fn unpack(
        &mut self,
        partition: u32,
        header: &BatchHeader,
        batch: Bytes,
        answers: &Answers,
    ) -> Result<(), WireError> {
        let compression = header.attributes.compression();
        let end = self.ends.as_ref().and_then(|ends| ends.get(&partition));
        let mut from = self.next.get(&partition).copied().unwrap_or_default();
        // Of what compaction took only the offsets are left.
        if header.record_count == 0 {
            return Ok(());
        }
        while from < header.next_offset() {
            let Ok(slot) = answers.clone().reserve_owned().await else {
                // The client is gone; the subscription ends by itself.
                return Ok(());
            };
            let unpack = Unpack {
                topic: String::new(),
                partition,
                batch: batch.clone(),
                range: from..end.copied().unwrap_or(Offset(u64::MAX)),
                records_max: self.records_max,
                bytes_max: self.broker.config.limits.decompressed_bytes_max,
                runtime: Handle::current(),
            };
            let decompressions = Arc::clone(&self.broker.decompressions);
            let unpacked = unpack.deliver(slot, compression, &decompressions).await?;
            from = unpacked.unwrap_or(header.next_offset());
        }
        Ok(())
    }
}

fn corrupt(error: &BatchError) -> WireError {
    WireError::new(error.code(), error.to_string())
}
