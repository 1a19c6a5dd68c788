//! What runs while this operator holds the Lease.

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::ListParams,
    runtime::{Controller, controller::Action, reflector},
};
use serde::de::DeserializeOwned;
use taffrail_crds::{Broker, BrokerCluster, ConsumerGroup, PartitionMap, Topic};
use tokio::{
    sync::{mpsc, watch as channel},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster,
    config::OperatorConfig,
    context::Context,
    engines::Engines,
    error::OperatorError,
    events::Events,
    group::{self, Checks, Declared, Settling, ToldLosses},
    losses,
    metrics::Metrics,
    records,
    stores::Stores,
    sweep,
    topic::{self, Owners},
    unreadable,
    wake::{self, WOKEN_MAX, Waker, Wakers},
    watch::{self, Guarded, Unreadable, Watched},
    writes::Writer,
};

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
    let resources = channel::Sender::default();
    let clusters: Vec<_> = scopes
        .iter()
        .map(|scope| {
            let clusters = watch::controller::<BrokerCluster>(
                scoped(&client, scope.as_deref()),
                &unreadable,
                None,
            );
            cluster::owns(clusters, &client, scope.as_deref(), config.network_policies)
        })
        .collect();
    let topics = controllers::<Topic>(&client, &scopes, &unreadable, &resources);
    let groups = controllers::<ConsumerGroup>(&client, &scopes, &unreadable, &resources);
    let cluster_stores: Vec<reflector::Store<BrokerCluster>> =
        clusters.iter().map(Controller::store).collect();
    let context = Arc::new(Context {
        topics: stores(&topics),
        groups: stores(&groups),
        resources,
        events: Events::new(client.clone(), &config.identity, metrics.clone()),
        writer: Writer::new(client.clone(), metrics.clone()),
        applied: cluster::Applied::default(),
        owners: Owners::default(),
        declared: Declared::default(),
        checks: Checks::default(),
        settling: Settling::default(),
        told_losses: ToldLosses::default(),
        began: Instant::now(),
        unreadable,
        tasks: TaskTracker::new(),
        client,
        config,
        engines,
        metrics,
        stop,
    });
    let wakers = Wakers {
        clusters: spawn_all(clusters, cluster::reconcile, &context),
        topics: spawn_all(topics, topic::reconcile, &context),
        groups: spawn_all(groups, group::reconcile, &context),
    };
    context
        .tasks
        .spawn(group::declare(wakers.groups.clone(), context.clone()));
    context.tasks.spawn(wake::run(wakers, context.clone()));
    context
        .tasks
        .spawn(sweep::run(cluster_stores, context.clone()));
    for scope in scopes {
        context
            .tasks
            .spawn(records::run::<PartitionMap>(scope.clone(), context.clone()));
        context
            .tasks
            .spawn(records::run::<Broker>(scope, context.clone()));
    }
    context.tasks.spawn(losses::run(context.clone()));
    context.tasks.spawn(cluster::run_unread(context.clone()));
    context
        .tasks
        .spawn(unreadable::run::<BrokerCluster>(context.clone()));
    context
        .tasks
        .spawn(unreadable::run::<Topic>(context.clone()));
    context
        .tasks
        .spawn(unreadable::run::<ConsumerGroup>(context.clone()));
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
        let api = scoped::<Guarded<BrokerCluster>>(client, scope.as_deref());
        let listed = api.list(&ListParams::default()).await;
        for guarded in listed.map_err(OperatorError::kube("list", "BrokerClusters"))? {
            if let Some(cluster) = unreadable.sort(guarded) {
                engines.note(Arc::new(cluster));
            }
        }
    }
    Ok(())
}

pub(crate) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// One for each namespace watched. `changed` is told of what decides something.
fn controllers<K>(
    client: &Client,
    scopes: &[Option<String>],
    unreadable: &Unreadable,
    changed: &channel::Sender<()>,
) -> Vec<Controller<K>>
where
    K: Watched + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let apis = scopes.iter().map(|scope| scoped(client, scope.as_deref()));
    apis.map(|api| watch::controller(api, unreadable, Some(changed.clone())))
        .collect()
}

fn stores<K>(controllers: &[Controller<K>]) -> Stores<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    Stores {
        stores: controllers.iter().map(Controller::store).collect(),
    }
}

/// Runs controllers, and gives what wakes them.
fn spawn_all<K, F>(
    controllers: Vec<Controller<K>>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    context: &Arc<Context>,
) -> Vec<Waker<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, OperatorError>> + Send + 'static,
{
    let controllers = controllers.into_iter();
    controllers
        .map(|controller| spawn(controller, reconcile, context))
        .collect()
}

/// Runs a controller, and gives what wakes it.
fn spawn<K, F>(
    controller: Controller<K>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    context: &Arc<Context>,
) -> Waker<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, OperatorError>> + Send + 'static,
{
    let store = controller.store();
    let (woken, wakes) = mpsc::channel(WOKEN_MAX);
    let looks = controller
        .reconcile_on(ReceiverStream::new(wakes))
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(reconcile, retry, context.clone());
    context.tasks.spawn(looks.for_each(async |look| {
        if let Err(error) = look {
            tracing::warn!(error = %describe(&error), "look failed; trying again");
        }
    }));
    Waker { store, woken }
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
