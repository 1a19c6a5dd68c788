//! Topics and their state: the active controller's business, to whom calls are passed on with their errors.

use std::sync::Arc;

use taffrail_api::{
    status::{from_status, to_status},
    transport,
    v1::{self, admin_client::AdminClient, admin_server::Admin},
};
use taffrail_core::ErrorCode;
use tonic::{Request, Response, Status, async_trait, transport::Channel};

use crate::broker::Broker;

/// Serves taffrail.v1.Admin.
#[derive(Debug, Clone)]
pub(super) struct AdminService {
    broker: Arc<Broker>,
}

impl AdminService {
    pub(super) const fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    fn controller(&self) -> Result<AdminClient<Channel>, Status> {
        self.broker.metrics.requests("admin").inc();
        let controller = self.broker.controller().inspect_err(|error| {
            self.broker.metrics.error("admin", error.code);
        })?;
        Ok(AdminClient::new(controller.channel)
            .max_decoding_message_size(transport::CALL_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX))
    }
}

#[async_trait]
impl Admin for AdminService {
    async fn apply_topic(
        &self,
        request: Request<v1::ApplyTopicRequest>,
    ) -> Result<Response<v1::ApplyTopicResponse>, Status> {
        self.controller()?
            .apply_topic(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.controller()?
            .delete_topic(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        self.controller()?
            .list_topics(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn list_partitions(
        &self,
        request: Request<v1::ListPartitionsRequest>,
    ) -> Result<Response<v1::ListPartitionsResponse>, Status> {
        self.controller()?
            .list_partitions(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn move_replicas(
        &self,
        request: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        self.controller()?
            .move_replicas(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn list_group_statuses(
        &self,
        request: Request<v1::ListGroupStatusesRequest>,
    ) -> Result<Response<v1::ListGroupStatusesResponse>, Status> {
        self.controller()?
            .list_group_statuses(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }

    async fn list_brokers(
        &self,
        request: Request<v1::ListBrokersRequest>,
    ) -> Result<Response<v1::ListBrokersResponse>, Status> {
        self.controller()?
            .list_brokers(request.into_inner())
            .await
            .map_err(|s| relayed(&s))
    }
}

/// The controller's own error; a broken connection to it is `CONTROLLER_UNAVAILABLE`, not some leader's fault.
fn relayed(status: &Status) -> Status {
    let error = from_status(status);
    if error.code == ErrorCode::LeaderUnreachable {
        return to_status(
            ErrorCode::ControllerUnavailable,
            format!("the active controller went away: {}", error.message),
        );
    }
    error.into()
}
