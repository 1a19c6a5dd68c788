//! Resources as they were last seen.

use std::{fmt, sync::Arc};

use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};

use crate::watch;

/// Every resource of a kind that the operator watches, a store for each namespace watched.
#[derive(Clone)]
pub(crate) struct Stores<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(crate) stores: Vec<Store<K>>,
}

impl<K> Stores<K>
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + 'static,
{
    /// Waits until every store was filled once. False if the operator is being stopped.
    pub(crate) async fn ready(&self) -> bool {
        for store in &self.stores {
            if !watch::is_filled(store).await {
                return false;
            }
        }
        true
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.stores.iter().flat_map(Store::state).collect()
    }

    /// The one of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let resource = ObjectRef::new(name).within(namespace);
        self.stores.iter().find_map(|store| store.get(&resource))
    }
}
