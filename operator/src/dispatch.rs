//! Brokers of several clusters dial one port: each call goes to the controller of the cluster that its authority names, as with virtual hosts.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::Request, http::Uri, response::Response};
use taffrail_api::{listen, status::to_status};
use taffrail_controller::{CONNECTIONS, server, standby};
use taffrail_core::ErrorCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::engines::{ClusterKey, Engines, Running};

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, engines: Arc<Engines>, stop: CancellationToken) {
    let app = Router::new().fallback(move |request: Request| {
        let engines = engines.clone();
        async move { dispatch(&engines, request).await }
    });
    let connections = listen::sessions(listener, CONNECTIONS);
    let served = server()
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the controller port ended");
    }
}

async fn dispatch(engines: &Engines, request: Request) -> Result<Response, Infallible> {
    let Ok(running) = running_for(engines, named_cluster(request.uri())) else {
        let message = "the call does not say which cluster it is for; set cluster = \"NAMESPACE/NAME\" in the broker's configuration";
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

/// `NAMESPACE.NAME`, without a port: an address that was dialled has one.
fn named_cluster(uri: &Uri) -> Option<ClusterKey> {
    let authority = uri
        .authority()
        .filter(|authority| authority.port().is_none())?;
    let (namespace, name) = authority.host().split_once('.')?;
    Some(ClusterKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Whoever names no cluster means the only one. A standby knows none: then no call is wrong, and none is answered.
fn running_for(engines: &Engines, named: Option<ClusterKey>) -> Result<Option<Running>, Ambiguous> {
    let key = match (named, engines.keys().as_slice()) {
        (Some(key), _) => key,
        (None, []) => return Ok(None),
        (None, [only]) => only.clone(),
        (None, _) => return Err(Ambiguous),
    };
    Ok(engines.get(&key).and_then(|engine| engine.running))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_standby_tells_brokers_that_it_is_not_active() {
        let engines = Engines::default();
        let request = Request::builder()
            .uri("http://streams.main/taffrail.v1.Admin/ListTopics")
            .body(Body::empty())
            .expect("valid");
        let Ok(response) = dispatch(&engines, request).await;
        assert_eq!(response.headers()["taffrail-error-code"], "NOT_ACTIVE");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_says_nothing_is_sent_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::new(Engines::default()), stop.clone()));
        let mut stranger = TcpStream::connect(address).await.expect("connects");
        let (minute, mut said) = (Duration::from_mins(1), Vec::new());
        let ended = timeout(minute, stranger.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "it is closed");
        stop.cancel();
        serving.await.expect("ends");
    }

    #[test]
    fn an_authority_names_a_cluster_unless_it_is_an_address() {
        let named =
            |uri: &str| named_cluster(&uri.parse().expect("a URI")).map(|key| key.to_string());
        assert_eq!(
            named("http://streams.main/x"),
            Some("streams/main".to_owned())
        );
        assert_eq!(
            named("http://streams.main.eu/x"),
            Some("streams/main.eu".to_owned())
        );
        assert_eq!(named("http://10.1.2.3:9642/x"), None);
        assert_eq!(named("/x"), None);
    }
}
