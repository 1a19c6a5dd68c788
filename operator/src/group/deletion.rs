//! A group whose offsets are to be deleted keeps its resource, by a finalizer, until its coordinator has forgotten it. Others vanish at once: their offsets
//! stay, and they go on without a policy.

use kube::ResourceExt as _;
use taffrail_core::rules::check_group_name;
use taffrail_crds::{ConsumerGroup, consumer_group::GroupDeletionPolicy};

use super::deletion_policy;
use crate::{
    context::Context,
    error::OperatorError,
    finalizer::Finalizer,
    resolve::{Resolved, Unresolved},
};

/// Keeps the resource until its offsets are deleted.
const FINALIZER: Finalizer = Finalizer("taffrail.dev/offsets");

/// Sets or removes the finalizer as the deletion policy says.
pub(super) async fn keep_finalizer(
    group: &ConsumerGroup,
    context: &Context,
) -> Result<(), OperatorError> {
    let wanted = deletion_policy(group) == GroupDeletionPolicy::Delete;
    FINALIZER.keep(group, wanted, &context.writer).await
}

/// How far a deletion is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing of it is left, and no finalizer.
    Gone,
    /// The group has members, or its coordinator has not forgotten it yet.
    UnderWay,
    /// Nobody can delete its offsets as things are: reason and message.
    Stuck(&'static str, String),
}

/// Are its offsets to go now?
pub(super) fn is_to_be_forgotten(group: &ConsumerGroup) -> bool {
    group.metadata.deletion_timestamp.is_some()
        && FINALIZER.is_on(group)
        && deletion_policy(group) == GroupDeletionPolicy::Delete
}

/// Sees the deletion through. A group that never owned its name has no offsets to delete.
pub(super) async fn finish(
    group: &ConsumerGroup,
    resolved: &Result<Resolved, Unresolved>,
    context: &Context,
) -> Result<Ending, OperatorError> {
    if !FINALIZER.is_on(group) {
        return Ok(Ending::Gone);
    }
    if is_to_be_forgotten(group) {
        match resolved {
            Ok(resolved)
                if may_have_offsets(&resolved.name) && !is_forgotten(resolved, context) =>
            {
                return Ok(Ending::UnderWay);
            }
            Ok(_) => {}
            Err(unresolved) => {
                if let Some(stuck) = stuck(unresolved, context.unreadable.is_empty()) {
                    return Ok(stuck);
                }
            }
        }
    }
    FINALIZER.keep(group, false, &context.writer).await?;
    tracing::info!(
        group = group.name_any(),
        namespace = group.namespace(),
        "group is gone"
    );
    Ok(Ending::Gone)
}

/// No broker takes a group whose name breaks a rule, nor the word to forget it.
fn may_have_offsets(name: &str) -> bool {
    check_group_name(name).is_empty()
}

/// The controller's picture has it no more, and is newer than the word that the group is to be forgotten.
fn is_forgotten(resolved: &Resolved, context: &Context) -> bool {
    let Resolved { cluster, name, .. } = resolved;
    resolved.handle.as_ref().is_some_and(|handle| {
        context.declared.is_to_forget(cluster, name) && !handle.groups().contains_key(name)
    })
}

/// What keeps a group without a usable cluster from ending, if there may be offsets of it.
fn stuck(unresolved: &Unresolved, are_all_seen: bool) -> Option<Ending> {
    (!unresolved.leaves_nothing(are_all_seen)).then(|| {
        let message = format!(
            "the group's offsets cannot be deleted: {unresolved}; or set deletionPolicy: Retain to leave them"
        );
        Ending::Stuck(unresolved.reason(), message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(policy: &str, finalizers: &[&str], is_deleted: bool) -> ConsumerGroup {
        let deleted = is_deleted.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": { "name": "billing", "finalizers": finalizers, "deletionTimestamp": deleted },
            "spec": { "deletionPolicy": policy },
        }))
        .expect("valid")
    }

    #[test]
    fn offsets_go_only_with_a_deleted_resource_that_says_so() {
        let ours = ["example.com/other", FINALIZER.0];
        assert!(is_to_be_forgotten(&group("Delete", &ours, true)));
        assert!(!is_to_be_forgotten(&group("Delete", &ours, false)));
        assert!(!is_to_be_forgotten(&group("Retain", &ours, true)));
        // It was deleted before the operator saw that its offsets are to go, or they are gone.
        assert!(!is_to_be_forgotten(&group("Delete", &ours[..1], true)));
        assert_eq!(FINALIZER.others(&group("Delete", &ours, true)), ours[..1]);
    }

    #[test]
    fn a_group_that_no_broker_takes_has_no_offsets() {
        assert!(may_have_offsets("shop.billing"));
        assert!(!may_have_offsets(&format!("shop.{}", "x".repeat(249))));
    }

    #[test]
    fn a_cluster_that_is_gone_keeps_no_resource_but_one_that_cannot_be_read_does() {
        let missing = Unresolved::Missing("streams/main".to_owned());
        assert_eq!(stuck(&missing, true), None);
        let Some(Ending::Stuck("ClusterNotFound", message)) = stuck(&missing, false) else {
            panic!("kept");
        };
        assert!(message.contains("deletionPolicy: Retain"), "{message}");
        let many = Unresolved::ManyClusters {
            namespace: "streams".to_owned(),
            count: 2,
        };
        assert!(stuck(&many, true).is_some());
    }
}
