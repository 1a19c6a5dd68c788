//! A topic whose data is to be deleted keeps its resource, by a finalizer, until the data is gone. Others vanish at once; `sweep` takes them out of
//! service and leaves their data.

use kube::ResourceExt as _;
use taffrail_controller::Deleted;
use taffrail_core::DeletionPolicy;
use taffrail_crds::Topic;

use super::{
    controller,
    owners::{self, Whose},
};
use crate::{
    context::Context,
    error::OperatorError,
    finalizer::Finalizer,
    resolve::{Resolved, Unresolved},
};

/// Keeps the resource until its data is deleted.
const FINALIZER: Finalizer = Finalizer("taffrail.dev/data");

/// Sets or removes the finalizer as the deletion policy says.
pub(super) async fn keep_finalizer(topic: &Topic, context: &Context) -> Result<(), OperatorError> {
    let wanted = policy(topic) != DeletionPolicy::Retain;
    FINALIZER.keep(topic, wanted, &context.writer).await
}

/// How far a deletion is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing of it is left, and no finalizer.
    Gone,
    /// Data is being deleted.
    UnderWay,
    /// Nobody can delete its data as things are: reason and message.
    Stuck(&'static str, String),
}

/// Sees the deletion through. A topic that never owned its name has no data to delete.
pub(super) async fn finish(
    topic: &Topic,
    resolved: &Result<Resolved, Unresolved>,
    context: &Context,
) -> Result<Ending, OperatorError> {
    if !FINALIZER.is_on(topic) {
        return Ok(Ending::Gone);
    }
    match resolved {
        Ok(resolved) => {
            if !delete_data(topic, resolved, context).await {
                return Ok(Ending::UnderWay);
            }
        }
        Err(unresolved) => {
            let are_all_seen = context.unreadable.is_empty();
            if let Some(stuck) = stuck(policy(topic), unresolved, are_all_seen) {
                return Ok(stuck);
            }
        }
    }
    FINALIZER.keep(topic, false, &context.writer).await?;
    tracing::info!(
        topic = topic.name_any(),
        namespace = topic.namespace(),
        "topic is gone"
    );
    Ok(Ending::Gone)
}

/// True once there is no data to delete any more.
async fn delete_data(topic: &Topic, resolved: &Resolved, context: &Context) -> bool {
    let Resolved { cluster, name, .. } = resolved;
    let Some(handle) = &resolved.handle else {
        return false;
    };
    let active = owners::active_id(handle, name);
    let policy = match context.owners.whose(topic, cluster, name, active) {
        Whose::Own => policy(topic),
        // It is ended already, or never was: what is left is to see a deletion through.
        Whose::Nobodys => DeletionPolicy::Retain,
        Whose::Anothers => return true,
    };
    match controller::delete(handle, name, policy).await {
        // Without any: what is left is on volumes that are gone.
        Ok(Deleted::Gone | Deleted::Retained | Deleted::Deleting { pending: 0 }) => {
            context.owners.forget(cluster, name);
            true
        }
        Ok(Deleted::NotEmpty) => {
            context.owners.forget(cluster, name);
            let kept = "a record is left, or a broker cannot say that there is none: the data stays on the brokers; a new Topic continues it with adoption: ByName";
            context.events.warn(topic, "DataRetained", kept).await;
            true
        }
        Ok(Deleted::Deleting { pending }) => {
            tracing::debug!(topic = name, pending, "data is being deleted");
            false
        }
        Err(error) => {
            tracing::warn!(topic = name, %error, "cannot delete the topic now");
            false
        }
    }
}

/// What keeps a topic without a usable cluster from ending, if its data is to be deleted and there may be some.
fn stuck(policy: DeletionPolicy, unresolved: &Unresolved, are_all_seen: bool) -> Option<Ending> {
    if unresolved.leaves_nothing(are_all_seen) || policy == DeletionPolicy::Retain {
        return None;
    }
    let message = format!(
        "the topic's data cannot be deleted: {unresolved}; or set deletionPolicy: Retain to leave the data where it is"
    );
    Some(Ending::Stuck(unresolved.reason(), message))
}

fn policy(topic: &Topic) -> DeletionPolicy {
    topic
        .spec
        .deletion_policy
        .map(Into::into)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many() -> Unresolved {
        Unresolved::ManyClusters {
            namespace: "streams".to_owned(),
            count: 2,
        }
    }

    #[test]
    fn data_to_be_deleted_keeps_its_resource_while_its_cluster_is_unclear() {
        let stuck = stuck(DeletionPolicy::Delete, &many(), true);
        let Some(Ending::Stuck("ClusterNotFound", message)) = stuck else {
            panic!("kept: {stuck:?}");
        };
        assert!(message.contains("deletionPolicy: Retain"), "{message}");
    }

    #[test]
    fn data_that_is_to_stay_keeps_no_resource() {
        assert_eq!(stuck(DeletionPolicy::Retain, &many(), true), None);
    }

    #[test]
    fn a_cluster_that_is_gone_keeps_no_resource_but_one_that_cannot_be_read_does() {
        let missing = Unresolved::Missing("streams/main".to_owned());
        assert_eq!(stuck(DeletionPolicy::Delete, &missing, true), None);
        assert!(stuck(DeletionPolicy::Delete, &missing, false).is_some());
    }
}
