//! Applies the objects of a cluster: at once when what is wanted changed or somebody else changed it, otherwise never.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{context::Context, error::OperatorError, writes::API_TIMEOUT};

/// What was applied, by kind, namespace and name. A new term starts empty and applies everything once.
pub(crate) type Applied = Mutex<HashMap<String, Stamp>>;

/// Tells whether an object is still as we applied it. The generation of kinds that have none stays `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    wanted: u64,
    uid: Option<String>,
    generation: Option<i64>,
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
    let found = found.map(|found| Stamp {
        wanted,
        uid: found.metadata.uid,
        generation: found.metadata.generation,
    });
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
    let stamp = Stamp {
        wanted,
        uid: written.uid(),
        generation: written.meta().generation,
    };
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
