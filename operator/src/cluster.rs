//! BrokerCluster: its brokers' StatefulSet and companions, its controller, its status.

mod brokers;
mod build;
mod children;
mod network_policy;
mod owned;
mod start;
mod status;
mod unread;
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
use taffrail_crds::{BrokerCluster, BrokerClusterSpec};
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
pub(crate) use unread::run as run_unread;
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
    let wanted = wanted(&cluster.spec);
    let is_applied = !sight.paused && wanted.is_ok();
    let before = context.engines.get(&key).and_then(|engine| engine.defaults);
    // Also where nothing is to change: brokers have nobody else who elects.
    if let Err(error) =
        start::ensure(&key, in_force(&cluster.spec, is_applied, before), context).await
    {
        tracing::error!(cluster = %key, %error, "controller did not start");
        sight.controller_error = Some(error.to_string());
    }
    match wanted {
        _ if sight.paused => {}
        Ok(_) => applied = apply(cluster, &key, context, &mut sight).await,
        Err(invalid) => sight.invalid = invalid,
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

/// What topics get that do not say: as the resource has it. Where it is not applied, what held before; after a start of the operator, as much of the resource
/// as makes sense.
fn in_force(
    spec: &BrokerClusterSpec,
    is_applied: bool,
    before: Option<TopicDefaults>,
) -> Option<TopicDefaults> {
    let now = spec.topic_defaults().ok();
    if is_applied { now } else { before.or(now) }
}

/// What topics get in a cluster whose resource breaks no rule; or all that it breaks, and then no object of the cluster is touched.
fn wanted(spec: &BrokerClusterSpec) -> Result<TopicDefaults, Vec<String>> {
    let defaults = spec.topic_defaults();
    let mut invalid = Vec::new();
    if let Err(violations) = &defaults {
        invalid.extend(violations.iter().map(ToString::to_string));
    }
    if let Err(settings) = spec.check_broker_config() {
        let say = |setting| format!("spec.brokerConfig: {setting}");
        invalid.extend(settings.into_iter().map(say));
    }
    match defaults {
        Ok(defaults) if invalid.is_empty() => Ok(defaults),
        _ => Err(invalid),
    }
}

/// Brings everything that the cluster consists of to what the resource says.
async fn apply(
    cluster: &Arc<BrokerCluster>,
    key: &ClusterKey,
    context: &Arc<Context>,
    sight: &mut Sight,
) -> Result<(), OperatorError> {
    let around = Surroundings {
        controller_address: &context.config.controller_address,
        default_image: &context.config.broker_image,
    };
    let config_map = build::config_map(cluster, &around);
    let stateful_set = build::stateful_set(cluster, &around, &config_map);
    children::apply::<ConfigMap>(&config_map, context).await?;
    children::apply::<Service>(&build::headless_service(cluster), context).await?;
    children::apply::<Service>(&build::client_service(cluster), context).await?;
    let running = context.engines.get(key).and_then(|engine| engine.running);
    let should_wait = running.is_some_and(|running| running.handle.stops_should_wait());
    let budget = build::disruption_budget(cluster, should_wait);
    children::apply::<PodDisruptionBudget>(&budget, context).await?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn invalid(broker_config: &Value) -> Option<Vec<String>> {
        let spec: BrokerClusterSpec = serde_json::from_value(json!({
            "brokers": 1, "storage": { "size": "1Gi" }, "brokerConfig": broker_config,
        }))
        .expect("readable");
        wanted(&spec).err()
    }

    fn with_partitions(partitions: u32, broker_config: &Value) -> BrokerClusterSpec {
        serde_json::from_value(json!({
            "brokers": 1, "storage": { "size": "1Gi" }, "brokerConfig": broker_config,
            "defaults": { "topic": { "partitions": partitions } },
        }))
        .expect("readable")
    }

    #[test]
    fn a_cluster_that_is_not_applied_keeps_its_defaults_and_a_new_operator_takes_what_makes_sense()
    {
        let partitions = |spec: &BrokerClusterSpec, is_applied, before: Option<u32>| {
            let before = before.map(|partitions| TopicDefaults {
                partitions,
                ..TopicDefaults::default()
            });
            in_force(spec, is_applied, before).map(|defaults| defaults.partitions)
        };
        let good = with_partitions(5, &json!({}));
        assert_eq!(partitions(&good, true, Some(2)), Some(5));
        assert_eq!(partitions(&good, false, Some(2)), Some(2), "paused");
        assert_eq!(partitions(&good, false, None), Some(5));
        let unknown_setting = with_partitions(5, &json!({ "data_dir": 1 }));
        assert!(wanted(&unknown_setting).is_err());
        assert_eq!(partitions(&unknown_setting, false, None), Some(5));
        let broken = with_partitions(0, &json!({}));
        assert!(wanted(&broken).is_err());
        assert_eq!(partitions(&broken, false, Some(2)), Some(2));
        assert_eq!(partitions(&broken, false, None), None);
    }

    #[test]
    fn a_setting_that_brokers_do_not_have_or_refuse_is_named() {
        assert_eq!(invalid(&json!({ "disk.sync_threads": 4 })), None);
        for (setting, value) in [
            ("client_listen", 9640),
            ("data_dir", 1),
            ("name", 1),
            ("controllers", 1),
            ("disk.scrub_interval", 1),
            ("replication.window_bytes", 0),
        ] {
            let said = invalid(&json!({ setting: value, "disk.sync_threads": 4 }));
            let said = said.unwrap_or_else(|| panic!("{setting} is taken"));
            assert_eq!(said.len(), 1, "{said:?}");
            let start = format!("spec.brokerConfig: {setting} ");
            assert!(said[0].starts_with(&start), "{said:?}");
        }
    }
}
