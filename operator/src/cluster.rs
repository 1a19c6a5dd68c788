//! BrokerCluster: its brokers' StatefulSet and companions, its controller, its status.

mod brokers;
mod build;
mod children;
mod network_policy;
mod owned;
mod start;
mod status;
mod volumes;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service},
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{Api, runtime::controller::Action};
use taffrail_core::TopicDefaults;
use taffrail_crds::BrokerCluster;
use tokio::time::timeout;

use crate::{
    context::Context, engines::ClusterKey, error::OperatorError, paused::is_paused,
    writes::API_TIMEOUT,
};
use build::Surroundings;
pub(crate) use children::Applied;
pub(crate) use owned::owns;
use status::Sight;
pub(crate) use status::refused_status;
use volumes::Volumes;

/// A look without a reason.
const RESYNC: Duration = Duration::from_mins(5);
/// The next look while something is on its way.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// The next look at numbers that were held back, and at volumes that grow.
const SUMMARY_LATER: Duration = Duration::from_secs(30);

/// One look at one cluster.
pub(crate) async fn reconcile(
    cluster: Arc<BrokerCluster>,
    context: Arc<Context>,
) -> Result<Action, OperatorError> {
    let result = look(&cluster, &context).await;
    context.metrics.reconciled("BrokerCluster", result.is_ok());
    result
}

async fn look(
    cluster: &Arc<BrokerCluster>,
    context: &Arc<Context>,
) -> Result<Action, OperatorError> {
    let key = ClusterKey::of(cluster);
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    context.engines.note(cluster.clone());
    let mut sight = Sight {
        paused: is_paused(&**cluster),
        ..Sight::default()
    };
    let mut applied = Ok(());
    let mut held_back = false;
    if !sight.paused {
        match cluster.spec.topic_defaults() {
            Ok(defaults) => applied = run(cluster, &key, defaults, context, &mut sight).await,
            Err(violations) => sight.invalid = violations,
        }
    }
    sight.apply_error = applied.as_ref().err().map(ToString::to_string);
    if let Some(running) = context.engines.get(&key).and_then(|engine| engine.running) {
        sight.cluster_id = Some(running.handle.cluster_id());
        sight.brokers = running.handle.brokers();
        held_back = brokers::write_statuses(&key, &sight.brokers, context).await?;
    }
    sight.stateful_set = read_stateful_set(&key, context).await?;
    let status = status::next(cluster, &sight, Timestamp::now());
    let before = cluster.status.clone().unwrap_or_default();
    if before != status {
        context.writer.status(&**cluster, &status, "status").await?;
        context
            .events
            .turned(&**cluster, &before.conditions, &status.conditions)
            .await;
    }
    applied?;
    let settled = taffrail_crds::conditions::is_true(&status.conditions, "Ready");
    held_back |= sight.volumes != Volumes::Fit;
    Ok(Action::requeue(match (settled, held_back) {
        (false, _) => UNDER_WAY,
        (true, true) => SUMMARY_LATER,
        (true, false) => RESYNC,
    }))
}

/// Brings everything that the cluster consists of to what the resource says.
async fn run(
    cluster: &Arc<BrokerCluster>,
    key: &ClusterKey,
    defaults: TopicDefaults,
    context: &Arc<Context>,
    sight: &mut Sight,
) -> Result<(), OperatorError> {
    match start::ensure(key, defaults, context).await {
        Ok(()) => {}
        Err(error) => {
            tracing::error!(cluster = %key, %error, "controller did not start");
            sight.controller_error = Some(error.to_string());
        }
    }
    let around = Surroundings {
        controller_address: &context.config.controller_address,
        default_image: &context.config.broker_image,
    };
    let config_map = build::config_map(cluster, &around);
    let stateful_set = build::stateful_set(cluster, &around, &config_map);
    children::apply::<ConfigMap>(&config_map, context).await?;
    children::apply::<Service>(&build::headless_service(cluster), context).await?;
    children::apply::<Service>(&build::client_service(cluster), context).await?;
    children::apply::<PodDisruptionBudget>(&build::disruption_budget(cluster), context).await?;
    network_policy::ensure(cluster, context).await?;
    let found = read_stateful_set(key, context).await?;
    if !volumes::release(found.as_ref(), &stateful_set, context).await? {
        children::apply::<StatefulSet>(&stateful_set, context).await?;
    }
    sight.volumes = volumes::grow(cluster, key, context).await?;
    Ok(())
}

async fn read_stateful_set(
    key: &ClusterKey,
    context: &Context,
) -> Result<Option<StatefulSet>, OperatorError> {
    let api: Api<StatefulSet> = Api::namespaced(context.client.clone(), &key.namespace);
    let read = timeout(API_TIMEOUT, api.get_opt(&key.name)).await;
    let read = read.unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))));
    read.map_err(OperatorError::kube("read", format!("StatefulSet {key}")))
}
