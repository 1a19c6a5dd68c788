//! A Topic or ConsumerGroup -> its cluster and its name there, and whether the name is its own. Decides by what the operator watches; pure but for that.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use taffrail_controller::ControllerHandle;
use taffrail_crds::{BrokerCluster, ConsumerGroup, Topic, topic::ClusterRef};
use thiserror::Error;

use crate::engines::{ClusterKey, Engines};

/// A resource that claims a name in a cluster.
pub(crate) trait Claimant: Resource<DynamicType = ()> {
    /// What messages call it.
    const WORDS: &'static Words;
    /// The cluster that it names.
    fn cluster_ref(&self) -> Option<&ClusterRef>;
    /// What clients call it in a cluster of this namespace.
    fn client_name(&self, cluster_namespace: Option<&str>) -> String;
    /// The cluster that accepted it, as namespace/name. Only the operator writes a status.
    fn accepted_by(&self) -> Option<&str>;
}

/// What messages call a resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    noun: &'static str,
    kind: &'static str,
    name_field: &'static str,
    /// How it gets to another cluster.
    elsewhere: &'static str,
}

impl Claimant for Topic {
    const WORDS: &'static Words = &Words {
        noun: "topic",
        kind: "Topic",
        name_field: "topicName",
        elsewhere: "create a Topic in the other cluster and copy",
    };

    fn cluster_ref(&self) -> Option<&ClusterRef> {
        self.spec.cluster_ref.as_ref()
    }

    fn client_name(&self, cluster_namespace: Option<&str>) -> String {
        Self::client_name(self, cluster_namespace)
    }

    fn accepted_by(&self) -> Option<&str> {
        let status = self.status.as_ref()?;
        status.topic_id.as_ref()?;
        status.cluster.as_deref()
    }
}

impl Claimant for ConsumerGroup {
    const WORDS: &'static Words = &Words {
        noun: "group",
        kind: "ConsumerGroup",
        name_field: "groupName",
        elsewhere: "create a ConsumerGroup in the other cluster",
    };

    fn cluster_ref(&self) -> Option<&ClusterRef> {
        self.spec.cluster_ref.as_ref()
    }

    fn client_name(&self, cluster_namespace: Option<&str>) -> String {
        Self::client_name(self, cluster_namespace)
    }

    fn accepted_by(&self) -> Option<&str> {
        let status = self.status.as_ref()?;
        status.group_name.as_ref()?;
        status.cluster.as_deref()
    }
}

/// A resource that may be.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) cluster: ClusterKey,
    /// What clients call it.
    pub(crate) name: String,
    /// The cluster's controller, if it runs.
    pub(crate) handle: Option<ControllerHandle>,
    /// Is it known what topics get that do not say?
    pub(crate) has_defaults: bool,
}

/// Why a resource may not be. The messages say what to do.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Unresolved {
    #[error("namespace {namespace} has no BrokerCluster; create one, or name one in clusterRef")]
    NoCluster { namespace: String },
    #[error("namespace {namespace} has {count} BrokerClusters; name one in clusterRef")]
    ManyClusters { namespace: String, count: usize },
    #[error("BrokerCluster {0} does not exist, or its namespace is not watched by the operator")]
    Missing(String),
    #[error(
        "BrokerCluster {cluster} does not take {}s of namespace {namespace}; set its topicNamespaces to from: All, or create the {} there",
        .words.noun,
        .words.noun
    )]
    NotAllowed {
        cluster: String,
        namespace: String,
        words: &'static Words,
    },
    #[error(
        "the {} lives in BrokerCluster {cluster} and cannot move; set clusterRef to that, or {}",
        .words.noun,
        .words.elsewhere
    )]
    Moved {
        cluster: ClusterKey,
        words: &'static Words,
    },
    #[error(
        "{} {owner} already owns the name {name} in cluster {cluster}; set another {} in a new {}",
        .words.kind,
        .words.name_field,
        .words.kind
    )]
    Conflict {
        cluster: ClusterKey,
        name: String,
        owner: String,
        words: &'static Words,
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

    /// Has a resource that ends surely left nothing in any cluster? `are_all_seen`: no cluster is there that cannot be read.
    pub(crate) const fn leaves_nothing(&self, are_all_seen: bool) -> bool {
        match self {
            Self::NoCluster { .. } | Self::Missing(_) => are_all_seen,
            Self::Conflict { .. } => true,
            Self::ManyClusters { .. } | Self::NotAllowed { .. } | Self::Moved { .. } => false,
        }
    }
}

/// Where a resource belongs, given all of its kind.
pub(crate) fn resolve<K: Claimant>(
    resource: &K,
    all: &[Arc<K>],
    engines: &Engines,
) -> Result<Resolved, Unresolved> {
    let key = cluster_key_of(resource, engines)?;
    let Some(engine) = engines.get(&key) else {
        return Err(Unresolved::Missing(key.to_string()));
    };
    let namespace = resource.namespace().unwrap_or_default();
    if !engine.cluster.admits(&namespace) {
        return Err(Unresolved::NotAllowed {
            cluster: key.to_string(),
            namespace,
            words: K::WORDS,
        });
    }
    let name = resource.client_name(Some(&key.namespace));
    if let Some(owner) = owner_of(&name, &key, &engine.cluster, all, engines)
        && owner.uid() != resource.uid()
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
            words: K::WORDS,
        });
    }
    Ok(Resolved {
        cluster: key,
        name,
        has_defaults: engine.defaults.is_some(),
        // Before its first view a controller seems to have no topics, nor its identity.
        handle: engine
            .running
            .map(|running| running.handle)
            .filter(|handle| !handle.cluster_id().is_empty()),
    })
}

/// The cluster that a resource means. One that was accepted stays where it is, whatever clusters come.
pub(crate) fn cluster_key_of<K: Claimant>(
    resource: &K,
    engines: &Engines,
) -> Result<ClusterKey, Unresolved> {
    let namespace = resource.namespace().unwrap_or_default();
    let named = resource.cluster_ref().map(|reference| ClusterKey {
        namespace: reference
            .namespace
            .clone()
            .unwrap_or_else(|| namespace.clone()),
        name: reference.name.clone(),
    });
    match (named, home_of(resource)) {
        (Some(named), Some(home)) if named != home => {
            return Err(Unresolved::Moved {
                cluster: home,
                words: K::WORDS,
            });
        }
        (Some(key), _) | (None, Some(key)) => return Ok(key),
        (None, None) => {}
    }
    engines.only_in(&namespace).map_err(|count| match count {
        0 => Unresolved::NoCluster { namespace },
        count => Unresolved::ManyClusters { namespace, count },
    })
}

/// The cluster that accepted the resource.
pub(crate) fn home_of<K: Claimant>(resource: &K) -> Option<ClusterKey> {
    let (namespace, name) = resource.accepted_by()?.split_once('/')?;
    Some(ClusterKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// The names that resources claim in a cluster, also those that were refused: what they claim is not to be taken for vanished. A resource whose
/// cluster is unclear claims its name in all of them.
pub(crate) fn claimed_names<K: Claimant>(
    cluster: &ClusterKey,
    all: &[Arc<K>],
    engines: &Engines,
) -> BTreeSet<String> {
    let claims = all.iter().filter(|claimant| {
        cluster_key_of(&***claimant, engines).map_or(true, |key| key == *cluster)
    });
    claims
        .map(|claimant| claimant.client_name(Some(&cluster.namespace)))
        .collect()
}

/// The resources that claim one of these names in a cluster.
pub(crate) fn claimants<'a, K: Claimant>(
    cluster: &ClusterKey,
    names: &BTreeSet<String>,
    all: &'a [Arc<K>],
    engines: &Engines,
) -> impl Iterator<Item = &'a Arc<K>> {
    all.iter().filter(move |claimant| {
        names.contains(&claimant.client_name(Some(&cluster.namespace)))
            && cluster_key_of(&***claimant, engines).is_ok_and(|key| key == *cluster)
    })
}

/// Whose a name is. A resource that was accepted under a name keeps it. Otherwise the first one created owns it; of two in the same second the first by namespace
/// and name.
pub(crate) fn owner_of<'a, K: Claimant>(
    name: &str,
    key: &ClusterKey,
    cluster: &BrokerCluster,
    all: &'a [Arc<K>],
    engines: &Engines,
) -> Option<&'a Arc<K>> {
    let claims = all.iter().filter(|claimant| {
        claimant.client_name(Some(&key.namespace)) == name
            && cluster_key_of(&***claimant, engines).as_ref() == Ok(key)
            && cluster.admits(&claimant.namespace().unwrap_or_default())
    });
    claims.min_by_key(|claimant| rank(&***claimant, key))
}

/// Every name that is somebody's, and whose.
pub(crate) fn owners<'a, K: Claimant>(
    all: &'a [Arc<K>],
    engines: &Engines,
) -> BTreeMap<(ClusterKey, String), &'a Arc<K>> {
    let mut owners = BTreeMap::new();
    for claimant in all {
        let Ok(key) = cluster_key_of(&**claimant, engines) else {
            continue;
        };
        let namespace = claimant.namespace().unwrap_or_default();
        let engine = engines.get(&key);
        if !engine.is_some_and(|engine| engine.cluster.admits(&namespace)) {
            continue;
        }
        let name = claimant.client_name(Some(&key.namespace));
        match owners.entry((key, name)) {
            Entry::Vacant(free) => {
                free.insert(claimant);
            }
            Entry::Occupied(mut taken) => {
                let key = &taken.key().0;
                if rank(&**claimant, key) < rank(&***taken.get(), key) {
                    taken.insert(claimant);
                }
            }
        }
    }
    owners
}

/// Of two claimants the one with the lower rank owns the name.
fn rank<K: Claimant>(
    claimant: &K,
    key: &ClusterKey,
) -> (bool, Option<Timestamp>, Option<String>, String) {
    let is_new = home_of(claimant).as_ref() != Some(key);
    let created = claimant.creation_timestamp().map(|time| time.0);
    (is_new, created, claimant.namespace(), claimant.name_any())
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
            resolve(&*topic, std::slice::from_ref(&topic), &engines("Same")).expect("resolved");
        assert_eq!(resolved.cluster.to_string(), "streams/main");
        assert_eq!(resolved.name, "flights");
    }

    #[test]
    fn a_topic_of_a_namespace_without_cluster_is_told_so() {
        let topic = topic("shop", "orders", EARLY, &json!({}));
        let error = resolve(&*topic, std::slice::from_ref(&topic), &engines("All"))
            .expect_err("no cluster");
        assert_eq!(error.reason(), "ClusterNotFound");
    }

    #[test]
    fn a_topic_of_a_foreign_namespace_is_not_allowed_unless_the_cluster_says_so() {
        let spec = json!({ "clusterRef": { "name": "main", "namespace": "streams" } });
        let topic = topic("shop", "orders", EARLY, &spec);
        let error =
            resolve(&*topic, std::slice::from_ref(&topic), &engines("Same")).expect_err("foreign");
        assert_eq!(error.reason(), "NotAllowed");
        let resolved =
            resolve(&*topic, std::slice::from_ref(&topic), &engines("All")).expect("allowed");
        assert_eq!(resolved.name, "shop.orders");
    }

    #[test]
    fn the_second_claimant_of_a_name_is_refused() {
        let first = topic("streams", "flights", EARLY, &json!({}));
        let second = topic("streams", "other", LATE, &json!({ "topicName": "flights" }));
        let all = [second.clone(), first.clone()];
        let engines = engines("Same");
        assert!(resolve(&*first, &all, &engines).is_ok());
        let error = resolve(&*second, &all, &engines).expect_err("taken");
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
        let resolved = resolve(&*flights, &all, &engines).expect("pinned");
        assert_eq!(resolved.cluster.to_string(), "streams/main");
        assert_eq!(claims("main", &all, &engines), 1);
        assert_eq!(claims("second", &all, &engines), 0);
    }

    #[test]
    fn a_topic_whose_cluster_is_unclear_claims_its_name_in_all_of_them() {
        let engines = engines("Same");
        add_cluster(&engines, "second");
        let all = [topic("streams", "flights", EARLY, &json!({}))];
        assert!(resolve(&*all[0], &all, &engines).is_err());
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
        let error = resolve(&*moved, &all, &engines).expect_err("moved");
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
        assert!(resolve(&*owner, &all, &engines).is_ok());
        let error = resolve(&*older, &all, &engines).expect_err("taken");
        assert_eq!(error.reason(), "NameConflict");
    }

    fn group(namespace: &str, name: &str, created: &str, spec: &Value) -> Arc<ConsumerGroup> {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "creationTimestamp": created,
            },
            "spec": spec,
        });
        Arc::new(serde_json::from_value(value).expect("valid"))
    }

    #[test]
    fn a_group_is_told_in_its_own_words_whose_the_name_is() {
        let first = group("streams", "billing", EARLY, &json!({}));
        let second = group("streams", "other", LATE, &json!({ "groupName": "billing" }));
        let all = [second.clone(), first.clone()];
        let engines = engines("Same");
        assert!(resolve(&*first, &all, &engines).is_ok());
        let said = resolve(&*second, &all, &engines)
            .expect_err("taken")
            .to_string();
        assert!(
            said.starts_with("ConsumerGroup streams/billing") && said.contains("another groupName"),
            "{said}"
        );
    }

    #[test]
    fn the_owners_of_all_names_are_those_that_each_is_told_of() {
        let mut accepted = (*group("streams", "late", LATE, &json!({ "groupName": "a" }))).clone();
        let status = json!({ "cluster": "streams/main", "groupName": "a" });
        accepted.status = Some(serde_json::from_value(status).expect("valid"));
        let all = [
            group("streams", "a", EARLY, &json!({})),
            Arc::new(accepted),
            group("streams", "b", LATE, &json!({})),
            group("streams", "c", EARLY, &json!({ "groupName": "b" })),
            group(
                "shop",
                "d",
                EARLY,
                &json!({ "clusterRef": { "name": "main", "namespace": "streams" } }),
            ),
        ];
        let engines = engines("Same");
        let owners = owners(&all, &engines);
        let names: Vec<_> = owners
            .iter()
            .map(|((_, name), owner)| (&**name, owner.name_any()))
            .collect();
        assert_eq!(names, [("a", "late".to_owned()), ("b", "c".to_owned())]);
        for claimant in &all {
            let is_owner = owners.values().any(|owner| owner.uid() == claimant.uid());
            assert_eq!(resolve(&**claimant, &all, &engines).is_ok(), is_owner);
        }
    }

    #[test]
    fn a_topic_that_is_not_allowed_owns_no_name() {
        let spec = json!({ "clusterRef": { "name": "main", "namespace": "streams" }, "topicName": "flights" });
        let foreign = topic("shop", "orders", EARLY, &spec);
        let own = topic("streams", "flights", LATE, &json!({}));
        let all = [foreign, own.clone()];
        assert!(resolve(&*own, &all, &engines("Same")).is_ok());
    }
}
