//! The port of `/metrics`, `/livez`, `/readyz` and `PUT /log-level`.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use prometheus_client::registry::Registry;
use taffrail_api::listen::{BriefListener, Peer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::Broker,
    error::BrokerError,
    logging::LogControl,
    metrics::{self, Metrics},
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the port tells of: a process from its first moment on, and a broker once its logs are open.
#[derive(Clone)]
pub(crate) struct Site {
    log_control: Option<LogControl>,
    /// Without what the logs are asked for.
    early: Arc<Registry>,
    opened: Arc<OnceLock<Opened>>,
}

struct Opened {
    broker: Arc<Broker>,
    registry: Arc<Registry>,
}

impl Site {
    pub(crate) fn new(metrics: &Metrics, log_control: Option<LogControl>) -> Self {
        let mut early = Registry::default();
        metrics.register(&mut early);
        Self {
            log_control,
            early: Arc::new(early),
            opened: Arc::default(),
        }
    }

    /// The logs are open. Without effect the second time.
    pub(crate) fn open(&self, broker: Arc<Broker>, registry: Arc<Registry>) {
        self.opened.get_or_init(|| Opened { broker, registry });
    }

    fn registry(&self) -> &Arc<Registry> {
        let opened = self.opened.get();
        opened.map_or(&self.early, |opened| &opened.registry)
    }
}

/// Serves until everything is stopped: while logs are opened, which may take longer than probes wait, and while the broker drains.
pub(crate) async fn serve(
    site: Site,
    listener: TcpListener,
    stopped: CancellationToken,
) -> Result<(), BrokerError> {
    let site = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/log-level", put(set_log_level))
        .with_state(site)
        .into_make_service_with_connect_info::<Peer>();
    axum::serve(BriefListener::new(listener), site)
        .with_graceful_shutdown(stopped.cancelled_owned())
        .await
        .map_err(|e| BrokerError::Serve(e.to_string()))
}

async fn show_metrics(State(site): State<Site>) -> Response {
    match metrics::render(site.registry()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readiness(State(site): State<Site>) -> (StatusCode, &'static str) {
    match site.opened.get().map_or(Some("recovering\n"), unready) {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        None => (StatusCode::OK, "ok\n"),
    }
}

fn unready(Opened { broker, .. }: &Opened) -> Option<&'static str> {
    if broker.draining.is_cancelled() {
        Some("stopping\n")
    } else if broker.disk.is_broken() {
        Some("a disk thread panicked\n")
    } else if broker.membership.is_registered() {
        None
    } else {
        Some("not registered with an active controller yet\n")
    }
}

/// Only for who is on this machine, or in this pod: `kubectl port-forward` comes from there too.
async fn set_log_level(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    directives: String,
) -> (StatusCode, String) {
    if !peer.is_local() {
        return (
            StatusCode::FORBIDDEN,
            "the log level changes only from the machine or pod itself; use kubectl port-forward\n"
                .to_owned(),
        );
    }
    let Some(control) = &site.log_control else {
        return (
            StatusCode::NOT_IMPLEMENTED,
            "this process does not let its log level change\n".to_owned(),
        );
    };
    match control.set(&directives) {
        Ok(()) => {
            tracing::info!(directives = directives.trim(), "log level changed");
            (StatusCode::OK, "ok\n".to_owned())
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")),
    }
}
