//! ConsumerGroup: resolved to its cluster, declared to the cluster's controller, and told how it fares. Members are the coordinators' business: nothing here
//! is written because one joins, leaves or commits.
//!
//! ```text
//! policy     resource -> what is handed to the brokers
//! declare    all groups of a cluster -> its controller, whenever something changed
//! status     what the controller sees -> what people see. Pure
//! settling   what turned only for a moment is not written
//! deletion   a finalizer, where offsets are to go with the resource
//! losses     records that are lost, as Events
//! ```

mod declare;
mod deletion;
mod losses;
mod policy;
mod settling;
mod status;

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};
use taffrail_crds::{ConsumerGroup, conditions, consumer_group::GroupDeletionPolicy};

use crate::{
    context::Context,
    error::OperatorError,
    paused::is_paused,
    resolve::{Resolved, resolve},
};
pub(crate) use declare::{Declared, run as declare};
use deletion::Ending;
pub(crate) use losses::ToldLosses;
pub(crate) use policy::Checks;
pub(crate) use settling::Settling;
pub(crate) use status::refused_status;
use status::{Difference, Sight, Verdict};

/// A look without a reason.
const RESYNC: Duration = Duration::from_mins(5);
/// The next look while something is on its way. Changes of the controller's picture wake earlier.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// The next look at a deletion.
const DELETING: Duration = Duration::from_secs(1);
/// The next look at numbers that were held back.
const SUMMARY_LATER: Duration = Duration::from_secs(30);

/// One look at one group.
pub(crate) async fn reconcile(
    group: Arc<ConsumerGroup>,
    context: Arc<Context>,
) -> Result<Action, OperatorError> {
    if !(context.groups.ready().await && context.topics.ready().await) {
        return Ok(Action::await_change());
    }
    let result = look(&group, &context).await;
    context.metrics.reconciled("ConsumerGroup", result.is_ok());
    result
}

async fn look(group: &ConsumerGroup, context: &Context) -> Result<Action, OperatorError> {
    let mut sight = Sight {
        watched_for: context.began.elapsed(),
        ..Sight::default()
    };
    let resolved = resolve(group, &context.groups.all(), &context.engines);
    if is_paused(group) {
        sight.verdict = Verdict::Paused;
    } else if group.metadata.deletion_timestamp.is_some() {
        sight.verdict = match deletion::finish(group, &resolved, context).await? {
            Ending::Gone => return Ok(Action::await_change()),
            Ending::UnderWay => Verdict::Deleting,
            Ending::Stuck(reason, message) => Verdict::Refused(reason, message),
        };
    } else {
        sight.verdict = match &resolved {
            Ok(resolved) => {
                deletion::keep_finalizer(group, context).await?;
                judge(group, resolved, context)
            }
            Err(unresolved) => Verdict::Refused(unresolved.reason(), unresolved.to_string()),
        };
    }
    if let Ok(resolved) = &resolved {
        sight.see(resolved);
    }
    let members = sight.reported().map(|seen| seen.members);
    let uid = group.uid().unwrap_or_default();
    sight.with_members_for = context.settling.with_members_for(&uid, members);
    let before = group.status.clone().unwrap_or_default();
    let is_safe = status::is_safe(&before, &sight, Timestamp::now());
    sight.safe_for = context.settling.safe_for(&uid, is_safe);
    tell(group, &sight, context).await
}

/// What was declared of it, unless that cannot be.
fn judge(group: &ConsumerGroup, resolved: &Resolved, context: &Context) -> Verdict {
    match policy::of(group, &resolved.cluster, &resolved.name, context) {
        Err(wrong) => Verdict::Refused("InvalidSpec", wrong.join("; ")),
        Ok(effective) if resolved.handle.is_some() => Verdict::Accepted(Box::new(effective)),
        Ok(_) => Verdict::Unavailable("the cluster's controller is not running".to_owned()),
    }
}

/// Writes the status if it says something new: at once what a person has to know or waits for, what turned when it has lasted, and numbers only as often as
/// the budget allows.
async fn tell(
    group: &ConsumerGroup,
    sight: &Sight,
    context: &Context,
) -> Result<Action, OperatorError> {
    let now = Timestamp::now();
    let before = group.status.clone().unwrap_or_default();
    let mut status = status::next(group, sight, now);
    let lost = status::losses(&before, sight, now);
    losses::tell_hidden(group, &lost, &status.lost, context).await;
    let mut again = next_look(&status, sight, now);
    let uid = group.uid().unwrap_or_default();
    let mut difference = status::difference(&before, &status);
    if difference == Difference::Turned && !context.settling.has_lasted(&uid, &status.conditions) {
        again = again.min(settling::LASTING);
        status.conditions.clone_from(&before.conditions);
        difference = status::difference(&before, &status);
    } else if difference != Difference::Turned {
        context.settling.forget(&uid);
    }
    (context.metrics.group_conditions).note(group, &status.conditions);
    let reason = match difference {
        Difference::None => return Ok(Action::requeue(again)),
        Difference::Numbers => {
            if !status::numbers_are_due(&before, now) {
                return Ok(Action::requeue(again.min(SUMMARY_LATER)));
            }
            let wait = context.writer.wait_for_summary(group);
            if !wait.is_zero() {
                return Ok(Action::requeue(again.min(wait)));
            }
            "summary"
        }
        Difference::Turned | Difference::Urgent => "status",
    };
    context.writer.status(group, &status, reason).await?;
    context
        .events
        .turned(group, &before.conditions, &status.conditions)
        .await;
    losses::tell(group, &lost, &status.lost, context).await;
    tracing::debug!(
        group = group.name_any(),
        namespace = group.namespace(),
        "status written"
    );
    Ok(Action::requeue(again))
}

fn next_look(
    status: &taffrail_crds::ConsumerGroupStatus,
    sight: &Sight,
    now: Timestamp,
) -> Duration {
    // Data may count as safe again by then.
    let safe_in = status::SAFE.saturating_sub(sight.safe_for);
    match sight.verdict {
        Verdict::Deleting => DELETING,
        _ if conditions::is_true(&status.conditions, "Ready") => {
            let next = status::next_tick(status, now).clamp(SUMMARY_LATER, RESYNC);
            if safe_in.is_zero() {
                next
            } else {
                next.min(safe_in.max(SUMMARY_LATER))
            }
        }
        Verdict::Paused => RESYNC,
        _ => UNDER_WAY,
    }
}

fn deletion_policy(group: &ConsumerGroup) -> GroupDeletionPolicy {
    group.spec.deletion_policy.unwrap_or_default()
}
