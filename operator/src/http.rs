//! /metrics, /livez, /readyz and PUT /log-level.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, put},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::logging::LogLevel;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) registry: Arc<Registry>,
    pub(crate) logs: LogLevel,
    /// True once the API server answered: a standby is ready too.
    pub(crate) ready: watch::Receiver<bool>,
}

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, http: Http, stop: CancellationToken) {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log-level", put(log_level))
        .with_state(http);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

async fn metrics(State(http): State<Http>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &http.registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(http): State<Http>) -> impl IntoResponse {
    if *http.ready.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not answered yet\n",
        )
    }
}

async fn log_level(State(http): State<Http>, directive: String) -> impl IntoResponse {
    match http.logs.set(directive.trim()) {
        Ok(()) => {
            tracing::info!(directive = directive.trim(), "log level changed");
            (StatusCode::OK, "ok\n".to_owned())
        }
        Err(error) => (
            StatusCode::BAD_REQUEST,
            format!("{error}; write a level such as info, or target=level pairs\n"),
        ),
    }
}
