//! Topics and their state, as brokers forward the calls.

use bytes::Bytes;
use taffrail_api::{
    status::to_status,
    v1::{
        self, ApplyTopicRequest, ApplyTopicResponse, DeleteTopicRequest, DeleteTopicResponse,
        ListBrokersRequest, ListBrokersResponse, ListPartitionsRequest, ListPartitionsResponse,
        ListTopicsRequest, ListTopicsResponse, admin_server::Admin,
    },
};
use taffrail_core::{ErrorCode, TopicSpec};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    config::Mode,
    handle::ControllerHandle,
    request::{ApplyError, ApplyOutcome},
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
        self.owned_here(|namespace| format!("kubectl apply -n {namespace} -f FILE"))?;
        let request = request.into_inner();
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
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        let name = request.into_inner().name;
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

fn refusal(error: &ApplyError) -> Status {
    to_status(error.code(), error.to_string())
}
