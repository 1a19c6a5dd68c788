//! What runs while this operator holds the Lease.

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::ListParams,
    core::DeserializeGuard,
    runtime::{Controller, controller::Action, reflector, watcher},
};
use serde::de::DeserializeOwned;
use taffrail_crds::{BrokerCluster, Topic};
use tokio_stream::wrappers::WatchStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster,
    config::OperatorConfig,
    context::Context,
    engines::Engines,
    error::OperatorError,
    events::Events,
    metrics::Metrics,
    sweep,
    topic::{self, Owners, Topics},
    watch::{self, Unreadable},
    writes::Writer,
};

/// Looks because of what a controller saw are put together over this time.
const WAKE_INTERVAL: Duration = Duration::from_millis(300);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Runs one term. Returns when `stop` is cancelled and everything has ended.
///
/// # Errors
/// The clusters cannot be listed at the beginning.
pub(crate) async fn run(
    client: Client,
    config: OperatorConfig,
    engines: Arc<Engines>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let unreadable = Unreadable::default();
    seed(&client, &config, &engines, &unreadable).await?;
    let scopes = config.scopes();
    let clusters: Vec<_> = scopes
        .iter()
        .map(|scope| {
            watch::controller::<BrokerCluster>(scoped(&client, scope.as_deref()), &unreadable).owns(
                scoped::<StatefulSet>(&client, scope.as_deref()),
                watcher::Config::default(),
            )
        })
        .collect();
    let topics: Vec<_> = scopes
        .iter()
        .map(|scope| watch::controller::<Topic>(scoped(&client, scope.as_deref()), &unreadable))
        .collect();
    let cluster_stores: Vec<reflector::Store<BrokerCluster>> =
        clusters.iter().map(Controller::store).collect();
    let context = Arc::new(Context {
        topics: Topics {
            stores: topics.iter().map(Controller::store).collect(),
        },
        events: Events::new(client.clone(), &config.identity, metrics.clone()),
        writer: Writer::new(client.clone(), metrics.clone()),
        applied: cluster::Applied::default(),
        owners: Owners::default(),
        unreadable,
        tasks: TaskTracker::new(),
        client,
        config,
        engines,
        metrics,
        stop,
    });
    for controller in clusters {
        spawn(controller, cluster::reconcile, &context);
    }
    for controller in topics {
        spawn(controller, topic::reconcile, &context);
    }
    context
        .tasks
        .spawn(sweep::run(cluster_stores, context.clone()));
    context.stop.cancelled().await;
    context.tasks.close();
    context.tasks.wait().await;
    end(&context).await;
    Ok(())
}

/// Notes every cluster before the first topic is looked at, or all of them would be told that theirs does not exist.
async fn seed(
    client: &Client,
    config: &OperatorConfig,
    engines: &Engines,
    unreadable: &Unreadable,
) -> Result<(), OperatorError> {
    for scope in config.scopes() {
        let api = scoped::<DeserializeGuard<BrokerCluster>>(client, scope.as_deref());
        let listed = api.list(&ListParams::default()).await;
        for guard in listed.map_err(OperatorError::kube("list", "BrokerClusters"))? {
            if let Some(cluster) = unreadable.sort(guard) {
                engines.note(Arc::new(cluster));
            }
        }
    }
    Ok(())
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn spawn<K, F>(
    controller: Controller<K>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    context: &Arc<Context>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, OperatorError>> + Send + 'static,
{
    let woken = WatchStream::from_changes(context.engines.changed());
    let woken = tokio_stream::StreamExt::throttle(woken, WAKE_INTERVAL).map(|_| ());
    let looks = controller
        .reconcile_all_on(woken)
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(reconcile, retry, context.clone());
    context.tasks.spawn(looks.for_each(async |look| {
        if let Err(error) = look {
            tracing::warn!(error = %describe(&error), "look failed; trying again");
        }
    }));
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that Controller::run asks for"
)]
fn retry<K: Resource>(object: Arc<K>, error: &OperatorError, _: Arc<Context>) -> Action {
    tracing::debug!(name = object.name_any(), %error, "look failed");
    Action::requeue(RETRY)
}

/// An error with its causes on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

async fn end(context: &Context) {
    for key in context.engines.keys() {
        if let Some(running) = context
            .engines
            .remove(&key)
            .and_then(|engine| engine.running)
        {
            running.handle.stop().await;
        }
    }
}
