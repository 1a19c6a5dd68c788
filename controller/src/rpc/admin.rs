//! Topics and their state, as brokers forward the calls.

use bytes::Bytes;
use taffrail_api::{
    status::to_status,
    v1::{
        self, ApplyTopicRequest, ApplyTopicResponse, DeleteTopicRequest, DeleteTopicResponse,
        ListBrokersRequest, ListBrokersResponse, ListGroupStatusesRequest,
        ListGroupStatusesResponse, ListPartitionsRequest, ListPartitionsResponse,
        ListTopicsRequest, ListTopicsResponse, MoveReplicasRequest, MoveReplicasResponse,
        admin_server::Admin, move_replicas_request::What,
    },
};
use taffrail_core::{BrokerNumber, ErrorCode, TopicSpec, internal::is_internal};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    config::Mode,
    handle::ControllerHandle,
    request::{ApplyError, ApplyOutcome, MoveRequest, PlannedMove},
};

/// Serves the Admin service.
#[derive(Debug, Clone)]
pub struct AdminService {
    handle: ControllerHandle,
}

impl AdminService {
    pub(crate) const fn new(handle: ControllerHandle) -> Self {
        Self { handle }
    }

    /// Refuses what belongs to kubectl.
    fn owned_here(&self, kubectl: impl Fn(&str) -> String) -> Result<(), Status> {
        match &self.handle.mode {
            Mode::Embedded => Ok(()),
            Mode::Kubernetes { namespace } => Err(refusal(&ApplyError::ManagedByKubernetes {
                kubectl: kubectl(namespace),
            })),
        }
    }

    fn in_office(&self) -> Result<(), Status> {
        if self.handle.is_active() {
            Ok(())
        } else {
            Err(refusal(&ApplyError::NotActive))
        }
    }
}

#[async_trait]
impl Admin for AdminService {
    async fn apply_topic(
        &self,
        request: Request<ApplyTopicRequest>,
    ) -> Result<Response<ApplyTopicResponse>, Status> {
        let request = request.into_inner();
        if !request.dry_run {
            self.owned_here(|namespace| format!("kubectl apply -n {namespace} -f FILE"))?;
        }
        let spec = request.spec.ok_or_else(|| {
            to_status(
                ErrorCode::InvalidRequest,
                "spec is missing; send an empty one for the cluster's defaults",
            )
        })?;
        let spec = TopicSpec::try_from(spec)?;
        let applied = self
            .handle
            .apply_topic(&request.name, spec, request.dry_run)
            .await
            .map_err(|e| refusal(&e))?;
        let outcome = match applied.outcome {
            ApplyOutcome::Created => v1::ApplyOutcome::Created,
            ApplyOutcome::Configured => v1::ApplyOutcome::Configured,
            ApplyOutcome::Unchanged => v1::ApplyOutcome::Unchanged,
        };
        Ok(Response::new(ApplyTopicResponse {
            outcome: outcome.into(),
            topic_id: Bytes::copy_from_slice(applied.topic_id.as_bytes()),
            placement: (applied.placement.into_iter())
                .map(|(partition, replicas)| v1::PlacedPartition {
                    partition: partition.0,
                    replicas: replicas.into_iter().map(|broker| broker.0).collect(),
                })
                .collect(),
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        let name = request.into_inner().name;
        if is_internal(&name) {
            return Err(refusal(&ApplyError::InternalTopic { name }));
        }
        // The resource may be called otherwise than the topic; only a person can tell.
        self.owned_here(|namespace| format!("kubectl delete topic -n {namespace} {name}"))?;
        let deleted = self.handle.delete_topic_as_it_says(&name).await;
        Ok(Response::new(DeleteTopicResponse {
            data_deleted: deleted.map_err(|e| refusal(&e))?.data_deleted(),
        }))
    }

    async fn list_topics(
        &self,
        request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        self.in_office()?;
        let names = request.into_inner().names;
        let mut topics = self.handle.topics();
        topics.retain(|topic| names.is_empty() || names.contains(&topic.name));
        Ok(Response::new(ListTopicsResponse { topics }))
    }

    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        self.in_office()?;
        let partitions = self.handle.partitions(&request.into_inner().topics);
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    async fn move_replicas(
        &self,
        request: Request<MoveReplicasRequest>,
    ) -> Result<Response<MoveReplicasResponse>, Status> {
        let request = request.into_inner();
        let what = request.what.ok_or_else(|| {
            to_status(
                ErrorCode::InvalidRequest,
                "say what to move: to brokers, off a broker, balance or cancel",
            )
        })?;
        let moves = self
            .handle
            .move_replicas(read_move(what), request.dry_run)
            .await;
        let moves = moves.map_err(|e| refusal(&e))?.into_iter().map(write_move);
        Ok(Response::new(MoveReplicasResponse {
            moves: moves.collect(),
        }))
    }

    async fn list_group_statuses(
        &self,
        request: Request<ListGroupStatusesRequest>,
    ) -> Result<Response<ListGroupStatusesResponse>, Status> {
        self.in_office()?;
        let names = request.into_inner().groups;
        let groups = self.handle.groups();
        let wanted = |name: &String| names.is_empty() || names.contains(name);
        let groups = groups.iter().filter(|(name, _)| wanted(name));
        Ok(Response::new(ListGroupStatusesResponse {
            groups: groups.map(|(_, status)| status.clone()).collect(),
        }))
    }

    async fn list_brokers(
        &self,
        _: Request<ListBrokersRequest>,
    ) -> Result<Response<ListBrokersResponse>, Status> {
        self.in_office()?;
        Ok(Response::new(ListBrokersResponse {
            cluster_id: self.handle.cluster_id(),
            brokers: self.handle.brokers(),
        }))
    }
}

fn read_move(what: What) -> MoveRequest {
    match what {
        What::To(to) => MoveRequest::To {
            topic: to.topic,
            partition: to.partition,
            brokers: to.brokers.into_iter().map(BrokerNumber).collect(),
        },
        What::Off(broker) => MoveRequest::Off(BrokerNumber(broker)),
        What::Balance(v1::BalanceReplicas {}) => MoveRequest::Balance,
        What::Cancel(cancel) => MoveRequest::Cancel {
            topics: cancel.topics,
        },
    }
}

fn write_move(planned: PlannedMove) -> v1::ReplicaMove {
    let numbers = |brokers: Vec<BrokerNumber>| brokers.into_iter().map(|b| b.0).collect();
    v1::ReplicaMove {
        topic: planned.topic,
        partition: planned.partition,
        from: numbers(planned.from),
        to: numbers(planned.to),
        bytes: planned.bytes,
    }
}

fn refusal(error: &ApplyError) -> Status {
    to_status(error.code(), error.to_string())
}
