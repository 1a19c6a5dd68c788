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
        "the topic lives in BrokerCluster {cluster} and cannot move; set clusterRef to that, or create a Topic in the other cluster and copy"
    )]
    Moved { cluster: ClusterKey },
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
            Self::Moved { .. } => "InvalidSpec",
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
        // Before its first view a controller seems to have no topics, nor its identity.
        handle: engine
            .running
            .map(|running| running.handle)
            .filter(|handle| !handle.cluster_id().is_empty()),
    })
}

/// The cluster that a topic means. One that was accepted stays where it is, whatever clusters come.
fn cluster_key_of(topic: &Topic, engines: &Engines) -> Result<ClusterKey, Unresolved> {
    let namespace = topic.namespace().unwrap_or_default();
    let named = topic.spec.cluster_ref.as_ref().map(|reference| ClusterKey {
        namespace: reference
            .namespace
            .clone()
            .unwrap_or_else(|| namespace.clone()),
        name: reference.name.clone(),
    });
    match (named, home_of(topic)) {
        (Some(named), Some(home)) if named != home => {
            return Err(Unresolved::Moved { cluster: home });
        }
        (Some(key), _) | (None, Some(key)) => return Ok(key),
        (None, None) => {}
    }
    engines.only_in(&namespace).map_err(|count| match count {
        0 => Unresolved::NoCluster { namespace },
        count => Unresolved::ManyClusters { namespace, count },
    })
}

/// The cluster that accepted the topic. Only the operator writes a status.
fn home_of(topic: &Topic) -> Option<ClusterKey> {
    let status = topic.status.as_ref()?;
    status.topic_id.as_ref()?;
    let (namespace, name) = status.cluster.as_ref()?.split_once('/')?;
    Some(ClusterKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// The names that resources claim in a cluster, also those that were refused: what they claim is not to be taken for vanished. A resource whose
/// cluster is unclear claims its name in all of them.
pub(crate) fn claimed_names(
    cluster: &ClusterKey,
    topics: &[Arc<Topic>],
    engines: &Engines,
) -> BTreeSet<String> {
    let claims = topics
        .iter()
        .filter(|t| cluster_key_of(t, engines).map_or(true, |key| key == *cluster));
    claims
        .map(|t| t.client_name(Some(&cluster.namespace)))
        .collect()
}

/// The resources that claim one of these names in a cluster.
pub(crate) fn claimants<'a>(
    cluster: &ClusterKey,
    names: &BTreeSet<String>,
    topics: &'a [Arc<Topic>],
    engines: &Engines,
) -> impl Iterator<Item = &'a Arc<Topic>> {
    topics.iter().filter(move |t| {
        names.contains(&t.client_name(Some(&cluster.namespace)))
            && cluster_key_of(t, engines).is_ok_and(|key| key == *cluster)
    })
}

/// Whose a name is. A resource that was accepted under a name keeps it. Otherwise the first one created owns it; of two in the same second the first by namespace
/// and name.
pub(crate) fn owner_of<'a>(
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
        let is_new = home_of(t).as_ref() != Some(key);
        let created = t.creation_timestamp().map(|time| time.0);
        (is_new, created, t.namespace(), t.name_any())
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

    fn accepted(topic: &Topic, cluster: &str) -> Arc<Topic> {
        let mut topic = topic.clone();
        let status =
            json!({ "cluster": cluster, "topicId": "6f1c5c6a-0123-4567-89ab-cdef00112233" });
        topic.status = Some(serde_json::from_value(status).expect("valid"));
        Arc::new(topic)
    }

    fn add_cluster(engines: &Engines, name: &str) {
        let first = engines.only_in("streams").expect("the first");
        let mut cluster = (*engines.get(&first).expect("noted").cluster).clone();
        cluster.metadata.name = Some(name.to_owned());
        engines.note(Arc::new(cluster));
    }

    fn claims(cluster: &str, topics: &[Arc<Topic>], engines: &Engines) -> usize {
        let key = ClusterKey {
            namespace: "streams".to_owned(),
            name: cluster.to_owned(),
        };
        claimed_names(&key, topics, engines).len()
    }

    #[test]
    fn a_second_cluster_leaves_accepted_topics_where_they_are() {
        let engines = engines("Same");
        add_cluster(&engines, "second");
        let flights = topic("streams", "flights", EARLY, &json!({}));
        let flights = accepted(&flights, "streams/main");
        let all = [flights.clone()];
        let resolved = resolve(&flights, &all, &engines).expect("pinned");
        assert_eq!(resolved.cluster.to_string(), "streams/main");
        assert_eq!(claims("main", &all, &engines), 1);
        assert_eq!(claims("second", &all, &engines), 0);
    }

    #[test]
    fn a_topic_whose_cluster_is_unclear_claims_its_name_in_all_of_them() {
        let engines = engines("Same");
        add_cluster(&engines, "second");
        let all = [topic("streams", "flights", EARLY, &json!({}))];
        assert!(resolve(&all[0], &all, &engines).is_err());
        assert_eq!(claims("main", &all, &engines), 1);
        assert_eq!(claims("second", &all, &engines), 1);
    }

    #[test]
    fn a_topic_does_not_move_by_naming_another_cluster_later() {
        let engines = engines("Same");
        add_cluster(&engines, "second");
        let spec = json!({ "clusterRef": { "name": "second" } });
        let moved = accepted(&topic("streams", "flights", EARLY, &spec), "streams/main");
        let all = [moved.clone()];
        let error = resolve(&moved, &all, &engines).expect_err("moved");
        assert_eq!(error.reason(), "InvalidSpec");
        assert!(error.to_string().contains("streams/main"), "{error}");
        assert_eq!(claims("main", &all, &engines), 1);
    }

    #[test]
    fn an_accepted_topic_keeps_its_name_from_an_older_resource() {
        let older = topic(
            "streams",
            "older",
            EARLY,
            &json!({ "topicName": "flights" }),
        );
        let owner = topic("streams", "flights", LATE, &json!({}));
        let owner = accepted(&owner, "streams/main");
        let all = [older.clone(), owner.clone()];
        let engines = engines("Same");
        assert!(resolve(&owner, &all, &engines).is_ok());
        let error = resolve(&older, &all, &engines).expect_err("taken");
        assert_eq!(error.reason(), "NameConflict");
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
