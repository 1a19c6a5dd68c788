//! The broker that coordinates a group: the leader of the partition of `__offsets` that the group's name, as a key, belongs to.

use std::{collections::BTreeSet, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};
use taffrail_api::{
    WireError,
    status::from_status,
    stream::Route,
    transport::{CALL_MESSAGE_BYTES_MAX, ROUTE_HEADER},
    v1::groups_client::GroupsClient,
};
use taffrail_core::{ErrorCode, PartitionIndex};
use taffrail_record::partitioner::partition_for_key;
use tokio::time::timeout;
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};

use crate::{
    client::Client,
    connections::{Connections, Reached},
    error::ClientError,
    metadata::{Leader, Metadata},
};

/// Holds members and committed offsets of all groups.
const OFFSETS: &str = "__offsets";

/// So often, two or three seconds long, a partition is waited for that nobody leads before the groups of the others are listed without its own.
const LEADERLESS_ATTEMPTS: u32 = 7;

/// What a coordinator answers.
type Answer<T> = Result<Response<T>, Status>;

impl Client {
    /// Where the group's coordinator is. `renew`: not where it was when somebody asked last.
    ///
    /// # Errors
    /// No broker answers; `__offsets` is not there yet, or nobody leads its partition just now: both retriable.
    pub(super) async fn coordinator(
        &self,
        group: &str,
        renew: bool,
    ) -> Result<Leader, ClientError> {
        let known = self.known();
        let metadata = if renew || known.topic(OFFSETS).is_none() {
            self.refresh(&[OFFSETS.to_owned()]).await?
        } else {
            known
        };
        leader(&metadata, partition(&metadata, group)?)
    }

    /// Asks the group's coordinator, until the call timeout is over.
    pub(crate) async fn ask_coordinator<R, T, F>(
        &self,
        group: &str,
        request: R,
        call: impl Fn(GroupsClient<Channel>, Request<R>) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        R: Clone + Send + Sync,
        T: Send,
        F: Future<Output = Answer<T>> + Send,
    {
        let (request, call) = (&request, &call);
        let once = |attempts| {
            let answer = async move {
                let leader = self.coordinator(group, attempts > 0).await?;
                let reached = reach(self.connections(), &leader, attempts).await?;
                self.ask_groups(&reached, request, call).await
            };
            answer.boxed()
        };
        self.with_retries("asking the group's coordinator", once)
            .await
    }

    /// Asks every broker that coordinates groups. Returns their answers, and the partitions that nobody leads for longer than it takes to elect somebody.
    pub(crate) async fn ask_coordinators<R, T, F>(
        &self,
        request: R,
        call: impl Fn(GroupsClient<Channel>, Request<R>) -> F + Send + Sync,
    ) -> Result<(Vec<T>, Vec<PartitionIndex>), ClientError>
    where
        R: Clone + Send + Sync,
        T: Send,
        F: Future<Output = Answer<T>> + Send,
    {
        let (request, call) = (&request, &call);
        let once = |attempts| self.ask_each(request, call, attempts).boxed();
        self.with_retries("asking all coordinators of groups", once)
            .await
    }

    async fn ask_each<R, T, F>(
        &self,
        request: &R,
        call: &(impl Fn(GroupsClient<Channel>, Request<R>) -> F + Send + Sync),
        attempts: u32,
    ) -> Result<(Vec<T>, Vec<PartitionIndex>), ClientError>
    where
        R: Clone + Send + Sync,
        T: Send,
        F: Future<Output = Answer<T>> + Send,
    {
        let metadata = self.refresh(&[OFFSETS.to_owned()]).await?;
        let count = partitions(&metadata)?;
        let mut asked = BTreeSet::new();
        let (mut answers, mut leaderless) = (Vec::new(), Vec::new());
        let mut through = None;
        for index in (0..count).map(PartitionIndex) {
            let leader = match leader(&metadata, index) {
                Ok(leader) => leader,
                Err(error) if attempts < LEADERLESS_ATTEMPTS => return Err(error),
                Err(_) => {
                    leaderless.push(index);
                    continue;
                }
            };
            if !asked.insert(leader.broker) {
                continue;
            }
            let reached = reach(self.connections(), &leader, attempts).await?;
            if reached.route == Route::Through {
                through = Some(reached);
                continue;
            }
            answers.push(self.ask_groups(&reached, request, call).await?);
        }
        // It asks all the others.
        if let Some(through) = through {
            answers.push(self.ask_groups(&through, request, call).await?);
        }
        Ok((answers, leaderless))
    }

    async fn ask_groups<R, T, F>(
        &self,
        reached: &Reached,
        request: &R,
        call: &(impl Fn(GroupsClient<Channel>, Request<R>) -> F + Send + Sync),
    ) -> Result<T, ClientError>
    where
        R: Clone,
        F: Future<Output = Answer<T>>,
    {
        let answered = call(groups(reached), routed(reached, request.clone())).await;
        answered.map(Response::into_inner).map_err(|status| {
            self.connections().forget(&reached.address);
            from_status(&status).into()
        })
    }

    async fn with_retries<'a, T>(
        &'a self,
        what: &'static str,
        once: impl Fn(u32) -> BoxFuture<'a, Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.config().call_timeout;
        let mut attempts = 0;
        let mut heard: Option<ClientError> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Half of what is left: there may be another coordinator by then.
            let error = match timeout(left / 2, once(attempts)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                // What was heard before says more; at the end there is little time for an answer.
                Err(_elapsed) => heard.take().unwrap_or_else(no_answer),
            };
            if !error.is_retriable() {
                return Err(error);
            }
            attempts += 1;
            self.pause(attempts, deadline, what, &error).await?;
            heard = Some(error);
        }
    }
}

fn no_answer() -> ClientError {
    WireError::new(ErrorCode::TimedOut, "no answer").into()
}

/// A way to the coordinator.
pub(super) async fn reach(
    connections: &Connections,
    leader: &Leader,
    attempts: u32,
) -> Result<Reached, ClientError> {
    connections.leader(&leader.address, attempts).await
}

pub(super) fn groups(reached: &Reached) -> GroupsClient<Channel> {
    GroupsClient::new(reached.channel.clone()).max_decoding_message_size(CALL_MESSAGE_BYTES_MAX)
}

/// Asks to be passed on to the coordinator where it cannot be reached from here.
pub(super) fn routed<R>(reached: &Reached, request: R) -> Request<R> {
    let mut request = Request::new(request);
    if reached.route == Route::Through {
        let value = MetadataValue::from_static("1");
        request.metadata_mut().insert(ROUTE_HEADER, value);
    }
    request
}

fn partition(metadata: &Metadata, group: &str) -> Result<PartitionIndex, ClientError> {
    Ok(partition_for_key(group.as_bytes(), partitions(metadata)?))
}

fn partitions(metadata: &Metadata) -> Result<u32, ClientError> {
    let topic = metadata.topic(OFFSETS).ok_or_else(|| {
        WireError::new(
            ErrorCode::NotCoordinator,
            "the cluster does not have the topic __offsets yet, which holds its groups: it is created a moment after the cluster has started",
        )
    })?;
    Ok(topic.partitions.len() as u32)
}

fn leader(metadata: &Metadata, partition: PartitionIndex) -> Result<Leader, ClientError> {
    let nobody = || {
        let why = format!(
            "{OFFSETS}/{partition}, where the group is kept, has no leader just now; see taffrail get partitions {OFFSETS} -o wide"
        );
        WireError::new(ErrorCode::PartitionOffline, why).into()
    };
    metadata.leader(OFFSETS, partition).ok_or_else(nobody)
}
