//! A topic whose data is to be deleted keeps its resource, by a finalizer, until the data is gone. Others vanish at once; `sweep` takes them out of
//! service and leaves their data.

use kube::ResourceExt as _;
use taffrail_controller::Deleted;
use taffrail_core::DeletionPolicy;
use taffrail_crds::Topic;

use super::{controller, resolve::Resolved};
use crate::{context::Context, error::OperatorError};

/// Keeps the resource until its data is deleted.
const FINALIZER: &str = "taffrail.dev/data";

/// Sets or removes the finalizer as the deletion policy says.
pub(super) async fn keep_finalizer(topic: &Topic, context: &Context) -> Result<(), OperatorError> {
    let wanted = policy(topic) != DeletionPolicy::Retain;
    let has = topic.finalizers().iter().any(|f| f == FINALIZER);
    if wanted == has {
        return Ok(());
    }
    let mut finalizers = others(topic);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    context.writer.finalizers(topic, &finalizers).await
}

/// Sees the deletion through. True once the finalizer is gone. A topic that never owned its name has no data to delete.
pub(super) async fn finish(
    topic: &Topic,
    resolved: Option<&Resolved>,
    context: &Context,
) -> Result<bool, OperatorError> {
    if !topic.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(true);
    }
    if let Some(resolved) = resolved {
        let Some(handle) = &resolved.handle else {
            return Ok(false);
        };
        match controller::delete(handle, &resolved.name, policy(topic)).await {
            Ok(Deleted::Gone | Deleted::Retained) => {
                context.owners.forget(&resolved.cluster, &resolved.name);
            }
            Ok(Deleted::Deleting { pending }) => {
                tracing::debug!(topic = resolved.name, pending, "data is being deleted");
                return Ok(false);
            }
            Err(error) => {
                tracing::warn!(topic = resolved.name, %error, "cannot delete the topic now");
                return Ok(false);
            }
        }
    }
    context.writer.finalizers(topic, &others(topic)).await?;
    tracing::info!(
        topic = topic.name_any(),
        namespace = topic.namespace(),
        "topic is gone"
    );
    Ok(true)
}

fn policy(topic: &Topic) -> DeletionPolicy {
    topic
        .spec
        .deletion_policy
        .map(Into::into)
        .unwrap_or_default()
}

fn others(topic: &Topic) -> Vec<String> {
    topic
        .finalizers()
        .iter()
        .filter(|f| *f != FINALIZER)
        .cloned()
        .collect()
}
