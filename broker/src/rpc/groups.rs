//! taffrail.v1.Groups: what is asked of coordinators, checked before they hear of it.

mod bounds;
mod check;
pub(crate) mod member;
mod pass_on;

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use futures::{future::try_join_all, stream::BoxStream};
use taffrail_api::{
    WireError,
    stream::Route,
    v1::{self, groups_client::GroupsClient, groups_server::Groups},
};
use taffrail_core::{BrokerNumber, ErrorCode, GroupEpoch};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Channel};

use self::{check::positions, pass_on::pass_on};
use crate::{
    broker::Broker,
    group::{
        Coordinators,
        event::{Ask, Event, Reply},
        limits::check_name,
        member_id,
    },
    rpc::route_of,
};

type Client = GroupsClient<Channel>;

/// A coordinator answers once what it wrote is stored; until then the call waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves taffrail.v1.Groups.
#[derive(Debug, Clone)]
pub(super) struct GroupsService {
    broker: Arc<Broker>,
}

impl GroupsService {
    pub(super) const fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    /// Who coordinates the group, if that is another broker and the caller asks to be routed to it.
    fn elsewhere<R>(&self, request: &Request<R>, group: &str) -> Option<BrokerNumber> {
        let route = route_of(request.metadata().as_ref());
        Coordinators::elsewhere(&self.broker, group, route)
    }

    /// Asks the coordinator of a group, and waits for its answer. What has to be known first is asked for where there is one.
    async fn ask<P, T>(
        &self,
        call: &'static str,
        group: String,
        first: impl Future<Output = Result<P, WireError>>,
        ask: impl FnOnce(P, Reply<T>) -> Ask,
    ) -> Result<T, Status> {
        self.broker.metrics.requests(call).inc();
        let asked = async {
            check_name(&group)?;
            let coordinator = self.broker.coordinators.of(&self.broker, &group)?;
            let first = first.await?;
            let (reply, answer) = oneshot::channel();
            let ask = ask(first, reply);
            let event = Event { group, ask };
            let answered = async {
                coordinator.send(event).await.map_err(|_| ended())?;
                answer.await.unwrap_or_else(|_| Err(ended()))
            };
            timeout(ANSWER_TIMEOUT, answered)
                .await
                .unwrap_or_else(|_| Err(late()))
        };
        asked.await.map_err(|error: WireError| {
            self.broker.metrics.error(call, error.code);
            error.into()
        })
    }

    /// The groups of all other coordinators.
    async fn listed_elsewhere(&self) -> Result<Vec<v1::GroupSummary>, WireError> {
        let others = Coordinators::others(&self.broker);
        let listed = others.into_iter().map(|there| {
            let ask = |mut groups: Client| async move {
                groups.list_groups(v1::ListGroupsRequest {}).await
            };
            pass_on(&self.broker, there, "list_groups", ask)
        });
        let listed = try_join_all(listed).await?;
        Ok(listed.into_iter().flat_map(|one| one.groups).collect())
    }
}

#[async_trait]
impl Groups for GroupsService {
    type JoinStream = BoxStream<'static, Result<v1::MemberResponse, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::MemberRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        self.broker.metrics.requests("join_group").inc();
        let route = route_of(request.metadata().as_ref());
        let responses = member::serve(&self.broker, route, request.into_inner());
        Ok(Response::new(responses))
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        if let Some(there) = self.elsewhere(&request, &request.get_ref().group) {
            let ask = |mut groups: Client| async move {
                groups.commit_offsets(request.into_inner()).await
            };
            self.broker.metrics.requests("commit_offsets").inc();
            let answer = pass_on(&self.broker, there, "commit_offsets", ask);
            return Ok(Response::new(answer.await?));
        }
        let v1::CommitOffsetsRequest {
            group,
            member_id: member,
            epoch,
            offsets,
        } = request.into_inner();
        let max = self.broker.config.limits.partitions_per_request_max;
        let first = async {
            let id = (!member.is_empty())
                .then(|| member_id(&member))
                .transpose()?;
            let member = id.map(|id| (id, GroupEpoch(epoch)));
            let positions = positions(offsets, max)?;
            let (positions, refused) = bounds::within_ends(&self.broker, positions).await;
            Ok((member, positions, refused))
        };
        let mut beyond = Vec::new();
        let ask = |(member, positions, refused), reply| {
            beyond = refused;
            Ask::Commit {
                member,
                positions,
                reply,
            }
        };
        let mut refused = self.ask("commit_offsets", group, first, ask).await?;
        refused.extend(beyond);
        Ok(Response::new(v1::CommitOffsetsResponse { refused }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.broker.metrics.requests("list_groups").inc();
        let mut groups = match route_of(request.metadata().as_ref()) {
            Route::Direct => Vec::new(),
            Route::Through => self.listed_elsewhere().await?,
        };
        for coordinator in self.broker.coordinators.all() {
            let (reply, answer) = oneshot::channel();
            let event = Event {
                group: String::new(),
                ask: Ask::List(reply),
            };
            let answered = async {
                coordinator.send(event).await.map_err(|_| ended())?;
                answer.await.unwrap_or_else(|_| Err(ended()))
            };
            let answered = timeout(ANSWER_TIMEOUT, answered).await;
            groups.extend(answered.unwrap_or_else(|_| Err(late()))?);
        }
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        if let Some(there) = self.elsewhere(&request, &request.get_ref().group) {
            let ask = |mut groups: Client| async move {
                groups.describe_group(request.into_inner()).await
            };
            self.broker.metrics.requests("describe_group").inc();
            let answer = pass_on(&self.broker, there, "describe_group", ask);
            return Ok(Response::new(answer.await?));
        }
        let group = request.into_inner().group;
        let ask = |(), reply| Ask::Describe(reply);
        let described = self.ask("describe_group", group, ready(Ok(())), ask);
        Ok(Response::new(described.await?))
    }

    async fn reset_offsets(
        &self,
        request: Request<v1::ResetOffsetsRequest>,
    ) -> Result<Response<v1::ResetOffsetsResponse>, Status> {
        if let Some(there) = self.elsewhere(&request, &request.get_ref().group) {
            let ask = |mut groups: Client| async move {
                groups.reset_offsets(request.into_inner()).await
            };
            self.broker.metrics.requests("reset_offsets").inc();
            let answer = pass_on(&self.broker, there, "reset_offsets", ask);
            return Ok(Response::new(answer.await?));
        }
        let v1::ResetOffsetsRequest { group, offsets } = request.into_inner();
        let max = self.broker.config.limits.partitions_per_request_max;
        let first = async {
            let positions = positions(offsets, max)?;
            bounds::check_all(&self.broker, &positions).await?;
            Ok(positions)
        };
        let ask = |positions, reply| Ask::Reset { positions, reply };
        self.ask("reset_offsets", group, first, ask).await?;
        Ok(Response::new(v1::ResetOffsetsResponse {}))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        if let Some(there) = self.elsewhere(&request, &request.get_ref().group) {
            let ask =
                |mut groups: Client| async move { groups.delete_group(request.into_inner()).await };
            self.broker.metrics.requests("delete_group").inc();
            let answer = pass_on(&self.broker, there, "delete_group", ask);
            return Ok(Response::new(answer.await?));
        }
        let group = request.into_inner().group;
        let ask = |(), reply| Ask::Delete(reply);
        self.ask("delete_group", group, ready(Ok(())), ask).await?;
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }
}

/// The coordinator ended before it answered.
fn ended() -> WireError {
    WireError::new(
        ErrorCode::NotCoordinator,
        "this broker does not coordinate the group any more; refresh the metadata and retry",
    )
}

fn late() -> WireError {
    WireError::new(
        ErrorCode::TimedOut,
        "the coordinator did not answer in time: the in-sync replicas may be slow; what was asked may still be done",
    )
}
