//! Topic: resolved to its cluster, handed to the cluster's controller, and told how it fares.

mod controller;
mod deletion;
mod owners;
mod status;

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};
use taffrail_controller::{ApplyError, ControllerHandle};
use taffrail_core::{
    DeletionPolicy, TopicId,
    rules::{Violation, check_topic_name},
};
use taffrail_crds::{Topic, conditions};

use crate::{
    context::Context,
    error::OperatorError,
    paused::is_paused,
    resolve::{Resolved, Unresolved, resolve},
};
pub(crate) use controller::delete;
use deletion::Ending;
pub(crate) use owners::Owners;
use owners::Whose;
pub(crate) use status::refused_status;
use status::{Sight, Verdict};

/// A look without a reason.
const RESYNC: Duration = Duration::from_mins(5);
/// The next look while something is on its way. Changes of the controller's view wake earlier.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// The next look at a deletion, whose progress no view shows.
const DELETING: Duration = Duration::from_secs(1);
/// The next look at numbers that were held back.
const SUMMARY_LATER: Duration = Duration::from_secs(30);

/// One look at one topic.
pub(crate) async fn reconcile(
    topic: Arc<Topic>,
    context: Arc<Context>,
) -> Result<Action, OperatorError> {
    if !context.topics.ready().await {
        return Ok(Action::await_change());
    }
    let result = look(&topic, &context).await;
    context.metrics.reconciled("Topic", result.is_ok());
    result
}

async fn look(topic: &Topic, context: &Context) -> Result<Action, OperatorError> {
    let mut sight = Sight::default();
    let resolved = resolve(topic, &context.topics.all(), &context.engines);
    let deleting = topic.metadata.deletion_timestamp.is_some();
    if is_paused(topic) {
        sight.verdict = Verdict::Paused;
    } else if deleting {
        sight.verdict = match deletion::finish(topic, &resolved, context).await? {
            Ending::Gone => return Ok(Action::await_change()),
            Ending::UnderWay => Verdict::Deleting,
            Ending::Stuck(reason, message) => Verdict::Refused(reason, message),
        };
    } else {
        sight.verdict = match &resolved {
            Ok(resolved) => {
                deletion::keep_finalizer(topic, context).await?;
                apply(topic, resolved, context).await
            }
            Err(unresolved) => Verdict::Refused(unresolved.reason(), unresolved.to_string()),
        };
    }
    match &resolved {
        Ok(resolved) => sight.see(resolved),
        Err(Unresolved::Conflict { cluster, name, .. }) => sight.named(cluster, name),
        Err(_) => {}
    }
    tell(topic, &sight, context).await
}

/// Hands the topic to its controller.
async fn apply(topic: &Topic, resolved: &Resolved, context: &Context) -> Verdict {
    let Some(handle) = &resolved.handle else {
        return Verdict::Unavailable("the cluster's controller is not running".to_owned());
    };
    if !resolved.has_defaults {
        // Others would be worse than none: a shorter retention deletes records.
        let why = format!(
            "the resource of cluster {} makes no sense, so that its defaults for topics are not known; see its condition Ready",
            resolved.cluster
        );
        return Verdict::Unavailable(why);
    }
    let spec = match wanted(topic, resolved) {
        Ok(spec) => spec,
        Err(violations) => return refused(&ApplyError::Invalid(violations)),
    };
    let (cluster, name) = (&resolved.cluster, &resolved.name);
    let active = owners::active_id(handle, name);
    if context.owners.whose(topic, cluster, name, active) == Whose::Anothers {
        // The resource that this topic was made for is gone.
        if let Err(error) = delete(handle, name, DeletionPolicy::Retain).await {
            return Verdict::Unavailable(error.to_string());
        }
        context.owners.forget(cluster, name);
    }
    let verdict = hand_over(handle, owners::id_for(topic), name, spec).await;
    if matches!(verdict, Verdict::Accepted { .. }) {
        let uid = topic.uid().unwrap_or_default();
        context.owners.note(cluster, name, &uid);
    }
    verdict
}

fn wanted(topic: &Topic, resolved: &Resolved) -> Result<taffrail_core::TopicSpec, Vec<Violation>> {
    let spec = taffrail_core::TopicSpec::try_from(&topic.spec);
    // A name that the resource spells out was checked with the spec.
    let named = match topic.spec.topic_name {
        Some(_) => Vec::new(),
        None => check_topic_name(&resolved.name),
    };
    match (spec, named.is_empty()) {
        (Ok(spec), true) => Ok(spec),
        (Ok(_), false) => Err(named),
        (Err(mut violations), _) => {
            violations.extend(named);
            Err(violations)
        }
    }
}

async fn hand_over(
    handle: &ControllerHandle,
    id: Option<TopicId>,
    name: &str,
    spec: taffrail_core::TopicSpec,
) -> Verdict {
    match controller::apply(handle, id, name, spec).await {
        Ok(applied) => Verdict::Accepted {
            topic_id: applied.topic_id,
        },
        Err(
            error @ (ApplyError::TooManyWaiting
            | ApplyError::NotActive
            | ApplyError::StoreUnavailable(_)),
        ) => Verdict::Unavailable(error.to_string()),
        Err(error) => refused(&error),
    }
}

fn refused(error: &ApplyError) -> Verdict {
    Verdict::Refused(error.reason(), error.to_string())
}

/// Writes the status if it says something new, numbers only as often as the budget allows.
async fn tell(topic: &Topic, sight: &Sight, context: &Context) -> Result<Action, OperatorError> {
    let now = Timestamp::now();
    let before = topic.status.clone().unwrap_or_default();
    let status = status::next(topic, sight, now);
    let again = match sight.verdict {
        Verdict::Deleting => DELETING,
        _ if conditions::is_true(&status.conditions, "Ready") => RESYNC,
        _ => UNDER_WAY,
    };
    if status == before {
        return Ok(Action::requeue(again));
    }
    let reason = if status::differs_in_numbers_only(&before, &status) {
        if !status::storage_is_due(&before, now) {
            return Ok(Action::requeue(SUMMARY_LATER));
        }
        let wait = context.writer.wait_for_summary(topic);
        if !wait.is_zero() {
            return Ok(Action::requeue(again.min(wait)));
        }
        "summary"
    } else {
        "status"
    };
    context.writer.status(topic, &status, reason).await?;
    context
        .events
        .turned(topic, &before.conditions, &status.conditions)
        .await;
    tracing::debug!(
        topic = topic.name_any(),
        namespace = topic.namespace(),
        "status written"
    );
    Ok(Action::requeue(again))
}
