//! Topic -> its cluster and its name there, and whether the name is its own. Decides by what the operator watches; pure but for that.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;
use taffrail_controller::ControllerHandle;
use taffrail_crds::{BrokerCluster, Topic};
use thiserror::Error;

use crate::engines::{ClusterKey, Engines};

/// A topic that may be.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) cluster: ClusterKey,
    /// What clients call it.
    pub(crate) name: String,
    /// The cluster's controller, if it runs.
    pub(crate) handle: Option<ControllerHandle>,
}

/// Why a topic may not be. The messages say what to do.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Unresolved {
    #[error("namespace {namespace} has no BrokerCluster; create one, or name one in clusterRef")]
    NoCluster { namespace: String },
    #[error("namespace {namespace} has {count} BrokerClusters; name one in clusterRef")]
    ManyClusters { namespace: String, count: usize },
    #[error("BrokerCluster {0} does not exist, or its namespace is not watched by the operator")]
    Missing(String),
    #[error(
        "BrokerCluster {cluster} does not take topics of namespace {namespace}; set its topicNamespaces to from: All, or create the topic there"
    )]
    NotAllowed { cluster: String, namespace: String },
    #[error(
        "Topic {owner} already owns the name {name} in cluster {cluster}; set another topicName in a new Topic"
    )]
    Conflict {
        cluster: ClusterKey,
        name: String,
        owner: String,
    },
}

impl Unresolved {
    /// The reason that the condition `Accepted=False` gives.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NoCluster { .. } | Self::ManyClusters { .. } | Self::Missing(_) => {
                "ClusterNotFound"
            }
            Self::NotAllowed { .. } => "NotAllowed",
            Self::Conflict { .. } => "NameConflict",
        }
    }
}

/// Where `topic` belongs, given all topics.
pub(crate) fn resolve(
    topic: &Topic,
    topics: &[Arc<Topic>],
    engines: &Engines,
) -> Result<Resolved, Unresolved> {
    let key = cluster_key_of(topic, engines)?;
    let Some(engine) = engines.get(&key) else {
        return Err(Unresolved::Missing(key.to_string()));
    };
    let namespace = topic.namespace().unwrap_or_default();
    if !engine.cluster.admits(&namespace) {
        return Err(Unresolved::NotAllowed {
            cluster: key.to_string(),
            namespace,
        });
    }
    let name = topic.client_name(Some(&key.namespace));
    if let Some(owner) = owner_of(&name, &key, &engine.cluster, topics, engines)
        && owner.uid() != topic.uid()
    {
        let owner = format!(
            "{}/{}",
            owner.namespace().unwrap_or_default(),
            owner.name_any()
        );
        return Err(Unresolved::Conflict {
            cluster: key,
            name,
            owner,
        });
    }
    Ok(Resolved {
        cluster: key,
        name,
        handle: engine.running.map(|running| running.handle),
    })
}

/// The cluster that a topic means.
fn cluster_key_of(topic: &Topic, engines: &Engines) -> Result<ClusterKey, Unresolved> {
    let namespace = topic.namespace().unwrap_or_default();
    if let Some(reference) = &topic.spec.cluster_ref {
        return Ok(ClusterKey {
            namespace: reference.namespace.clone().unwrap_or(namespace),
            name: reference.name.clone(),
        });
    }
    engines.only_in(&namespace).map_err(|count| match count {
        0 => Unresolved::NoCluster { namespace },
        count => Unresolved::ManyClusters { namespace, count },
    })
}

/// The names that resources claim in a cluster, also those that were refused: what they claim is not to be taken for vanished.
pub(crate) fn claimed_names(
    cluster: &ClusterKey,
    topics: &[Arc<Topic>],
    engines: &Engines,
) -> BTreeSet<String> {
    let claims = topics
        .iter()
        .filter(|t| cluster_key_of(t, engines).as_ref() == Ok(cluster));
    claims
        .map(|t| t.client_name(Some(&cluster.namespace)))
        .collect()
}

/// The first one created owns a name; of two in the same second the first by namespace and name.
fn owner_of<'a>(
    name: &str,
    key: &ClusterKey,
    cluster: &BrokerCluster,
    topics: &'a [Arc<Topic>],
    engines: &Engines,
) -> Option<&'a Arc<Topic>> {
    let claims = topics.iter().filter(|t| {
        t.client_name(Some(&key.namespace)) == name
            && cluster_key_of(t, engines).as_ref() == Ok(key)
            && cluster.admits(&t.namespace().unwrap_or_default())
    });
    claims.min_by_key(|t| {
        let created = t.creation_timestamp().map(|time| time.0);
        (created, t.namespace(), t.name_any())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn engines(from: &str) -> Engines {
        let engines = Engines::default();
        let cluster: BrokerCluster = serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "BrokerCluster",
            "metadata": { "name": "main", "namespace": "streams" },
            "spec": { "brokers": 1, "storage": { "size": "1Gi" }, "topicNamespaces": { "from": from } },
        }))
        .expect("valid");
        engines.note(Arc::new(cluster));
        engines
    }

    fn topic(namespace: &str, name: &str, created: &str, spec: &Value) -> Arc<Topic> {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "creationTimestamp": created,
            },
            "spec": spec,
        });
        Arc::new(serde_json::from_value(value).expect("valid"))
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-02T00:00:00Z";

    #[test]
    fn the_only_cluster_of_the_namespace_is_meant() {
        let topic = topic("streams", "flights", EARLY, &json!({}));
        let resolved =
            resolve(&topic, std::slice::from_ref(&topic), &engines("Same")).expect("resolved");
        assert_eq!(resolved.cluster.to_string(), "streams/main");
        assert_eq!(resolved.name, "flights");
    }

    #[test]
    fn a_topic_of_a_namespace_without_cluster_is_told_so() {
        let topic = topic("shop", "orders", EARLY, &json!({}));
        let error =
            resolve(&topic, std::slice::from_ref(&topic), &engines("All")).expect_err("no cluster");
        assert_eq!(error.reason(), "ClusterNotFound");
    }

    #[test]
    fn a_topic_of_a_foreign_namespace_is_not_allowed_unless_the_cluster_says_so() {
        let spec = json!({ "clusterRef": { "name": "main", "namespace": "streams" } });
        let topic = topic("shop", "orders", EARLY, &spec);
        let error =
            resolve(&topic, std::slice::from_ref(&topic), &engines("Same")).expect_err("foreign");
        assert_eq!(error.reason(), "NotAllowed");
        let resolved =
            resolve(&topic, std::slice::from_ref(&topic), &engines("All")).expect("allowed");
        assert_eq!(resolved.name, "shop.orders");
    }

    #[test]
    fn the_second_claimant_of_a_name_is_refused() {
        let first = topic("streams", "flights", EARLY, &json!({}));
        let second = topic("streams", "other", LATE, &json!({ "topicName": "flights" }));
        let all = [second.clone(), first.clone()];
        let engines = engines("Same");
        assert!(resolve(&first, &all, &engines).is_ok());
        let error = resolve(&second, &all, &engines).expect_err("taken");
        assert_eq!(error.reason(), "NameConflict");
        assert!(error.to_string().contains("streams/flights"), "{error}");
    }

    #[test]
    fn a_topic_that_is_not_allowed_owns_no_name() {
        let spec = json!({ "clusterRef": { "name": "main", "namespace": "streams" }, "topicName": "flights" });
        let foreign = topic("shop", "orders", EARLY, &spec);
        let own = topic("streams", "flights", LATE, &json!({}));
        let all = [foreign, own.clone()];
        assert!(resolve(&own, &all, &engines("Same")).is_ok());
    }
}
