//! Every write to the API server goes through here: one field manager, counted by kind and reason, with a deadline.

mod summaries;

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::PersistentVolumeClaim};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, PartialObjectMeta, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    error::OperatorError,
    metrics::{Metrics, WriteLabels},
};
use summaries::Summaries;

/// Owns the fields that the operator sets.
pub(crate) const FIELD_MANAGER: &str = "taffrail-operator";
/// No call to the API server waits longer.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Summaries (bytes, counts) over all resources: one in this time, so that they stay a small part of a write a second.
pub(crate) const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);

/// Writes resources.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    metrics: Metrics,
    summaries: Arc<Mutex<Summaries>>,
}

impl Writer {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            client,
            metrics,
            summaries: Arc::default(),
        }
    }

    /// How long a resource has to wait before its numbers may be written; it keeps its turn. Zero: now, and the next one waits a little.
    pub(crate) fn wait_for_summary<K: Resource>(&self, object: &K) -> Duration {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let summaries = self.summaries.lock();
        let mut summaries = summaries.unwrap_or_else(PoisonError::into_inner);
        summaries.wait(uid, Instant::now())
    }

    /// Server-side apply of what the operator owns of `object`.
    pub(crate) async fn apply<K>(
        &self,
        object: &K,
        reason: &'static str,
    ) -> Result<K, OperatorError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        self.count::<K>(reason);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.api::<K>(object);
        let name = object.name_any();
        let patch = Patch::Apply(object);
        within(api.patch(&name, &params, &patch), "apply", object).await
    }

    /// Replaces the operator's part of the status.
    pub(crate) async fn status<K, S>(
        &self,
        object: &K,
        status: &S,
        reason: &'static str,
    ) -> Result<(), OperatorError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
        S: Serialize + Sync,
    {
        self.count::<K>(reason);
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": object.name_any() },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.metadata_api(object);
        let name = object.name_any();
        let patch = Patch::Apply(&patch);
        within(
            api.patch_status(&name, &params, &patch),
            "write the status of",
            object,
        )
        .await?;
        Ok(())
    }

    /// Sets the finalizers, if the resource is still as it was seen.
    pub(crate) async fn finalizers<K>(
        &self,
        object: &K,
        finalizers: &[String],
    ) -> Result<(), OperatorError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.count::<K>("finalizer");
        let patch = json!({
            "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers },
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.metadata_api(object);
        let name = object.name_any();
        let patch = Patch::Merge(&patch);
        within(
            api.patch(&name, &params, &patch),
            "set the finalizers of",
            object,
        )
        .await?;
        Ok(())
    }

    /// Asks for a larger volume.
    pub(crate) async fn resize(
        &self,
        claim: &PersistentVolumeClaim,
        size: &str,
    ) -> Result<(), OperatorError> {
        self.count::<PersistentVolumeClaim>("resize");
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.metadata_api(claim);
        let name = claim.name_any();
        let patch = Patch::Merge(&patch);
        within(api.patch(&name, &params, &patch), "resize", claim).await?;
        Ok(())
    }

    /// Deletes an object that the operator made.
    pub(crate) async fn delete<K>(
        &self,
        object: &K,
        params: &DeleteParams,
        reason: &'static str,
    ) -> Result<(), OperatorError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.count::<K>(reason);
        let api = self.api::<K>(object);
        let name = object.name_any();
        within(api.delete(&name, params), "delete", object).await?;
        Ok(())
    }

    fn api<K>(&self, object: &K) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// Whose answers can be read even if the resource cannot.
    fn metadata_api<K>(&self, object: &K) -> Api<PartialObjectMeta<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    fn count<K: Resource<DynamicType = ()>>(&self, reason: &'static str) {
        // Kinds are compiled in; there are a dozen.
        let kind = match K::kind(&()) {
            std::borrow::Cow::Borrowed(kind) => kind,
            std::borrow::Cow::Owned(_) => "other",
        };
        self.metrics
            .writes
            .get_or_create(&WriteLabels { kind, reason })
            .inc();
    }
}

async fn within<K, R>(
    call: impl Future<Output = Result<R, kube::Error>>,
    action: &'static str,
    object: &K,
) -> Result<R, OperatorError>
where
    K: Resource<DynamicType = ()>,
{
    let name = format!(
        "{} {}/{}",
        K::kind(&()),
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    match timeout(API_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(OperatorError::kube(action, name)),
        Err(elapsed) => Err(OperatorError::kube(action, name)(kube::Error::Service(
            Box::new(elapsed),
        ))),
    }
}
