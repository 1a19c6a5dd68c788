//! The calls, from both ends.

use futures::{Stream, StreamExt as _};
use http::{HeaderValue, Request, Response, header};
use prost::Message;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use super::{body::GatherBody, gather::Gather, reader::FrameReader};
use crate::{transport, v1};

const PRODUCE_PATH: &str = "/taffrail.v1.Broker/Produce";
const FETCH_PATH: &str = "/taffrail.v1.Broker/Fetch";
const REPLICATION_PATH: &str = "/taffrail.v1.Replication/Session";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Who shall answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// The broker that is called, which has to lead the partitions.
    #[default]
    Direct,
    /// The leader, through the broker that is called.
    Through,
}

/// Opens a produce stream: requests go out as they come, answers are read from what is returned.
///
/// # Errors
/// The broker cannot be reached, or refused the call.
pub async fn produce<S>(
    channel: Channel,
    route: Route,
    requests: S,
) -> Result<FrameReader<v1::ProduceResponse>, Status>
where
    S: Stream<Item = v1::ProduceRequest> + Send + Unpin + 'static,
{
    let max = transport::DATA_MESSAGE_BYTES_MAX;
    call(channel, PRODUCE_PATH, route, requests, max).await
}

/// Opens a fetch stream: as [`produce`].
///
/// # Errors
/// As [`produce`].
pub async fn fetch<S>(
    channel: Channel,
    route: Route,
    requests: S,
) -> Result<FrameReader<v1::FetchResponse>, Status>
where
    S: Stream<Item = v1::FetchRequest> + Send + Unpin + 'static,
{
    let max = transport::FETCH_MESSAGE_BYTES_MAX;
    call(channel, FETCH_PATH, route, requests, max).await
}

/// Opens a session with a leader: as [`produce`].
///
/// # Errors
/// As [`produce`].
pub async fn replicate<S>(
    channel: Channel,
    messages: S,
) -> Result<FrameReader<v1::LeaderMessage>, Status>
where
    S: Stream<Item = v1::FollowerMessage> + Send + Unpin + 'static,
{
    let max = transport::LEADER_MESSAGE_BYTES_MAX;
    call(channel, REPLICATION_PATH, Route::Direct, messages, max).await
}

/// A server's answer: the head at once, then messages as they come, the status at the end.
pub fn respond<S, G>(messages: S) -> Response<Body>
where
    S: Stream<Item = Result<G, Status>> + Send + Unpin + 'static,
    G: Gather + 'static,
{
    let mut response = Response::new(Body::new(GatherBody::response(messages)));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

async fn call<S, G, M>(
    mut channel: Channel,
    path: &'static str,
    route: Route,
    requests: S,
    message_bytes_max: usize,
) -> Result<FrameReader<M>, Status>
where
    S: Stream<Item = G> + Send + Unpin + 'static,
    G: Gather + 'static,
    M: Message + Default,
{
    let body = Body::new(GatherBody::request(requests.map(Ok)));
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if route == Route::Through {
        headers.insert(transport::ROUTE_HEADER, HeaderValue::from_static("1"));
    }
    let response = channel
        .ready()
        .await
        .map_err(broken)?
        .call(request)
        .await
        .map_err(broken)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    if response.status() != http::StatusCode::OK {
        return Err(Status::unavailable(format!(
            "the address answered HTTP {}: is it the right port of a broker?",
            response.status()
        )));
    }
    Ok(FrameReader::responses(
        response.into_body(),
        message_bytes_max,
    ))
}

fn broken(error: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(error))
}
