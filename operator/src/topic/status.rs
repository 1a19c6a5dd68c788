//! What a topic's status says. Pure.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};
use taffrail_api::v1;
use taffrail_core::{TopicConfig, TopicId};
use taffrail_crds::{
    Size, Topic, TopicStatus,
    conditions::{self, Finding},
    topic::{EffectiveTopic, Partitions, Placement, Storage},
};

use crate::{engines::ClusterKey, resolve::Resolved};

/// Numbers of bytes are written no more often than this for one topic.
const STORAGE_INTERVAL: Duration = Duration::from_secs(30);

/// The conditions that the controller decides, as it says them.
const CONTROLLERS: [&str; 4] = [
    "FullyReplicated",
    "PlacementSatisfied",
    "CapacityOK",
    "Progressing",
];

/// What the operator makes of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Verdict {
    /// Its controller has it.
    Accepted { topic_id: TopicId },
    /// It may not be, for this reason and with this message.
    Refused(&'static str, String),
    /// Nobody can say just now, because of this.
    Unavailable(String),
    /// Its data is being deleted.
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
    pub(super) seen: Option<v1::TopicStatus>,
}

impl Sight {
    pub(super) fn see(&mut self, resolved: &Resolved) {
        self.named(&resolved.cluster, &resolved.name);
        self.seen = resolved
            .handle
            .as_ref()
            .and_then(|h| h.topic_status(&resolved.name));
    }

    pub(super) fn named(&mut self, cluster: &ClusterKey, name: &str) {
        self.cluster = Some(cluster.to_string());
        self.name = Some(name.to_owned());
    }
}

/// The status after this look. What is not known now stays as it was.
pub(super) fn next(topic: &Topic, sight: &Sight, now: Timestamp) -> TopicStatus {
    let before = topic.status.clone().unwrap_or_default();
    let observed_generation = topic.metadata.generation;
    // Of a topic that was refused, the controller's view is of the one that owns the name.
    let seen = sight
        .seen
        .as_ref()
        .filter(|_| !matches!(sight.verdict, Verdict::Refused(..)));
    let effective = seen
        .and_then(|s| s.effective)
        .and_then(|c| TopicConfig::try_from(c).ok());
    let partitions = seen
        .zip(effective.as_ref())
        .map(|(seen, config)| Partitions {
            wanted: config.partitions,
            online: seen.partitions_online,
            offline: config.partitions.saturating_sub(seen.partitions_online),
            under_replicated: seen.partitions_under_replicated,
            under_min_in_sync: seen.partitions_under_min_in_sync,
            moving: seen.partitions_moving,
        });
    let mut findings = vec![
        accepted(&sight.verdict, seen, &before.conditions),
        ready(
            &sight.verdict,
            partitions.as_ref(),
            seen,
            &before.conditions,
        ),
    ];
    findings.extend(CONTROLLERS.map(|type_| controllers_word(type_, &sight.verdict, seen)));
    let topic_id = match &sight.verdict {
        Verdict::Accepted { topic_id } => Some(topic_id.to_string()),
        _ => before.topic_id,
    };
    TopicStatus {
        observed_generation,
        cluster: sight.cluster.clone().or(before.cluster),
        topic_id,
        topic_name: sight.name.clone().or(before.topic_name),
        effective: effective
            .as_ref()
            .map(EffectiveTopic::from)
            .or(before.effective),
        partitions: partitions.or(before.partitions),
        placement: seen.map(placement).or(before.placement),
        storage: seen
            .map(|s| storage(s, before.storage.as_ref(), now))
            .or(before.storage),
        conditions: conditions::next(&before.conditions, &findings, observed_generation, now),
    }
}

/// The status of a topic whose resource cannot be read.
pub(crate) fn refused_status(topic: &Topic, message: String, now: Timestamp) -> TopicStatus {
    let sight = Sight {
        verdict: Verdict::Refused("InvalidSpec", message),
        ..Sight::default()
    };
    next(topic, &sight, now)
}

/// Brokers of one name are one pod: a volume that was lost, and the one after it.
fn placement(seen: &v1::TopicStatus) -> Placement {
    let mut placement = Placement::default();
    for led in &seen.leaders {
        let count = placement.leaders_by_broker.entry(led.name.clone());
        *count.or_default() += led.partitions;
    }
    placement
}

fn accepted(verdict: &Verdict, seen: Option<&v1::TopicStatus>, before: &[Condition]) -> Finding {
    let said = seen.and_then(|s| s.conditions.iter().find(|c| c.r#type == "Accepted"));
    match verdict {
        // Its controller has it and waits for brokers.
        Verdict::Accepted { .. } if said.is_some_and(|c| c.status == "False") => {
            controllers_word("Accepted", verdict, seen)
        }
        Verdict::Accepted { .. } => Finding::yes("Accepted", "Valid", "the topic is its cluster's"),
        Verdict::Refused(reason, message) => Finding::no("Accepted", *reason, message.clone()),
        Verdict::Unavailable(_) | Verdict::Deleting | Verdict::Paused => {
            match conditions::find(before, "Accepted") {
                Some(c) if c.status == "True" => {
                    Finding::yes("Accepted", "Valid", c.message.clone())
                }
                _ => Finding::unknown(
                    "Accepted",
                    "ClusterUnavailable",
                    "the topic has not been looked at yet",
                ),
            }
        }
    }
}

/// What the controller says of its topic; unknown while it has not said.
fn controllers_word(
    type_: &'static str,
    verdict: &Verdict,
    seen: Option<&v1::TopicStatus>,
) -> Finding {
    let said = seen.and_then(|s| s.conditions.iter().find(|c| c.r#type == type_));
    match (verdict, said) {
        (Verdict::Paused, _) => Finding::unknown(
            type_,
            "Paused",
            "the operator leaves this topic alone while it is paused",
        ),
        (Verdict::Refused(..), _) => {
            Finding::unknown(type_, "NotAccepted", "see the condition Accepted")
        }
        (Verdict::Unavailable(why), _) => {
            Finding::unknown(type_, "ClusterUnavailable", why.clone())
        }
        (_, None) => Finding::unknown(
            type_,
            "ClusterUnavailable",
            "the topic has not been looked at yet",
        ),
        (_, Some(c)) => match c.status.as_str() {
            "True" => Finding::yes(type_, c.reason.clone(), c.message.clone()),
            "False" => Finding::no(type_, c.reason.clone(), c.message.clone()),
            _ => Finding::unknown(type_, c.reason.clone(), c.message.clone()),
        },
    }
}

/// The controller's word on producing, if it is refused though every partition serves.
fn under_min_in_sync(seen: Option<&v1::TopicStatus>) -> Option<Finding> {
    let mut said = seen?.conditions.iter();
    let said = said.find(|c| c.r#type == "Ready" && c.reason == "UnderMinInSync")?;
    Some(Finding::no(
        "Ready",
        said.reason.clone(),
        said.message.clone(),
    ))
}

fn ready(
    verdict: &Verdict,
    partitions: Option<&Partitions>,
    seen: Option<&v1::TopicStatus>,
    before: &[Condition],
) -> Finding {
    match (verdict, partitions) {
        (Verdict::Paused, _) => Finding::unknown(
            "Ready",
            "Paused",
            "the operator leaves this topic alone; remove the annotation taffrail.dev/paused to go on",
        ),
        (Verdict::Deleting, _) => Finding::no(
            "Ready",
            "Deleting",
            "the topic's data is being deleted on its brokers",
        ),
        (Verdict::Refused(..), _) => {
            Finding::no("Ready", "NotAccepted", "see the condition Accepted")
        }
        (Verdict::Unavailable(why), _) => {
            Finding::unknown("Ready", "ClusterUnavailable", why.clone())
        }
        (Verdict::Accepted { .. }, Some(p)) if p.online >= p.wanted && p.wanted > 0 => {
            under_min_in_sync(seen).unwrap_or_else(|| {
                Finding::yes(
                    "Ready",
                    "AllPartitionsOnline",
                    "every partition has a leader that serves it",
                )
            })
        }
        (Verdict::Accepted { .. }, _) => {
            let was_ready = conditions::find(before, "Ready")
                .is_some_and(|c| c.status == "True" || c.reason == "PartitionsOffline");
            if was_ready {
                Finding::no(
                    "Ready",
                    "PartitionsOffline",
                    "some partitions have no leader that serves them; see: kubectl get brokers",
                )
            } else {
                Finding::no(
                    "Ready",
                    "Creating",
                    "partitions are being created on the brokers",
                )
            }
        }
    }
}

/// Keeps its time while the numbers, rounded, are what they were.
fn storage(seen: &v1::TopicStatus, before: Option<&Storage>, now: Timestamp) -> Storage {
    let bytes = Size::rounded(seen.bytes);
    let oldest = seen
        .oldest_append_time_ms
        .and_then(|ms| Timestamp::from_second(ms / 1000).ok())
        .map(Time);
    match before {
        Some(before) if before.bytes == bytes && before.oldest == oldest => before.clone(),
        _ => Storage {
            bytes,
            oldest,
            updated_at: Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        },
    }
}

/// Is there nothing to tell but new numbers, which change no condition?
pub(super) fn differs_in_numbers_only(before: &TopicStatus, after: &TopicStatus) -> bool {
    let with_same_numbers = TopicStatus {
        storage: before.storage.clone(),
        placement: before.placement.clone(),
        partitions: after.partitions.clone().map(|after| Partitions {
            wanted: after.wanted,
            online: after.online,
            offline: after.offline,
            ..before.partitions.clone().unwrap_or_default()
        }),
        ..after.clone()
    };
    before.storage.is_some() && with_same_numbers == *before
}

/// Are the last numbers old enough to be replaced?
pub(super) fn storage_is_due(before: &TopicStatus, now: Timestamp) -> bool {
    let interval = SignedDuration::try_from(STORAGE_INTERVAL).unwrap_or(SignedDuration::MAX);
    before
        .storage
        .as_ref()
        .is_none_or(|s| now.duration_since(s.updated_at.0) >= interval)
}

#[cfg(test)]
mod tests;
