//! Who may connect to a cluster's brokers, where the network plugin enforces it. NetworkPolicies add up: whoever needs to let in more applies another one.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use serde_json::json;
use taffrail_crds::BrokerCluster;
use tokio::time::timeout;

use super::{
    build::{metadata, selector, typed},
    children,
};
use crate::{context::Context, error::OperatorError, metrics::WriteLabels, writes::API_TIMEOUT};

/// Applies the policy; takes it away if this operator is told to make none.
pub(super) async fn ensure(
    cluster: &BrokerCluster,
    context: &Context,
) -> Result<(), OperatorError> {
    let policy = build(cluster);
    if context.config.network_policies {
        children::apply::<NetworkPolicy>(&policy, context).await
    } else {
        remove(cluster, &policy, context).await
    }
}

/// Ports go by their names: a pod that still runs an older port is reached on that one.
fn build(cluster: &BrokerCluster) -> NetworkPolicy {
    typed(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(cluster, &format!("{}-brokers", cluster.name_any())),
        "spec": {
            "podSelector": { "matchLabels": selector(cluster) },
            "policyTypes": ["Ingress"],
            "ingress": [
                // Clients may be anywhere, also outside of Kubernetes.
                { "ports": [{ "port": "client", "protocol": "TCP" }] },
                // Records between the brokers of this cluster.
                {
                    "from": [{ "podSelector": { "matchLabels": selector(cluster) } }],
                    "ports": [{ "port": "replication", "protocol": "TCP" }],
                },
                // Metrics and the log level: for pods of this Kubernetes, since nobody can tell in which namespace those are that scrape. The
                // kubelet, which probes, is let in by every network plugin.
                {
                    "from": [{ "namespaceSelector": {} }],
                    "ports": [{ "port": "http", "protocol": "TCP" }],
                },
            ],
        },
    }))
}

/// Deletes the policy if it is the one that an operator made for this cluster.
async fn remove(
    cluster: &BrokerCluster,
    policy: &NetworkPolicy,
    context: &Context,
) -> Result<(), OperatorError> {
    let name = policy.name_any();
    let namespace = policy.namespace().unwrap_or_default();
    let described = || format!("NetworkPolicy/{namespace}/{name}");
    let api: Api<NetworkPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let found = timeout(API_TIMEOUT, api.get_metadata_opt(&name)).await;
    let found = found
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
        .map_err(OperatorError::kube("read", described()))?;
    let ours = found.filter(|found| {
        let mut owners = found.owner_references().iter();
        owners.any(|owner| Some(&owner.uid) == cluster.metadata.uid.as_ref())
    });
    let Some(ours) = ours else {
        return Ok(());
    };
    let labels = WriteLabels {
        kind: "NetworkPolicy",
        reason: "off",
    };
    context.metrics.writes.get_or_create(&labels).inc();
    let only_this_one = DeleteParams::default().preconditions(Preconditions {
        uid: ours.metadata.uid,
        resource_version: None,
    });
    let deleted = timeout(API_TIMEOUT, api.delete(&name, &only_this_one)).await;
    deleted
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
        .map_err(OperatorError::kube("delete", described()))?;
    tracing::info!(object = described(), "deleted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replication_port_is_open_to_the_brokers_of_the_cluster_alone() {
        let cluster: BrokerCluster = serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1",
            "kind": "BrokerCluster",
            "metadata": { "name": "main", "namespace": "streams", "uid": "u" },
            "spec": { "brokers": 3, "storage": { "size": "1Gi" } },
        }))
        .expect("valid");
        let policy = json!(build(&cluster));
        let rules = policy["spec"]["ingress"].as_array().expect("a list");
        let rule = rules
            .iter()
            .find(|r| r["ports"][0]["port"] == "replication");
        let from = &rule.expect("a rule")["from"];
        let brokers = &policy["spec"]["podSelector"];
        assert_eq!(from, &json!([{ "podSelector": brokers }]));
    }
}
