//! Plain records for thin clients: any broker takes them, routes to the leaders, batches and decodes.

mod publish;
mod subscribe;

use std::sync::Arc;

use futures::stream::BoxStream;
use taffrail_api::{
    WireError,
    v1::{self, gateway_server::Gateway},
};
use taffrail_core::{ErrorCode, TopicId, TopicPartition};
use tonic::{Request, Response, Status, async_trait};

use crate::{broker::Broker, cluster::view::Topic};

/// Serves taffrail.v1.Gateway.
#[derive(Debug, Clone)]
pub(super) struct GatewayService {
    broker: Arc<Broker>,
}

impl GatewayService {
    pub(super) const fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl Gateway for GatewayService {
    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        self.broker.metrics.requests("publish").inc();
        match publish::publish(&self.broker, request.into_inner()).await {
            Ok(response) => Ok(Response::new(response)),
            Err(error) => {
                self.broker.metrics.error("publish", error.code);
                Err(error.into())
            }
        }
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.broker.metrics.requests("subscribe").inc();
        match subscribe::subscribe(&self.broker, request.into_inner()).await {
            Ok(records) => Ok(Response::new(records)),
            Err(error) => {
                self.broker.metrics.error("subscribe", error.code);
                Err(error.into())
            }
        }
    }
}

/// A topic by its name.
fn find_topic(
    broker: &Broker,
    name: &str,
) -> Result<(TopicId, Topic, Vec<TopicPartition>), WireError> {
    let known = broker.known.borrow();
    let (id, topic) = known.view.topic_named(name).ok_or_else(|| {
        WireError::new(
            ErrorCode::UnknownTopic,
            format!(
                "there is no topic {name:?}; create it first, or retry if it was created just now"
            ),
        )
    })?;
    let partitions = known.view.partitions_of(id).map(|(id, _)| id).collect();
    Ok((id, topic.clone(), partitions))
}
