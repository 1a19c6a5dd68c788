//! /metrics, /livez, /readyz and PUT /log-level.

use std::sync::Arc;

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, put},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use taffrail_api::listen::{BriefListener, Peer};
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
    let app = app(http).into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(BriefListener::new(listener), app)
        .with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

fn app(http: Http) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log-level", put(log_level))
        .with_state(http)
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

/// Only for who is in this pod: `kubectl port-forward` comes from there too.
async fn log_level(
    State(http): State<Http>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    directive: String,
) -> impl IntoResponse {
    if !peer.is_local() {
        let reason = "the log level changes only from the pod itself; use kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, reason.to_owned());
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{body::Body, extract::connect_info::MockConnectInfo, http::Request};
    use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{engines::Engines, metrics::Metrics};

    async fn answer(ready: bool, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        answer_to("127.0.0.1:5", ready, method, path, body).await
    }

    async fn answer_to(
        peer: &str,
        ready: bool,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, String) {
        let peer = Peer(peer.parse().expect("an address"));
        let (_ready, is_ready) = watch::channel(ready);
        let metrics = Metrics::default();
        metrics.reconciled("Topic", true);
        let http = Http {
            registry: Arc::new(metrics.registry(Arc::new(Engines::default()))),
            logs: LogLevel::detached(),
            ready: is_ready,
        };
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(body.to_owned())).expect("valid");
        let app = app(http).layer(MockConnectInfo(peer));
        let Ok(response) = app.oneshot(request).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (status, String::from_utf8(bytes.into()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn an_operator_is_ready_once_the_api_server_answered() {
        assert_eq!(
            answer(false, "GET", "/readyz", "").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(answer(true, "GET", "/readyz", "").await.0, StatusCode::OK);
        assert_eq!(answer(false, "GET", "/livez", "").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_log_level_that_makes_no_sense_is_refused_with_how_to_write_one() {
        let (status, said) = answer(true, "PUT", "/log-level", "=x=,").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(said.contains("such as info"), "{said}");
        assert_eq!(
            answer(true, "PUT", "/log-level", "taffrail_operator=debug,info")
                .await
                .0,
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn the_log_level_changes_only_from_the_pod_itself() {
        for (peer, status) in [
            ("10.0.0.7:5", StatusCode::FORBIDDEN),
            ("[::ffff:10.0.0.7]:5", StatusCode::FORBIDDEN),
            ("[::1]:5", StatusCode::OK),
            ("[::ffff:127.0.0.1]:5", StatusCode::OK),
        ] {
            let (got, said) = answer_to(peer, true, "PUT", "/log-level", "info").await;
            assert_eq!(got, status, "{peer}: {said}");
        }
        let probe = answer_to("10.0.0.7:5", true, "GET", "/livez", "").await;
        assert_eq!(probe.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_sent_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let (_ready, is_ready) = watch::channel(true);
        let http = Http {
            registry: Arc::new(Registry::default()),
            logs: LogLevel::detached(),
            ready: is_ready,
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, http, stop.clone()));
        let mut silent = TcpStream::connect(address).await.expect("connects");
        let (minute, mut said) = (Duration::from_mins(1), Vec::new());
        let ended = timeout(minute, silent.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "it is closed");
        stop.cancel();
        serving.await.expect("ends");
    }

    #[tokio::test]
    async fn metrics_have_their_documented_names() {
        let (_, text) = answer(true, "GET", "/metrics", "").await;
        for sample in [
            "taffrail_operator_active 0",
            r#"taffrail_operator_reconciles_total{kind="Topic",result="ok"} 1"#,
        ] {
            assert!(text.contains(sample), "{text}");
        }
    }
}
