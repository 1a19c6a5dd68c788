//! taffrail.v1.Broker by hand: what tonic would generate, but for Produce and Fetch, which do not go through its copying codec.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use taffrail_api::{status::to_status, transport};
use taffrail_core::ErrorCode;
use tonic::{body::Body, server::NamedService};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::{fetch, init_producer, metadata, offsets, produce, route_of};
use crate::broker::Broker;

/// Serves taffrail.v1.Broker.
#[derive(Debug, Clone)]
pub(super) struct BrokerService {
    broker: Arc<Broker>,
}

impl BrokerService {
    pub(super) const fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

impl NamedService for BrokerService {
    const NAME: &'static str = "taffrail.v1.Broker";
}

impl Service<Request<Body>> for BrokerService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let broker = Arc::clone(&self.broker);
        Box::pin(async move { Ok(dispatch(broker, request).await) })
    }
}

async fn dispatch(broker: Arc<Broker>, request: Request<Body>) -> Response<Body> {
    match request.uri().path() {
        "/taffrail.v1.Broker/Produce" => produce::serve(broker, request),
        "/taffrail.v1.Broker/Fetch" => fetch::serve(broker, request),
        "/taffrail.v1.Broker/GetMetadata" => {
            let call = service_fn(|r: tonic::Request<_>| {
                let metadata = metadata::get(&broker, &r.into_inner());
                std::future::ready(metadata.map(tonic::Response::new))
            });
            grpc().unary(call, request).await
        }
        "/taffrail.v1.Broker/InitProducer" => {
            let call = service_fn(|r: tonic::Request<_>| {
                let id = init_producer::init(&broker, r.into_inner());
                std::future::ready(Ok(tonic::Response::new(id)))
            });
            grpc().unary(call, request).await
        }
        "/taffrail.v1.Broker/WatchMetadata" => {
            let call = service_fn(|r: tonic::Request<_>| {
                let changes = metadata::watch(&broker, r.into_inner());
                std::future::ready(changes.map(tonic::Response::new))
            });
            grpc().server_streaming(call, request).await
        }
        "/taffrail.v1.Broker/ListOffsets" => {
            let route = route_of(request.headers());
            let call = service_fn(|r: tonic::Request<_>| {
                let broker = Arc::clone(&broker);
                async move {
                    offsets::list(&broker, r.into_inner(), route)
                        .await
                        .map(tonic::Response::new)
                }
            });
            grpc().unary(call, request).await
        }
        other => to_status(
            ErrorCode::UnsupportedVersion,
            format!("{other} is not known here; is the client newer than the broker?"),
        )
        .into_http(),
    }
}

/// The usual codec, with limits.
fn grpc<A, Q>() -> tonic::server::Grpc<ProstCodec<A, Q>>
where
    A: prost::Message + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
{
    tonic::server::Grpc::new(ProstCodec::default())
        .max_decoding_message_size(transport::REQUEST_BYTES_MAX)
        .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX)
}
