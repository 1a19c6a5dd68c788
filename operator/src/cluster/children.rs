//! Applies the objects of a cluster: at once when what is wanted changed or somebody else changed it, otherwise never.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{context::Context, error::OperatorError, writes::API_TIMEOUT};

/// What was applied, by kind, namespace and name. A new term starts empty and applies everything once.
pub(crate) type Applied = Mutex<HashMap<String, Stamp>>;

/// Tells whether an object is still as we applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    wanted: u64,
    uid: Option<String>,
    version: Option<String>,
}

impl Stamp {
    /// The generation, which a change of status leaves alone. Kinds that have none (ConfigMap, Service) have hardly a status: their resource version.
    fn new(wanted: u64, meta: &ObjectMeta) -> Self {
        let generation = meta.generation.map(|generation| generation.to_string());
        Self {
            wanted,
            uid: meta.uid.clone(),
            version: generation.or_else(|| meta.resource_version.clone()),
        }
    }
}

/// Server-side apply, if needed.
pub(super) async fn apply<K>(object: &K, context: &Context) -> Result<(), OperatorError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let key = format!("{}/{namespace}/{name}", K::kind(&()));
    let wanted = hash(object);
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let found = timeout(API_TIMEOUT, api.get_metadata_opt(&name)).await;
    let found = found
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
        .map_err(OperatorError::kube("read", key.clone()))?;
    let found = found.map(|found| Stamp::new(wanted, &found.metadata));
    let last = context
        .applied
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .cloned();
    if found.is_some() && found == last {
        return Ok(());
    }
    let reason = if last.is_some() { "changed" } else { "first" };
    let written = context.writer.apply(object, reason).await?;
    tracing::info!(object = key, "applied");
    let stamp = Stamp::new(wanted, written.meta());
    context
        .applied
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, stamp);
    Ok(())
}

fn hash<K: Serialize>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    let json = serde_json::to_string(object).expect("a Kubernetes object is JSON");
    json.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(generation: Option<i64>, version: &str) -> ObjectMeta {
        ObjectMeta {
            generation,
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_without_a_generation_changes_with_its_resource_version() {
        let ours = Stamp::new(1, &meta(None, "7"));
        assert_eq!(ours, Stamp::new(1, &meta(None, "7")));
        assert_ne!(ours, Stamp::new(1, &meta(None, "8")));
    }

    #[test]
    fn a_new_status_is_no_change_of_an_object_with_a_generation() {
        let ours = Stamp::new(1, &meta(Some(2), "7"));
        assert_eq!(ours, Stamp::new(1, &meta(Some(2), "8")));
        assert_ne!(ours, Stamp::new(1, &meta(Some(3), "9")));
    }
}
