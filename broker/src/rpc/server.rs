//! The client port: accepts up to a limit, serves, drains.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use taffrail_api::{
    listen::{self, Gate, Guard, Limit},
    transport,
    v1::{self, admin_server::AdminServer, groups_server::GroupsServer},
};
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

use super::{
    admin::AdminService,
    gateway::GatewayService,
    groups::GroupsService,
    intake::{CountLayer, Intake, Share},
    service::BrokerService,
};
use crate::{broker::Broker, error::BrokerError};

/// A connection whose client has not sent the HTTP/2 preface by then is closed: it would take room for ever, as pings begin only after it.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
const PREFACE_BYTES: usize = 24;

/// Serves until the broker drains and every call has ended.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener) -> Result<(), BrokerError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in [
        "taffrail.v1.Broker",
        "taffrail.v1.Gateway",
        "taffrail.v1.Groups",
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
    let limit = Limit {
        connections_max: broker.config.limits.connections_max,
        what: "clients",
    };
    let clients = Clients {
        intake: Intake::new(&broker.config.limits, Arc::clone(&broker.metrics)),
        broker: Arc::clone(&broker),
    };
    let connections = listen::accept(listener, limit, clients);
    transport::server()
        .layer(CountLayer)
        .add_service(BrokerService::new(Arc::clone(&broker)))
        .add_service(GatewayService::new(Arc::clone(&broker)))
        .add_service(
            GroupsServer::new(GroupsService::new(Arc::clone(&broker)))
                .max_decoding_message_size(requests_max)
                .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX),
        )
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
                "taffrail.v1.Groups",
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

/// The client port: connections count, and each has a share of what may come in.
struct Clients {
    broker: Arc<Broker>,
    intake: Arc<Intake>,
}

impl Gate for Clients {
    type Guard = ClientGuard;

    fn accepted(&self) -> ClientGuard {
        let gauge = self.broker.metrics.connections.clone();
        gauge.inc();
        ClientGuard {
            preface: Some(Preface {
                received: 0,
                deadline: Box::pin(sleep(PREFACE_TIMEOUT)),
            }),
            share: self.intake.share(),
            gauge,
        }
    }

    fn refused(&self) {
        self.broker
            .metrics
            .error("connect", taffrail_core::ErrorCode::ResourceExhausted);
    }
}

/// Counts a connection, and ends it if no preface comes.
struct ClientGuard {
    /// Until it has come.
    preface: Option<Preface>,
    share: Share,
    gauge: prometheus_client::metrics::gauge::Gauge,
}

/// The first bytes of a connection, on their way.
struct Preface {
    received: usize,
    deadline: Pin<Box<Sleep>>,
}

impl ClientGuard {
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

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Guard for ClientGuard {
    type Info = Share;

    fn info(&self) -> Share {
        self.share.clone()
    }

    fn poll_read(
        &mut self,
        stream: Pin<&mut TcpStream>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = stream.poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        self.watch_preface(cx, read, bytes)
    }
}
