//! Plain records for thin clients: any broker takes them, routes to the leaders, batches and decodes.

mod codec;
mod member;
mod publish;
mod subscribe;
mod unpack;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{future::BoxFuture, stream::BoxStream};
use taffrail_api::{
    WireError, transport,
    v1::{
        self,
        gateway_server::{Gateway, GatewayServer},
    },
};
use taffrail_core::{ErrorCode, TopicId, TopicPartition};
use tonic::{Request, Response, Status, async_trait, body::Body, server::NamedService};
use tower::{Service, service_fn};

use self::codec::PublishCodec;
pub(crate) use self::member::subscriptions::Subscriptions;

use crate::{broker::Broker, cluster::view::Topic};

/// Serves taffrail.v1.Gateway: what tonic would, but Publish with a codec that counts before it allocates.
#[derive(Debug, Clone)]
pub(super) struct GatewayService {
    calls: Calls,
    rest: GatewayServer<Calls>,
}

impl GatewayService {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        let calls = Calls { broker };
        Self {
            rest: GatewayServer::new(calls.clone())
                .max_decoding_message_size(transport::REQUEST_BYTES_MAX)
                .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX),
            calls,
        }
    }
}

impl NamedService for GatewayService {
    const NAME: &'static str = "taffrail.v1.Gateway";
}

impl Service<http::Request<Body>> for GatewayService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != "/taffrail.v1.Gateway/Publish" {
            return self.rest.call(request);
        }
        let calls = self.calls.clone();
        Box::pin(async move {
            let records_max = calls.broker.config.limits.publish_records_max;
            let call = service_fn(|request| calls.publish(request));
            Ok(tonic::server::Grpc::new(PublishCodec { records_max })
                .max_decoding_message_size(transport::CALL_MESSAGE_BYTES_MAX)
                .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX)
                .unary(call, request)
                .await)
        })
    }
}

/// The calls themselves.
#[derive(Debug, Clone)]
struct Calls {
    broker: Arc<Broker>,
}

#[async_trait]
impl Gateway for Calls {
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
        let mut request = request.into_inner();
        let subscribed = match request.group.take() {
            Some(group) => member::subscribe(&self.broker, request, group).await,
            None => subscribe::subscribe(&self.broker, request).await,
        };
        match subscribed {
            Ok(records) => Ok(Response::new(records)),
            Err(error) => {
                self.broker.metrics.error("subscribe", error.code);
                Err(error.into())
            }
        }
    }

    async fn commit(
        &self,
        request: Request<v1::CommitReadRequest>,
    ) -> Result<Response<v1::CommitReadResponse>, Status> {
        self.broker.metrics.requests("commit_read").inc();
        match member::commit(&self.broker, request.into_inner()).await {
            Ok(response) => Ok(Response::new(response)),
            Err(error) => {
                self.broker.metrics.error("commit_read", error.code);
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
