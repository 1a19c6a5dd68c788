//! One controller for each BrokerCluster, and who they are for.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::Router;
use kube::ResourceExt as _;
use taffrail_controller::ControllerHandle;
use taffrail_core::TopicDefaults;
use taffrail_crds::BrokerCluster;
use tokio::sync::watch;

/// Names a BrokerCluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClusterKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ClusterKey {
    pub(crate) fn of(cluster: &BrokerCluster) -> Self {
        Self {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A cluster as it was last seen, and its controller if that runs.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) cluster: Arc<BrokerCluster>,
    /// What held last for topics that do not say. `None`: nothing that makes sense was ever seen.
    pub(crate) defaults: Option<TopicDefaults>,
    pub(crate) running: Option<Running>,
}

/// A running controller and the services that its brokers call.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) handle: ControllerHandle,
    pub(crate) routes: Router,
}

/// All clusters. The lock is held for a look-up only.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    by_key: Mutex<BTreeMap<ClusterKey, Engine>>,
    changed: watch::Sender<u64>,
}

impl Engines {
    /// Notes a cluster as it is now. Its controller, if any, goes on.
    pub(crate) fn note(&self, cluster: Arc<BrokerCluster>) {
        let key = ClusterKey::of(&cluster);
        let mut by_key = self.lock();
        let changed = if let Some(engine) = by_key.get_mut(&key) {
            let changed = engine.cluster.spec != cluster.spec;
            engine.cluster = cluster;
            changed
        } else {
            let engine = Engine {
                cluster,
                defaults: None,
                running: None,
            };
            by_key.insert(key, engine);
            true
        };
        drop(by_key);
        if changed {
            self.touch();
        }
    }

    /// Notes a cluster that cannot be read, unless it is known from before. All that is known of it then is who it is.
    pub(crate) fn note_stand_in(&self, cluster: Arc<BrokerCluster>) {
        if self.get(&ClusterKey::of(&cluster)).is_none() {
            self.note(cluster);
        }
    }

    /// Topics that do not say get this from now on. Without effect if the cluster is gone.
    pub(crate) fn set_defaults(&self, key: &ClusterKey, defaults: TopicDefaults) {
        if let Some(engine) = self.lock().get_mut(key) {
            engine.defaults = Some(defaults);
        }
    }

    /// A controller took office. Without effect if the cluster is gone.
    pub(crate) fn set_running(&self, key: &ClusterKey, running: Option<Running>) {
        if let Some(engine) = self.lock().get_mut(key) {
            engine.running = running;
        }
        self.touch();
    }

    /// Takes a cluster out.
    pub(crate) fn remove(&self, key: &ClusterKey) -> Option<Engine> {
        let removed = self.lock().remove(key);
        self.touch();
        removed
    }

    pub(crate) fn get(&self, key: &ClusterKey) -> Option<Engine> {
        self.lock().get(key).cloned()
    }

    /// The only cluster of a namespace.
    pub(crate) fn only_in(&self, namespace: &str) -> Result<ClusterKey, usize> {
        let by_key = self.lock();
        let mut keys = by_key.keys().filter(|key| key.namespace == namespace);
        match (keys.next(), keys.count()) {
            (Some(key), 0) => Ok(key.clone()),
            (first, more) => Err(usize::from(first.is_some()) + more),
        }
    }

    pub(crate) fn keys(&self) -> Vec<ClusterKey> {
        self.lock().keys().cloned().collect()
    }

    /// Every controller that runs.
    pub(crate) fn handles(&self) -> Vec<(ClusterKey, ControllerHandle)> {
        let by_key = self.lock();
        let running = by_key.iter().filter_map(|(key, engine)| {
            let running = engine.running.as_ref()?;
            Some((key.clone(), running.handle.clone()))
        });
        running.collect()
    }

    /// Tells that topics may look different: a cluster or a controller's view changed.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterKey, Engine>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(namespace: &str, name: &str) -> Arc<BrokerCluster> {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "BrokerCluster",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "brokers": 1, "storage": { "size": "1Gi" } },
        });
        Arc::new(serde_json::from_value(value).expect("valid"))
    }

    #[test]
    fn the_only_cluster_of_a_namespace_is_its_default() {
        let engines = Engines::default();
        assert_eq!(engines.only_in("a"), Err(0));
        engines.note(cluster("a", "main"));
        engines.note(cluster("b", "main"));
        assert_eq!(
            engines.only_in("a").map(|k| k.to_string()),
            Ok("a/main".to_owned())
        );
        engines.note(cluster("a", "other"));
        assert_eq!(engines.only_in("a"), Err(2));
    }

    #[test]
    fn a_stand_in_takes_nobodys_place() {
        let engines = Engines::default();
        let mut known = (*cluster("a", "main")).clone();
        known.spec.brokers = 3;
        engines.note(Arc::new(known));
        for name in ["main", "other"] {
            engines.note_stand_in(cluster("a", name));
        }
        let brokers = |name: &str| {
            let key = ClusterKey::of(&cluster("a", name));
            engines.get(&key).map(|engine| engine.cluster.spec.brokers)
        };
        assert_eq!([brokers("main"), brokers("other")], [Some(3), Some(1)]);
    }

    #[test]
    fn the_same_cluster_again_wakes_nobody() {
        let engines = Engines::default();
        engines.note(cluster("a", "main"));
        let seen = *engines.changed().borrow();
        engines.note(cluster("a", "main"));
        assert_eq!(*engines.changed().borrow(), seen);
    }
}
