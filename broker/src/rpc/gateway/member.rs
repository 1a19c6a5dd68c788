//! Subscribe with a group: the broker is a member on behalf of a client that has nothing but generated stubs.

pub(crate) mod subscriptions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use taffrail_api::{
    WireError,
    convert::{offset_from_wire, offset_to_wire},
    v1::{self, SubscribeRequest, SubscribeResponse, subscribe_request},
};
use taffrail_client::{
    ClientError, ConsumedBatch, DeliveryMode, Group, GroupEvent, GroupPartition, Start,
};
use taffrail_core::{ErrorCode, MemberId, Offset, PartitionIndex};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::subscriptions::CommitRead;
use super::unpack::Unpack;
use crate::{broker::Broker, group::member_id};

const RECORDS_DEFAULT: usize = 500;
const RECORDS_MAX: usize = 10_000;
/// A client that takes its answers needs a moment for each.
const POLL_INTERVAL_MS_MIN: u32 = 1_000;
/// Answers that the client has not taken yet.
const ANSWERS_MAX: usize = 2;
/// Commits that wait to be heard.
const COMMITS_MAX: usize = 16;
/// How long a partition that goes to another member waits for what was sent of it to be committed.
const LAST_COMMITS: Duration = Duration::from_secs(5);
/// To say that it leaves: a coordinator that is stopping, too, is not waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// For a commit to be stored.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Joins, then streams until the client ends the call.
pub(super) async fn subscribe(
    broker: &Arc<Broker>,
    request: SubscribeRequest,
    subscription: v1::GroupSubscription,
) -> Result<BoxStream<'static, Result<SubscribeResponse, Status>>, WireError> {
    let start = check(&request)?;
    let poll_interval = poll_interval(subscription.poll_interval_ms)?;
    let client = broker.subscriptions.client().await.map_err(wire)?;
    let mut joining = client
        .group(subscription.group)
        .manual_unless_at_most_once();
    for topic in subscription.topics {
        joining = joining.topic(topic);
    }
    for pattern in subscription.patterns {
        joining = joining.pattern(pattern);
    }
    if !subscription.instance_id.is_empty() {
        joining = joining.instance_id(subscription.instance_id);
    }
    if subscription.session_timeout_ms > 0 {
        joining = joining.session_timeout(Duration::from_millis(
            subscription.session_timeout_ms.into(),
        ));
    }
    if let Some(interval) = poll_interval {
        joining = joining.poll_interval_max(interval);
    }
    let group = joining
        .client_name(subscription.client_name)
        .rack(subscription.rack)
        .start(start)
        .join()
        .await
        .map_err(wire)?;
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    let (farewell, last) = oneshot::channel();
    let (commits, asked) = mpsc::channel(COMMITS_MAX);
    let standing_in = StandingIn {
        broker: Arc::clone(broker),
        known_as: None,
        commits,
        asked,
        answers,
        records_max: match request.max_records {
            0 => RECORDS_DEFAULT,
            n => (n as usize).min(RECORDS_MAX),
        },
        sent: BTreeMap::new(),
        committed: BTreeMap::new(),
    };
    broker.streams.spawn(standing_in.run(group, farewell));
    let last = last
        .into_stream()
        .filter_map(async |said| Some(Err(said.ok()?)));
    Ok(ReceiverStream::new(stream).map(Ok).chain(last).boxed())
}

fn check(request: &SubscribeRequest) -> Result<Start, WireError> {
    if !request.topic.is_empty() || !request.partitions.is_empty() || request.until_end {
        return Err(WireError::invalid(
            "with a group, topics stand in `group`, and `topic`, `partitions` and `until_end` are left out: the group gives partitions out",
        ));
    }
    match request.start {
        None | Some(subscribe_request::Start::Earliest(_)) => Ok(Start::Earliest),
        Some(subscribe_request::Start::Latest(_)) => Ok(Start::Latest),
        Some(subscribe_request::Start::TimestampMs(ms)) => Ok(Start::Timestamp(ms)),
        Some(subscribe_request::Start::Offset(_)) => Err(WireError::invalid(
            "a group starts where it has committed; set offsets with ResetOffsets (taffrail groups reset)",
        )),
    }
}

/// `None`: as long as members wait by default.
fn poll_interval(ms: u32) -> Result<Option<Duration>, WireError> {
    match ms {
        0 => Ok(None),
        1..POLL_INTERVAL_MS_MIN => Err(WireError::invalid(format!(
            "poll_interval_ms is {ms}; it must be {POLL_INTERVAL_MS_MIN} at least, or 0 for the default"
        ))),
        ms => Ok(Some(Duration::from_millis(ms.into()))),
    }
}

/// How far a member has processed, to its subscription.
pub(super) async fn commit(
    broker: &Broker,
    request: v1::CommitReadRequest,
) -> Result<v1::CommitReadResponse, WireError> {
    let max = broker.config.limits.partitions_per_request_max;
    if request.positions.len() > max {
        return Err(WireError::invalid(format!(
            "more than {max} positions in one request"
        )));
    }
    let member = member_id(&request.member_id)?;
    let subscription = broker.subscriptions.of(member).ok_or_else(unknown)?;
    let (reply, answer) = oneshot::channel();
    let commit = CommitRead {
        positions: request.positions,
        reply,
    };
    let answered = async {
        subscription.send(commit).await.map_err(|_| unknown())?;
        answer.await.map_err(|_| unknown())
    };
    let refused = timeout(COMMIT_TIMEOUT, answered)
        .await
        .map_err(|_| late())??;
    Ok(v1::CommitReadResponse { refused })
}

/// A partition that waits for somebody to reset it, while the others go on.
fn stopped(error: &ClientError) -> Option<v1::SubscribedGap> {
    let (ClientError::GroupOutOfRange {
        topic,
        partition,
        offset,
        ..
    }
    | ClientError::Damaged {
        topic,
        partition,
        offset,
        ..
    }) = error
    else {
        return None;
    };
    Some(v1::SubscribedGap {
        topic: topic.clone(),
        partition: partition.0,
        wanted: offset_to_wire(*offset),
        resumed: None,
        error: Some(WireError::new(error.code(), error.to_string()).into()),
    })
}

/// A partition that goes on elsewhere, as the group's policy says.
fn went_on(partition: &GroupPartition, wanted: Offset, resumed: Offset) -> v1::SubscribedGap {
    let GroupPartition { topic, partition } = partition;
    let why = format!(
        "offset {wanted} of {topic}/{partition} is out of range, reading goes on at {resumed}"
    );
    v1::SubscribedGap {
        topic: topic.to_string(),
        partition: partition.0,
        wanted: offset_to_wire(wanted),
        resumed: Some(offset_to_wire(resumed)),
        error: Some(WireError::new(ErrorCode::OffsetOutOfRange, why).into()),
    }
}

/// A member on behalf of a client.
struct StandingIn {
    broker: Arc<Broker>,
    /// Under which name its commits come.
    known_as: Option<MemberId>,
    commits: mpsc::Sender<CommitRead>,
    asked: mpsc::Receiver<CommitRead>,
    answers: mpsc::Sender<SubscribeResponse>,
    records_max: usize,
    /// What the client was sent, and what it said that it has processed: the next record of each.
    sent: BTreeMap<GroupPartition, Offset>,
    committed: BTreeMap<GroupPartition, Offset>,
}

impl Drop for StandingIn {
    fn drop(&mut self) {
        if let Some(member) = self.known_as {
            self.broker.subscriptions.remove(member);
        }
    }
}

impl StandingIn {
    async fn run(mut self, mut group: Group, farewell: oneshot::Sender<Status>) {
        let draining = self.broker.draining.clone();
        let answers = self.answers.clone();
        let ended = tokio::select! {
            () = answers.closed() => None,
            () = draining.cancelled() => Some(Broker::shutting_down()),
            error = self.deliver(&mut group) => Some(error),
        };
        if let Some(error) = ended {
            self.broker.metrics.error("subscribe", error.code);
            // The client may be gone.
            let _ = farewell.send(error.into());
        }
        // It leaves at once: its client is gone, and others can go on. What is not committed is theirs.
        match timeout(LEAVE_TIMEOUT, group.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last commits of a member failed"),
            Err(_) => tracing::debug!("a member could not leave; its session ends by itself"),
        }
    }

    /// Why it ended.
    async fn deliver(&mut self, group: &mut Group) -> WireError {
        if let Err(error) = self.tell(group, Vec::new()).await {
            return error;
        }
        loop {
            let done = tokio::select! {
                Some(commit) = self.asked.recv() => {
                    self.take_commit(group, commit);
                    Ok(())
                }
                event = group.next() => match event {
                    Ok(event) => self.take(group, event).await,
                    Err(error) => match stopped(&error) {
                        Some(gap) => {
                            tracing::warn!(%error, "a partition of a group cannot be read on");
                            self.tell_gap(group, gap).await
                        }
                        None => Err(wire(error)),
                    },
                },
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    async fn take(&mut self, group: &mut Group, event: GroupEvent) -> Result<(), WireError> {
        match event {
            GroupEvent::Batch(batch) => self.send(group, &batch).await,
            GroupEvent::Revoked(partitions) => {
                self.tell(group, partitions.clone()).await?;
                self.last_commits(group, &partitions).await;
                Ok(())
            }
            GroupEvent::Assigned(_) | GroupEvent::Lost { .. } => self.tell(group, Vec::new()).await,
            GroupEvent::OutOfRange {
                partition,
                wanted,
                resumed,
            } => {
                self.tell_gap(group, went_on(&partition, wanted, resumed))
                    .await
            }
            GroupEvent::Started { .. } => Ok(()),
        }
    }

    /// What the member has from now on.
    async fn tell(
        &mut self,
        group: &mut Group,
        revoked: Vec<GroupPartition>,
    ) -> Result<(), WireError> {
        let member = group.member_id();
        if self.known_as != Some(member) {
            let before = self.known_as.replace(member);
            if let Some(before) = before {
                self.broker.subscriptions.remove(before);
            }
            self.broker
                .subscriptions
                .insert(member, self.commits.clone());
        }
        let mut partitions = group.partitions();
        partitions.retain(|partition| !revoked.contains(partition));
        let is_kept = |partition: &GroupPartition| {
            partitions.contains(partition) || revoked.contains(partition)
        };
        self.sent.retain(|partition, _| is_kept(partition));
        self.committed.retain(|partition, _| is_kept(partition));
        let named = |partition: &GroupPartition| v1::SubscribedPartition {
            topic: partition.topic.to_string(),
            partition: partition.partition.0,
        };
        let member = v1::SubscribedMember {
            member_id: Bytes::copy_from_slice(member.as_bytes()),
            partitions: partitions.iter().map(named).collect(),
            revoked: revoked.iter().map(named).collect(),
        };
        let slot = self.slot(group).await?;
        slot.send(SubscribeResponse {
            member: Some(member),
            ..SubscribeResponse::default()
        });
        Ok(())
    }

    /// A partition cannot be read where the group is.
    async fn tell_gap(
        &mut self,
        group: &mut Group,
        gap: v1::SubscribedGap,
    ) -> Result<(), WireError> {
        let slot = self.slot(group).await?;
        slot.send(SubscribeResponse {
            gap: Some(gap),
            ..SubscribeResponse::default()
        });
        Ok(())
    }

    /// Room for an answer. Commits are heard meanwhile: a client may commit before it reads on.
    async fn slot(
        &mut self,
        group: &mut Group,
    ) -> Result<mpsc::OwnedPermit<SubscribeResponse>, WireError> {
        let answers = self.answers.clone();
        let mut slot = std::pin::pin!(answers.reserve_owned());
        loop {
            tokio::select! {
                slot = &mut slot => return slot.map_err(|_| unknown()),
                Some(commit) = self.asked.recv() => self.take_commit(group, commit),
            }
        }
    }

    /// Sends the records of a batch. While the client does not take them, nothing of the batch is kept decompressed.
    async fn send(&mut self, group: &mut Group, batch: &ConsumedBatch) -> Result<(), WireError> {
        let compression = batch.header().attributes.compression();
        let partition = GroupPartition {
            topic: Arc::clone(batch.topic()),
            partition: batch.partition(),
        };
        if group.delivery() == DeliveryMode::AtMostOnce {
            // It is committed already, whatever the client says.
            self.committed
                .insert(partition.clone(), batch.next_offset());
        }
        self.sent.insert(partition, batch.next_offset());
        let mut from = batch.first_offset();
        while from < batch.next_offset() {
            let slot = self.slot(group).await?;
            let unpack = Unpack {
                topic: batch.topic().to_string(),
                partition: batch.partition().0,
                batch: batch.bytes().clone(),
                range: from..batch.next_offset(),
                records_max: self.records_max,
                bytes_max: self.broker.config.limits.decompressed_bytes_max,
                runtime: Handle::current(),
            };
            let decompressions = Arc::clone(&self.broker.decompressions);
            let unpacked = unpack.deliver(slot, compression, &decompressions).await?;
            from = unpacked.unwrap_or(batch.next_offset());
        }
        Ok(())
    }

    /// Waits until what was sent of these partitions is committed, for a while.
    async fn last_commits(&mut self, group: &mut Group, partitions: &[GroupPartition]) {
        let deadline = Instant::now() + LAST_COMMITS;
        loop {
            let is_committed = |p: &GroupPartition| {
                let sent = self.sent.get(p);
                sent.is_none() || self.committed.get(p) >= sent
            };
            if partitions.iter().all(is_committed) {
                return;
            }
            tokio::select! {
                () = sleep_until(deadline) => return,
                Some(commit) = self.asked.recv() => self.take_commit(group, commit),
            }
        }
    }

    /// Hands a commit on, and answers once it is stored.
    fn take_commit(&mut self, group: &mut Group, commit: CommitRead) {
        let CommitRead { positions, reply } = commit;
        let mut begun = Vec::with_capacity(positions.len());
        for position in positions {
            let outcome = self.begin(group, &position);
            begun.push((position, outcome));
        }
        self.broker.streams.spawn(async move {
            let mut refused = Vec::new();
            for (position, outcome) in begun {
                let stored = match outcome {
                    Ok(commit) => commit.await.map_err(wire),
                    Err(error) => Err(error),
                };
                if let Err(error) = stored {
                    refused.push(v1::RefusedPosition {
                        topic: position.topic,
                        partition: position.partition,
                        error: Some(error.into()),
                    });
                }
            }
            // Whoever asked may be gone.
            let _ = reply.send(refused);
        });
    }

    fn begin(
        &mut self,
        group: &mut Group,
        position: &v1::ReadPosition,
    ) -> Result<taffrail_client::Commit, WireError> {
        let (partition, next) = (
            PartitionIndex(position.partition),
            offset_from_wire(position.offset)?,
        );
        let commit = group
            .begin_commit_of(&position.topic, partition, next)
            .map_err(wire)?;
        let partition = GroupPartition {
            topic: position.topic.as_str().into(),
            partition,
        };
        let committed = self.committed.entry(partition).or_insert(next);
        *committed = match group.delivery() {
            DeliveryMode::AtMostOnce => next.max(*committed),
            _ => next,
        };
        Ok(commit)
    }
}

fn wire(error: ClientError) -> WireError {
    match error {
        ClientError::Refused(error) => error,
        other => WireError::new(other.code(), other.to_string()),
    }
}

fn unknown() -> WireError {
    WireError::new(
        ErrorCode::UnknownMember,
        "this broker has no subscription of this member: it ended, or is served by another broker; commit over the channel that the subscription uses, with the newest member_id",
    )
}

fn late() -> WireError {
    WireError::new(
        ErrorCode::TimedOut,
        "the positions were not stored in time; whether they will be is not known",
    )
}
