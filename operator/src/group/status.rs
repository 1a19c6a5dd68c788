//! What a group's status says. Pure.

mod conditions;
mod numbers;

pub(super) use conditions::SAFE;

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};
use taffrail_api::v1;
use taffrail_crds::{
    ConsumerGroup, ConsumerGroupStatus,
    conditions::{find, next as next_conditions},
    consumer_group::{EffectiveGroup, Lag, LostRecords},
};

use crate::resolve::Resolved;
use numbers::Numbers;

/// Numbers are written no more often than this for one group.
const NUMBERS_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// What the operator makes of the group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Verdict {
    /// Its controller has this policy of it.
    Accepted(Box<EffectiveGroup>),
    /// It may not be, for this reason and with this message.
    Refused(&'static str, String),
    /// Nobody can say just now, because of this.
    Unavailable(String),
    /// Its offsets are to go.
    Deleting,
    /// Hands off.
    #[default]
    Paused,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) verdict: Verdict,
    pub(super) cluster: Option<String>,
    pub(super) name: Option<String>,
    pub(super) seen: Option<v1::GroupStatus>,
    /// For how long this operator is the active one.
    pub(super) watched_for: Duration,
    /// For how long the group is known to have members.
    pub(super) with_members_for: Duration,
    /// For how long nothing of it has been about to expire.
    pub(super) safe_for: Duration,
}

impl Sight {
    pub(super) fn see(&mut self, resolved: &Resolved) {
        self.cluster = Some(resolved.cluster.to_string());
        self.name = Some(resolved.name.clone());
        let handle = resolved.handle.as_ref();
        self.seen = handle.and_then(|h| h.groups().get(&resolved.name).cloned());
    }

    /// What the coordinator said, if it said something of this group.
    pub(super) fn reported(&self) -> Option<&v1::GroupStatus> {
        let is_owner = !matches!(self.verdict, Verdict::Refused(..));
        self.seen.as_ref().filter(|s| is_owner && s.is_reported)
    }
}

/// Is nothing of the group about to expire? `None`: its coordinator does not say.
pub(super) fn is_safe(before: &ConsumerGroupStatus, sight: &Sight, now: Timestamp) -> Option<bool> {
    let effective = match &sight.verdict {
        Verdict::Accepted(effective) => Some(&**effective),
        _ => before.effective.as_ref(),
    };
    let objectives = effective.map(|effective| effective.objectives.clone());
    let objectives = objectives.unwrap_or_default();
    let seen = sight.reported()?;
    Some(!conditions::is_expiring(
        seen,
        &objectives,
        &before.conditions,
        now,
    ))
}

/// The status after this look. What is not known now stays as it was.
pub(super) fn next(group: &ConsumerGroup, sight: &Sight, now: Timestamp) -> ConsumerGroupStatus {
    let before = group.status.clone().unwrap_or_default();
    let observed_generation = group.metadata.generation;
    let (effective, group_name) = match &sight.verdict {
        Verdict::Accepted(effective) => (Some((**effective).clone()), sight.name.clone()),
        _ => (None, None),
    };
    let mut status = ConsumerGroupStatus {
        observed_generation,
        cluster: sight.cluster.clone().or_else(|| before.cluster.clone()),
        group_name: group_name.or_else(|| before.group_name.clone()),
        effective: effective.or_else(|| before.effective.clone()),
        ..before.clone()
    };
    if let Some(seen) = sight.reported() {
        Numbers::of(seen, &before, now).show(&mut status);
    }
    if let Some(seen) = &sight.seen
        && !seen.coordinator_name.is_empty()
        && !matches!(sight.verdict, Verdict::Refused(..))
    {
        status.coordinator = Some(seen.coordinator_name.clone());
    }
    let findings = conditions::all(sight, &status, &before.conditions, now);
    status.conditions = next_conditions(&before.conditions, &findings, observed_generation, now);
    if !have_same_numbers(&status, &before)
        && let Some(lag) = &mut status.lag
    {
        lag.updated_at = to_the_second(now);
    }
    status
}

/// All losses that a look found, also those for which the status has no room.
pub(super) fn losses(
    before: &ConsumerGroupStatus,
    sight: &Sight,
    now: Timestamp,
) -> Vec<LostRecords> {
    match sight.reported() {
        Some(seen) => numbers::lost(seen, &before.lost, now),
        None => before.lost.clone(),
    }
}

/// The status of a group whose resource cannot be read.
pub(crate) fn refused_status(
    group: &ConsumerGroup,
    message: String,
    now: Timestamp,
) -> ConsumerGroupStatus {
    let sight = Sight {
        verdict: Verdict::Refused("InvalidSpec", message),
        ..Sight::default()
    };
    next(group, &sight, now)
}

/// How a status differs from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// In numbers, which change all the time.
    Numbers,
    /// Conditions turned that may turn back soon.
    Turned,
    /// In what somebody waits for or has to know.
    Urgent,
}

/// How `after` differs from `before`.
pub(super) fn difference(before: &ConsumerGroupStatus, after: &ConsumerGroupStatus) -> Difference {
    if before == after {
        return Difference::None;
    }
    let is_same_but_for_numbers = with_numbers_of(before, after) == *before;
    let has_news_of_loss = after.lost.iter().any(|lost| {
        let is_known =
            |known: &LostRecords| (&known.partition, known.from) == (&lost.partition, lost.from);
        !before.lost.iter().any(is_known)
    });
    if has_news_of_loss {
        return Difference::Urgent;
    }
    if is_same_but_for_numbers {
        return Difference::Numbers;
    }
    let mut calm = with_numbers_of(before, after);
    calm.conditions.clone_from(&before.conditions);
    let is_calm = |after: &Condition| {
        find(&before.conditions, &after.type_).is_some_and(|before| turned_calmly(before, after))
    };
    if calm == *before && after.conditions.iter().all(is_calm) {
        Difference::Turned
    } else {
        Difference::Urgent
    }
}

/// Is it as it was, or did it turn in a way that members and coordinators bring about by coming and going?
fn turned_calmly(before: &Condition, after: &Condition) -> bool {
    if before == after {
        return true;
    }
    if before.observed_generation != after.observed_generation {
        return false;
    }
    match after.type_.as_str() {
        "Ready" => matches!(&*after.reason, "NoCoordinator" | "ClusterUnavailable"),
        // The first that is known is waited for.
        "Consuming" | "WithinLagObjective" | "Balanced" => {
            before.reason != conditions::NOT_REPORTED
        }
        _ => after.reason == "ClusterUnavailable",
    }
}

fn with_numbers_of(
    numbers: &ConsumerGroupStatus,
    status: &ConsumerGroupStatus,
) -> ConsumerGroupStatus {
    ConsumerGroupStatus {
        state: numbers.state,
        members: numbers.members,
        useful_members: numbers.useful_members,
        partitions_per_member: numbers.partitions_per_member.clone(),
        coordinator: numbers.coordinator.clone(),
        lag: numbers.lag.clone(),
        loss_deadline: numbers.loss_deadline.clone(),
        lost: numbers.lost.clone(),
        ..status.clone()
    }
}

fn have_same_numbers(one: &ConsumerGroupStatus, other: &ConsumerGroupStatus) -> bool {
    with_numbers_of(one, other) == *other
}

/// Are the last numbers old enough to be replaced?
pub(super) fn numbers_are_due(before: &ConsumerGroupStatus, now: Timestamp) -> bool {
    let is_due = |lag: &Lag| now.duration_since(lag.updated_at.0) >= NUMBERS_INTERVAL;
    before.lag.as_ref().is_none_or(is_due)
}

/// When, without any news, time itself makes a difference to the status.
pub(super) fn next_tick(status: &ConsumerGroupStatus, now: Timestamp) -> Duration {
    let deadline = status.loss_deadline.as_ref();
    deadline.map_or(Duration::MAX, |deadline| {
        let left = deadline.at.0.duration_since(now);
        numbers::step(Duration::try_from(left).unwrap_or_default())
    })
}

fn to_the_second(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests;
