//! What wakes a cluster: a change of the objects that it consists of, whoever made it. Of most only the metadata is watched: `children` compares it
//! with what was applied.

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    runtime::{Controller, WatchStreamExt as _, watcher},
};
use taffrail_crds::BrokerCluster;

use super::build::OWNED_SELECTOR;
use crate::active::scoped;

/// Looks at a cluster again when one of its objects changes or goes. Network policies may be watched only if they are made.
pub(crate) fn owns(
    clusters: Controller<BrokerCluster>,
    client: &Client,
    namespace: Option<&str>,
    network_policies: bool,
) -> Controller<BrokerCluster> {
    let clusters = owns_kind::<StatefulSet>(clusters, client, namespace);
    let clusters = owns_kind::<ConfigMap>(clusters, client, namespace);
    let clusters = owns_kind::<Service>(clusters, client, namespace);
    let clusters = owns_kind::<PodDisruptionBudget>(clusters, client, namespace);
    if network_policies {
        owns_kind::<NetworkPolicy>(clusters, client, namespace)
    } else {
        clusters
    }
}

fn owns_kind<K>(
    clusters: Controller<BrokerCluster>,
    client: &Client,
    namespace: Option<&str>,
) -> Controller<BrokerCluster>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let config = watcher::Config::default().labels(OWNED_SELECTOR);
    let objects = watcher(scoped::<PartialObjectMeta<K>>(client, namespace), config);
    clusters.owns_stream(objects.touched_objects())
}
