//! The whole operator: ports first, then the Lease, then, while it is held, the work.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    active,
    config::OperatorConfig,
    dispatch,
    engines::Engines,
    error::OperatorError,
    http::{self, Http},
    lease::LeaseLoop,
    logging::LogLevel,
    metrics::Metrics,
};

/// What is left of sessions after this is cut off.
const DRAIN: Duration = Duration::from_secs(10);
/// A term that does not end in this time never will: the process has to.
const TERM_END: Duration = Duration::from_secs(20);
/// Before a term that could not begin is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Serves its ports and, while it is the active one, runs every cluster, until `shutdown` resolves.
///
/// # Errors
/// A port is taken, or what was begun does not end.
pub async fn run(
    config: OperatorConfig,
    client: Client,
    logs: LogLevel,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), OperatorError> {
    let controller_port = listen(config.controller_listen).await?;
    let http_port = listen(config.http_listen).await?;
    tracing::info!(
        controller = %config.controller_listen,
        http = %config.http_listen,
        identity = config.identity,
        "operator started"
    );
    let engines = Arc::new(Engines::default());
    let metrics = Metrics::default();
    let (active, is_active) = watch::channel(false);
    let (reached, is_reached) = watch::channel(false);
    let stop_work = CancellationToken::new();
    let stop_ports = CancellationToken::new();
    let ports = TaskTracker::new();
    let http = Http {
        registry: Arc::new(metrics.registry(engines.clone())),
        logs,
        ready: is_reached,
    };
    ports.spawn(http::serve(http_port, http, stop_ports.clone()));
    ports.spawn(dispatch::serve(
        controller_port,
        engines.clone(),
        stop_ports.clone(),
    ));
    let lease = LeaseLoop {
        api: Api::<Lease>::namespaced(client.clone(), &config.namespace),
        name: config.lease.clone(),
        identity: config.identity.clone(),
        metrics: metrics.clone(),
    };
    ports.spawn(lease.run(active, reached, stop_ports.clone()));
    let stuck = CancellationToken::new();
    let terms = Terms {
        client,
        config,
        engines,
        metrics,
        stop: stop_work.clone(),
        stuck: stuck.clone(),
    };
    let work = tokio::spawn(terms.run(is_active));

    let result = tokio::select! {
        () = shutdown => Ok(()),
        () = stuck.cancelled() => Err(OperatorError::Stuck),
    };
    tracing::info!("stopping");
    stop_work.cancel();
    match timeout(TERM_END, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the work ended badly"),
        Err(_) => tracing::error!("the work did not end in time"),
    }
    // The Lease is given back now that nothing acts on it any more.
    stop_ports.cancel();
    ports.close();
    if timeout(DRAIN, ports.wait()).await.is_err() {
        tracing::warn!("some connections were still open");
    }
    result
}

async fn listen(address: SocketAddr) -> Result<TcpListener, OperatorError> {
    let listener = taffrail_api::listen::bind(address).await;
    listener.map_err(|source| OperatorError::Listen { address, source })
}

/// Waits until the Lease is held or not. If nobody looks after it any more, waits for ever: the operator is about to end.
async fn until(is_active: &mut watch::Receiver<bool>, wanted: bool) {
    if is_active
        .wait_for(|active| *active == wanted)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// One term after the other, each as long as the Lease is held.
struct Terms {
    client: Client,
    config: OperatorConfig,
    engines: Arc<Engines>,
    metrics: Metrics,
    /// The operator is to end.
    stop: CancellationToken,
    /// Cancelled if a term does not end.
    stuck: CancellationToken,
}

impl Terms {
    async fn run(self, mut is_active: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = until(&mut is_active, true) => {}
            }
            if let Err(error) = self.one(&mut is_active).await {
                tracing::warn!(%error, "the term could not begin; trying again");
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep(RETRY) => {}
                }
            }
        }
    }

    async fn one(&self, is_active: &mut watch::Receiver<bool>) -> Result<(), OperatorError> {
        let term = self.stop.child_token();
        let work = active::run(
            self.client.clone(),
            self.config.clone(),
            self.engines.clone(),
            self.metrics.clone(),
            term.clone(),
        );
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => return ended,
            () = until(is_active, false) => term.cancel(),
        }
        timeout(TERM_END, work).await.unwrap_or_else(|_| {
            self.stuck.cancel();
            Ok(())
        })
    }
}
