//! Brokers of several clusters dial one port: each call goes to the controller of the cluster that its header names.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::Request, response::Response};
use taffrail_api::{status::to_status, transport};
use taffrail_controller::standby;
use taffrail_core::ErrorCode;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::engines::{ClusterKey, Engines, Running};

/// Names the caller's cluster as namespace/name. Without it the operator's only cluster is meant.
const CLUSTER_HEADER: &str = "taffrail-cluster";

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, engines: Arc<Engines>, stop: CancellationToken) {
    let app = Router::new().fallback(move |request: Request| {
        let engines = engines.clone();
        async move { dispatch(&engines, request).await }
    });
    let served = transport::server()
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the controller port ended");
    }
}

async fn dispatch(engines: &Engines, request: Request) -> Result<Response, Infallible> {
    let named = request
        .headers()
        .get(CLUSTER_HEADER)
        .and_then(|v| v.to_str().ok());
    let Ok(running) = running_for(engines, named) else {
        let message = "the call does not say which cluster it is for; set cluster: namespace/name in the broker's configuration";
        return Ok(to_status(ErrorCode::InvalidRequest, message).into_http::<Body>());
    };
    match running.filter(|running| running.handle.is_active()) {
        Some(running) => running.routes.oneshot(request).await,
        None if request.uri().path().starts_with("/taffrail.v1.Controller/") => {
            let standby = Routes::new(standby(String::new()));
            standby.into_axum_router().oneshot(request).await
        }
        None => {
            let message = "this operator is not the active controller of the cluster; ask again";
            Ok(to_status(ErrorCode::NotActive, message).into_http::<Body>())
        }
    }
}

struct Ambiguous;

/// A standby knows no clusters: then no call is wrong, and none is answered.
fn running_for(engines: &Engines, named: Option<&str>) -> Result<Option<Running>, Ambiguous> {
    let key = match named.map(|text| text.split_once('/')) {
        Some(Some((namespace, name))) => ClusterKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        Some(None) => return Err(Ambiguous),
        None => match engines.keys().as_slice() {
            [] => return Ok(None),
            [only] => only.clone(),
            _ => return Err(Ambiguous),
        },
    };
    Ok(engines.get(&key).and_then(|engine| engine.running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_standby_tells_brokers_that_it_is_not_active() {
        let engines = Engines::default();
        let request = Request::builder()
            .uri("/taffrail.v1.Admin/ListTopics")
            .header(CLUSTER_HEADER, "streams/main")
            .body(Body::empty())
            .expect("valid");
        let Ok(response) = dispatch(&engines, request).await;
        assert_eq!(response.headers()["taffrail-error-code"], "NOT_ACTIVE");
    }

    #[tokio::test]
    async fn a_call_for_half_a_name_is_told_what_to_set() {
        let engines = Engines::default();
        let request = Request::builder()
            .uri("/taffrail.v1.Admin/ListTopics")
            .header(CLUSTER_HEADER, "main")
            .body(Body::empty())
            .expect("valid");
        let Ok(response) = dispatch(&engines, request).await;
        assert_eq!(response.headers()["taffrail-error-code"], "INVALID_REQUEST");
    }
}
