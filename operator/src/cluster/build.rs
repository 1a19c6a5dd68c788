//! BrokerCluster -> the objects that run it. Pure: the same cluster gives the same objects.

mod services;
mod stateful_set;

use k8s_openapi::{
    api::{core::v1::ConfigMap, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use taffrail_core::settings::{HTTP_PORT, REPLICATION_PORT};
use taffrail_crds::BrokerCluster;

pub(super) use services::{client_service, headless_service};
pub(super) use stateful_set::stateful_set;

/// What the operator, not the resource, decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Where brokers find the operators.
    pub(super) controller_address: &'a str,
    /// The image of clusters that name none.
    pub(super) default_image: &'a str,
}

const DATA_DIR: &str = "/var/lib/taffrail";
const CONFIG_DIR: &str = "/etc/taffrail";
const CONFIG_FILE: &str = "broker.toml";

/// The label of everything that the operator makes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "taffrail-operator");
/// The same, to select by.
pub(super) const OWNED_SELECTOR: &str = "app.kubernetes.io/managed-by=taffrail-operator";

/// The brokers' configuration, the same for all: what differs comes from the environment of each pod.
pub(super) fn config_map(cluster: &BrokerCluster, around: &Surroundings<'_>) -> ConfigMap {
    let client_port = cluster.spec.client_port();
    let mut lines = vec![
        format!("data_dir = {}", text(&format!("{DATA_DIR}/data"))),
        format!("client_listen = {}", text(&format!("[::]:{client_port}"))),
        format!(
            "replication_listen = {}",
            text(&format!("[::]:{REPLICATION_PORT}"))
        ),
        format!("http_listen = {}", text(&format!("[::]:{HTTP_PORT}"))),
        format!("controllers = [{}]", text(around.controller_address)),
        format!(
            "cluster = {}",
            text(&format!("{}/{}", namespace(cluster), cluster.name_any()))
        ),
    ];
    let settings = cluster.spec.broker_settings().into_iter();
    lines.extend(settings.map(|(name, value)| format!("{name} = {value}")));
    ConfigMap {
        metadata: metadata(cluster, &format!("{}-brokers", cluster.name_any())),
        data: Some([(CONFIG_FILE.to_owned(), lines.join("\n") + "\n")].into()),
        ..ConfigMap::default()
    }
}

/// One broker away at a time, and none while replicas are away or behind without which another one is needed. Pods that are not Ready may always go.
pub(super) fn disruption_budget(cluster: &BrokerCluster, should_wait: bool) -> PodDisruptionBudget {
    typed(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(cluster, &cluster.name_any()),
        "spec": {
            "maxUnavailable": i32::from(!should_wait),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": selector(cluster) },
        },
    }))
}

fn namespace(cluster: &BrokerCluster) -> String {
    cluster.namespace().unwrap_or_default()
}

/// A TOML string. What stands in it comes from DNS names and ports.
fn text(value: &str) -> String {
    format!("{value:?}")
}

pub(super) fn metadata(cluster: &BrokerCluster, name: &str) -> ObjectMeta {
    let mut labels: std::collections::BTreeMap<String, String> =
        serde_json::from_value(selector(cluster)).unwrap_or_default();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: cluster.namespace(),
        labels: Some(labels),
        owner_references: owner(cluster).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn owner(cluster: &BrokerCluster) -> Option<OwnerReference> {
    cluster.controller_owner_ref(&())
}

/// Labels that say whose pod it is. Immutable in a StatefulSet: never add to these.
pub(super) fn selector(cluster: &BrokerCluster) -> Value {
    json!({
        "app.kubernetes.io/name": "taffrail-broker",
        "app.kubernetes.io/instance": cluster.name_any(),
    })
}

/// The same, to list by.
pub(super) fn label_selector(cluster: &BrokerCluster) -> String {
    format!(
        "app.kubernetes.io/name=taffrail-broker,app.kubernetes.io/instance={}",
        cluster.name_any()
    )
}

/// An object written as JSON. That nothing was lost on the way is tested with the objects.
pub(super) fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("what is written here is of its kind")
}

/// Changes with the configuration, so that pods that run an older one can be told apart. The same in every release: another value for the same
/// configuration would mark every pod as outdated.
fn config_hash(config_map: &ConfigMap) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for (file, content) in config_map.data.iter().flatten() {
        for text in [file, content] {
            hasher.update(text.as_bytes());
            // Ends it: what stands in one does not run into the next.
            hasher.update(&[0]);
        }
    }
    format!("{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests;
