//! The client port: accepts up to a limit, serves, drains.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use taffrail_api::{
    transport,
    v1::{self, admin_server::AdminServer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::{
    admin::AdminService,
    gateway::GatewayService,
    intake::{CountLayer, Intake, Share},
    service::BrokerService,
};
use crate::{broker::Broker, error::BrokerError};

/// The process is out of file descriptors or memory: give it a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection whose client has not sent the HTTP/2 preface by then is closed: it would take room for ever, as pings begin only after it.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
const PREFACE_BYTES: usize = 24;

/// Serves until the broker drains and every call has ended.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener) -> Result<(), BrokerError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in [
        "taffrail.v1.Broker",
        "taffrail.v1.Gateway",
        "taffrail.v1.Admin",
    ] {
        health
            .set_service_status(service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let unbuilt = |e: tonic_reflection::server::Error| BrokerError::Serve(e.to_string());
    let reflection_v1 = reflection().build_v1().map_err(unbuilt)?;
    // What stock clients in Python and older tools ask.
    let reflection_v1alpha = reflection().build_v1alpha().map_err(unbuilt)?;
    let requests_max = transport::REQUEST_BYTES_MAX;
    let draining = broker.draining.clone();
    let connections = accept(Arc::clone(&broker), listener);
    transport::server()
        .layer(CountLayer)
        .add_service(BrokerService::new(Arc::clone(&broker)))
        .add_service(GatewayService::new(Arc::clone(&broker)))
        .add_service(
            AdminServer::new(AdminService::new(broker))
                .max_decoding_message_size(requests_max)
                .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX),
        )
        .add_service(health_service.max_decoding_message_size(requests_max))
        .add_service(reflection_v1.max_decoding_message_size(requests_max))
        .add_service(reflection_v1alpha.max_decoding_message_size(requests_max))
        .serve_with_incoming_shutdown(connections, async move {
            draining.cancelled().await;
            for service in [
                "",
                "taffrail.v1.Broker",
                "taffrail.v1.Gateway",
                "taffrail.v1.Admin",
            ] {
                health
                    .set_service_status(service, tonic_health::ServingStatus::NotServing)
                    .await;
            }
        })
        .await
        .map_err(|e| BrokerError::Serve(e.to_string()))
}

fn accept(
    broker: Arc<Broker>,
    listener: TcpListener,
) -> impl Stream<Item = io::Result<Connection>> {
    let max = broker.config.limits.connections_max;
    let room = Arc::new(Semaphore::new(max));
    let intake = Intake::new(&broker.config.limits, Arc::clone(&broker.metrics));
    stream::unfold(
        (broker, listener, room, intake),
        move |(broker, listener, room, intake)| async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                    broker
                        .metrics
                        .error("connect", taffrail_core::ErrorCode::ResourceExhausted);
                    tracing::warn!(
                        connections_max = max,
                        "refused a connection: there are too many"
                    );
                    continue;
                };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection went away while it was accepted");
                    continue;
                }
                let gauge = broker.metrics.connections.clone();
                gauge.inc();
                let connection = Connection {
                    stream,
                    preface: Some(Preface {
                        received: 0,
                        deadline: Box::pin(sleep(PREFACE_TIMEOUT)),
                    }),
                    share: intake.share(),
                    gauge,
                    _permit: permit,
                };
                return Some((Ok(connection), (broker, listener, room, intake)));
            }
        },
    )
}

/// A connection that counts.
struct Connection {
    stream: TcpStream,
    /// Until it has come.
    preface: Option<Preface>,
    share: Share,
    gauge: prometheus_client::metrics::gauge::Gauge,
    _permit: OwnedSemaphorePermit,
}

/// The first bytes of a connection, on their way.
struct Preface {
    received: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    /// What a read, which came to `read` and gave `bytes`, means for the wait for the preface.
    fn watch_preface(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        let Some(preface) = &mut self.preface else {
            return read;
        };
        preface.received += bytes;
        if preface.received >= PREFACE_BYTES {
            self.preface = None;
        } else if read.is_pending() && preface.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = Share;

    fn connect_info(&self) -> Share {
        self.share.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        self.watch_preface(cx, read, bytes)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    /// Without this h2 would copy every batch.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
