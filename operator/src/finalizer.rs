//! Finalizers: what keeps a deleted resource until something of it is gone.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::{error::OperatorError, writes::Writer};

/// One of the operator's finalizers, by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finalizer(pub(crate) &'static str);

impl Finalizer {
    /// Is it on the resource?
    pub(crate) fn is_on(self, resource: &impl ResourceExt) -> bool {
        resource.finalizers().iter().any(|f| f == self.0)
    }

    /// Sets or removes it, if that is not so already.
    pub(crate) async fn keep<K>(
        self,
        resource: &K,
        wanted: bool,
        writer: &Writer,
    ) -> Result<(), OperatorError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        if wanted == self.is_on(resource) {
            return Ok(());
        }
        let mut finalizers = self.others(resource);
        if wanted {
            finalizers.push(self.0.to_owned());
        }
        writer.finalizers(resource, &finalizers).await
    }

    /// Those of others.
    pub(crate) fn others(self, resource: &impl ResourceExt) -> Vec<String> {
        let others = resource.finalizers().iter().filter(|f| **f != *self.0);
        others.cloned().collect()
    }
}
