//! The port of `/metrics`, `/livez`, `/readyz` and `PUT /log-level`.

use std::sync::Arc;

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

use crate::{broker::Broker, error::BrokerError, metrics};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Site {
    broker: Arc<Broker>,
    registry: Arc<Registry>,
}

/// Serves until everything is stopped: also while the broker drains.
pub(crate) async fn serve(
    broker: Arc<Broker>,
    registry: Arc<Registry>,
    listener: TcpListener,
) -> Result<(), BrokerError> {
    let stopped = broker.stopped.clone();
    let site = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/log-level", put(set_log_level))
        .with_state(Site { broker, registry })
        .into_make_service_with_connect_info::<Peer>();
    axum::serve(BriefListener::new(listener), site)
        .with_graceful_shutdown(stopped.cancelled_owned())
        .await
        .map_err(|e| BrokerError::Serve(e.to_string()))
}

async fn show_metrics(State(site): State<Site>) -> Response {
    match metrics::render(&site.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readiness(State(site): State<Site>) -> (StatusCode, &'static str) {
    if site.broker.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if site.broker.disk.is_broken() {
        (StatusCode::SERVICE_UNAVAILABLE, "a disk thread panicked\n")
    } else if site.broker.membership.is_registered() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not registered with an active controller yet\n",
        )
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
    let Some(control) = &site.broker.environment.log_control else {
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
