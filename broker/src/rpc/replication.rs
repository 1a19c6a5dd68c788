//! The replication port: brokers that follow this one.
//!
//! ```text
//! hello            whom a session is with
//! sessions         one for each follower
//! session          the task of a session: owner of the logs, reads and network around the state machine
//! leader_session   the state machine: positions in, what to check, read and answer out
//! logs             what it has to know of this broker's logs, and reading them
//! ```

mod hello;
mod leader_session;
mod logs;
mod session;
mod sessions;
#[cfg(feature = "sim")]
pub(crate) mod stepped;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{Ready, ready};
use http::{Request, Response};
use taffrail_api::{
    listen::{self, Limit},
    status::to_status,
    transport,
};
use taffrail_core::ErrorCode;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::TaskTracker;
use tonic::{body::Body, server::NamedService};
use tower::Service;

pub(crate) use self::hello::VERSIONS;
use self::sessions::Sessions;
use crate::{broker::Broker, error::BrokerError};

/// Followers send positions only. Larger windows would be memory that strangers can make this broker hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
const STREAMS_PER_CONNECTION_MAX: u32 = 2;
/// For a peer that does not read any more when this broker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until everything ends: followers may need what is written while the broker drains.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener) -> Result<(), BrokerError> {
    let tasks = TaskTracker::new();
    let service = ReplicationService {
        sessions: Arc::new(Sessions::new(broker.metrics.sessions("leader"))),
        tasks: tasks.clone(),
        broker: Arc::clone(&broker),
    };
    let limit = Limit {
        connections_max: broker.config.replication.connections_max,
        what: "replication",
    };
    let connections = listen::sessions(listener, limit);
    let server = transport::server()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(connections, broker.stopped.cancelled());
    let outcome = tokio::select! {
        ended = server => ended.map_err(|e| BrokerError::Serve(e.to_string())),
        () = async {
            broker.stopped.cancelled().await;
            sleep(STOP_TIMEOUT).await;
        } => Ok(()),
    };
    tasks.close();
    tasks.wait().await;
    outcome
}

/// taffrail.v1.Replication by hand: its answers do not go through tonic's copying codec.
#[derive(Debug, Clone)]
struct ReplicationService {
    broker: Arc<Broker>,
    sessions: Arc<Sessions>,
    /// One for each call.
    tasks: TaskTracker,
}

impl NamedService for ReplicationService {
    const NAME: &'static str = "taffrail.v1.Replication";
}

impl Service<Request<Body>> for ReplicationService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = match request.uri().path() {
            "/taffrail.v1.Replication/Session" => {
                let (broker, sessions) = (Arc::clone(&self.broker), Arc::clone(&self.sessions));
                session::serve(broker, sessions, &self.tasks, request)
            }
            other => to_status(
                ErrorCode::UnsupportedVersion,
                format!("{other} is not known here; is the follower newer than this broker?"),
            )
            .into_http(),
        };
        ready(Ok(response))
    }
}

#[cfg(test)]
mod tests;
