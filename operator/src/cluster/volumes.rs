//! Brokers' volumes grow with `storage.size`. Those that are there are told to; the StatefulSet, whose claim templates cannot change, is made again
//! around its pods, so that brokers to come get the new size at once.

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
};
use taffrail_core::quantity::parse_size;
use taffrail_crds::BrokerCluster;
use tokio::time::timeout;

use super::build;
use crate::{context::Context, engines::ClusterKey, error::OperatorError, writes::API_TIMEOUT};

/// What is to be said of the volumes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Volumes {
    /// They have their size.
    #[default]
    Fit,
    /// Some are not as large yet.
    Expanding,
    /// One may not grow, for this reason.
    Refused(String),
}

/// Tells volumes that are too small to grow.
pub(super) async fn grow(
    cluster: &BrokerCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<Volumes, OperatorError> {
    let wanted = cluster.spec.storage.size.0;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &key.namespace);
    let ours = ListParams::default().labels(&build::label_selector(cluster));
    let listed = timeout(API_TIMEOUT, api.list(&ours)).await;
    let listed = listed
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
        .map_err(OperatorError::kube(
            "list",
            format!("volume claims of {key}"),
        ))?;
    let mut volumes = Volumes::Fit;
    for claim in listed.iter().filter(|claim| is_bound(claim)) {
        if capacity(claim).is_some_and(|bytes| bytes < wanted) && volumes == Volumes::Fit {
            volumes = Volumes::Expanding;
        }
        if requested(claim).is_some_and(|bytes| bytes < wanted) {
            let size = cluster.spec.storage.size.to_string();
            match context.writer.resize(claim, &size).await {
                Ok(()) => tracing::info!(claim = claim.name_any(), size, "volume grows"),
                Err(error) => volumes = refused(claim, error)?,
            }
        }
    }
    Ok(volumes)
}

/// What the API server says of a claim that may not grow is for the one who asked for it; anything else is tried again.
fn refused(claim: &PersistentVolumeClaim, error: OperatorError) -> Result<Volumes, OperatorError> {
    let OperatorError::Kube { source, .. } = &error else {
        return Err(error);
    };
    match &**source {
        // 403 is also what an operator without the right is told.
        kube::Error::Api(status)
            if status.code == 422
                || status.code == 403 && !status.message.contains("cannot patch resource") =>
        {
            Ok(Volumes::Refused(format!(
                "volume claim {} cannot grow to storage.size; set allowVolumeExpansion: true in its StorageClass if its driver can: {}",
                claim.name_any(),
                status.message
            )))
        }
        _ => Err(error),
    }
}

/// Takes a StatefulSet away that would make volumes of another size, and leaves its pods. True if it is on its way.
pub(super) async fn release(
    stateful_set: Option<&StatefulSet>,
    wanted: &StatefulSet,
    context: &Context,
) -> Result<bool, OperatorError> {
    let Some(found) = stateful_set else {
        return Ok(false);
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    if template(found) == template(wanted) {
        return Ok(false);
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: found.uid(),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    context.writer.delete(found, &params, "resize").await?;
    tracing::info!(
        stateful_set = found.name_any(),
        "made again with another size of volumes; its pods go on"
    );
    Ok(true)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some("Bound")
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<u64> {
    bytes(claim.status.as_ref()?.capacity.as_ref()?.get("storage")?)
}

fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    bytes(resources.requests.as_ref()?.get("storage")?)
}

/// The size of the volumes that it makes.
fn template(set: &StatefulSet) -> Option<u64> {
    requested(
        set.spec
            .as_ref()?
            .volume_claim_templates
            .as_ref()?
            .first()?,
    )
}

fn bytes(quantity: &Quantity) -> Option<u64> {
    parse_size(&quantity.0).ok()
}
