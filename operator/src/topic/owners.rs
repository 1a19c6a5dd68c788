//! Which resource a topic belongs to. A resource that was deleted and made again is another one: its topic ended with the first, and the data
//! that was kept is adopted only if the new one says so, however fast it came.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::engines::ClusterKey;

/// The uid of the resource that each topic was accepted for, as far as this operator saw it in this term.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<(ClusterKey, String), String>>);

impl Owners {
    /// Notes whose the topic is.
    pub(crate) fn note(&self, cluster: &ClusterKey, name: &str, uid: &str) {
        self.lock()
            .insert((cluster.clone(), name.to_owned()), uid.to_owned());
    }

    /// The topic is nobody's any more.
    pub(crate) fn forget(&self, cluster: &ClusterKey, name: &str) {
        self.lock().remove(&(cluster.clone(), name.to_owned()));
    }

    /// Was the topic accepted for another resource than this one?
    pub(crate) fn is_anothers(&self, cluster: &ClusterKey, name: &str, uid: &str) -> bool {
        let owners = self.lock();
        owners
            .get(&(cluster.clone(), name.to_owned()))
            .is_some_and(|owner| owner != uid)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ClusterKey, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_made_again_is_another_one() {
        let owners = Owners::default();
        let cluster = ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        };
        assert!(!owners.is_anothers(&cluster, "flights", "a"));
        owners.note(&cluster, "flights", "a");
        assert!(!owners.is_anothers(&cluster, "flights", "a"));
        assert!(owners.is_anothers(&cluster, "flights", "b"));
        owners.forget(&cluster, "flights");
        assert!(!owners.is_anothers(&cluster, "flights", "b"));
    }
}
