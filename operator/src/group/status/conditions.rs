//! The conditions of a group. Messages hold no counters or times.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use taffrail_api::v1;
use taffrail_crds::{
    ConsumerGroupStatus,
    conditions::{Finding, find},
    consumer_group::Objectives,
};

use super::{Sight, Verdict, numbers::first_loss};

/// While the coordinator has said nothing.
pub(super) const NOT_REPORTED: &str = "NotReported";

/// A deadline that is nearer is told, unless the resource says another time.
const HEADROOM: Duration = Duration::from_hours(1);
/// A deadline that went has to stay away for so long before data counts as safe again.
pub(in crate::group) const SAFE: Duration = Duration::from_mins(5);
/// Members that have committed nothing for so long while there is something to read are stuck: as long as an application may be busy with one event.
const STUCK: Duration = Duration::from_mins(5);
/// More assignments than this for each member within ten minutes are not a rolling restart any more ...
const ASSIGNMENTS_PER_MEMBER: u32 = 4;
/// ... and so many are never too many.
const ASSIGNMENTS_MIN: u32 = 10;

/// All of them. `status` has the numbers and the policy already.
pub(super) fn all(
    sight: &Sight,
    status: &ConsumerGroupStatus,
    before: &[Condition],
    now: Timestamp,
) -> [Finding; 6] {
    let objectives = status.effective.as_ref().map(|e| e.objectives.clone());
    let objectives = objectives.unwrap_or_default();
    let of_members = |type_: &'static str, say: &dyn Fn(&v1::GroupStatus) -> Finding| {
        if let Some(finding) = unknown(type_, &sight.verdict) {
            return finding;
        }
        match sight.reported() {
            Some(seen) => say(seen),
            None => as_before(type_, before),
        }
    };
    [
        accepted(&sight.verdict, before),
        ready(sight, before),
        of_members("Consuming", &|seen| consuming(seen, sight, status)),
        of_members("WithinLagObjective", &|seen| within_lag(seen, &objectives)),
        of_members("DataSafe", &|seen| {
            let is_expiring = is_expiring(seen, &objectives, before, now);
            data_safe(is_expiring, sight.safe_for, status, before)
        }),
        of_members("Balanced", &balanced),
    ]
}

fn accepted(verdict: &Verdict, before: &[Condition]) -> Finding {
    const TYPE: &str = "Accepted";
    match verdict {
        Verdict::Accepted(_) => Finding::yes(TYPE, "Valid", "the group has this policy"),
        Verdict::Refused(reason, message) => Finding::no(TYPE, *reason, message.clone()),
        Verdict::Unavailable(_) | Verdict::Deleting | Verdict::Paused => match find(before, TYPE) {
            Some(c) if c.status == "True" => Finding::yes(TYPE, "Valid", c.message.clone()),
            _ => Finding::unknown(
                TYPE,
                "ClusterUnavailable",
                "the group has not been looked at yet",
            ),
        },
    }
}

fn ready(sight: &Sight, before: &[Condition]) -> Finding {
    const TYPE: &str = "Ready";
    match &sight.verdict {
        Verdict::Paused => Finding::unknown(
            TYPE,
            "Paused",
            "the operator leaves this group's policy as it was; remove the annotation taffrail.dev/paused to go on",
        ),
        Verdict::Deleting => Finding::no(TYPE, "Deleting", deleting(sight)),
        Verdict::Refused(..) => Finding::no(TYPE, "NotAccepted", "see the condition Accepted"),
        Verdict::Unavailable(why) => Finding::unknown(TYPE, "ClusterUnavailable", why.clone()),
        Verdict::Accepted(_) => match &sight.seen {
            Some(seen) if seen.is_unreadable => Finding::no(
                TYPE,
                "Unreadable",
                "the coordinator cannot read all that it stored of the group and does not serve it; see its log, and taffrail groups delete to begin anew",
            ),
            Some(seen) if seen.coordinator.is_some() => {
                Finding::yes(TYPE, "Coordinated", "a broker coordinates the group")
            }
            // It was declared a moment ago.
            None if find(before, TYPE).is_some_and(|c| c.reason == "Coordinated") => {
                as_before(TYPE, before)
            }
            _ => Finding::no(
                TYPE,
                "NoCoordinator",
                "nobody leads the group's partition of the topic __offsets; see: kubectl get brokers",
            ),
        },
    }
}

fn deleting(sight: &Sight) -> &'static str {
    if sight.reported().is_some_and(|seen| seen.members > 0) {
        "the group's offsets are deleted when its last member has left: stop its members, or set deletionPolicy: Retain to leave the offsets"
    } else {
        "the group's offsets are being deleted by its coordinator"
    }
}

/// Why nothing can be said of the group's members.
fn unknown(type_: &'static str, verdict: &Verdict) -> Option<Finding> {
    match verdict {
        Verdict::Accepted(_) | Verdict::Deleting => None,
        Verdict::Paused => Some(Finding::unknown(
            type_,
            "Paused",
            "the operator leaves this group alone while it is paused",
        )),
        Verdict::Refused(..) => Some(Finding::unknown(
            type_,
            "NotAccepted",
            "see the condition Accepted",
        )),
        Verdict::Unavailable(why) => {
            Some(Finding::unknown(type_, "ClusterUnavailable", why.clone()))
        }
    }
}

/// A coordinator that has just taken over says something soon: until then it is taken to be as it was.
fn as_before(type_: &'static str, before: &[Condition]) -> Finding {
    match find(before, type_) {
        Some(c) if c.status == "True" => Finding::yes(type_, c.reason.clone(), c.message.clone()),
        Some(c) if c.status == "False" => Finding::no(type_, c.reason.clone(), c.message.clone()),
        Some(c) if c.reason == "NoObjective" => {
            Finding::unknown(type_, c.reason.clone(), c.message.clone())
        }
        _ => Finding::unknown(
            type_,
            NOT_REPORTED,
            "the group's coordinator has not said anything of it yet",
        ),
    }
}

fn consuming(seen: &v1::GroupStatus, sight: &Sight, status: &ConsumerGroupStatus) -> Finding {
    const TYPE: &str = "Consuming";
    let effective = status.effective.as_ref();
    let names_topics = effective.is_some_and(|effective| !effective.topics.is_empty());
    if seen.useful_members == 0 && (seen.members > 0 || names_topics) {
        return Finding::no(
            TYPE,
            "NothingToRead",
            "no topic that there is has a name that spec.topics or the members name: correct the name or the pattern, or create the topic; see: taffrail groups describe",
        );
    }
    if seen.members == 0 {
        return Finding::no(TYPE, "NoMembers", "no consumer is in the group");
    }
    // If nothing has moved since the controller took office, that is at least as long as this operator watches.
    let resting = seen.progress_ms.map(Duration::from_millis);
    // Members that have just come are not to blame for what waited before.
    let resting = resting
        .unwrap_or(sight.watched_for)
        .min(sight.with_members_for);
    let waiting = |p: &&v1::GroupPartitionStatus| p.lag_records > 0;
    let oldest = seen
        .partitions
        .iter()
        .filter(waiting)
        .map(|p| p.lag_ms)
        .max();
    if resting >= STUCK && oldest.is_some_and(|ms| Duration::from_millis(ms) >= STUCK) {
        return Finding::no(
            TYPE,
            "Stuck",
            "there are records to read, and no member commits anything: look at the members' logs; see: taffrail groups describe",
        );
    }
    Finding::yes(
        TYPE,
        "Progressing",
        "members commit what they read, or everything was read",
    )
}

fn within_lag(seen: &v1::GroupStatus, objectives: &Objectives) -> Finding {
    const TYPE: &str = "WithinLagObjective";
    let Some(max) = objectives.max_lag else {
        return Finding::unknown(TYPE, "NoObjective", "objectives.maxLag is not set");
    };
    let late =
        |p: &v1::GroupPartitionStatus| p.lag_records > 0 && Duration::from_millis(p.lag_ms) > max.0;
    if seen.partitions.iter().any(late) {
        Finding::no(
            TYPE,
            "LagTooLong",
            "records wait for longer than objectives.maxLag before they are read; status.lag.worst says where",
        )
    } else {
        Finding::yes(
            TYPE,
            "WithinObjective",
            "no record waits for longer than objectives.maxLag",
        )
    }
}

fn data_safe(
    is_expiring: bool,
    safe_for: Duration,
    status: &ConsumerGroupStatus,
    before: &[Condition],
) -> Finding {
    const TYPE: &str = "DataSafe";
    if !status.lost.is_empty() {
        return Finding::no(
            TYPE,
            "DataLost",
            "retention deleted records before the group read them: status.lost has their partitions and offsets; keep records for longer, or read faster",
        );
    }
    // Rates go up and down: a deadline that is gone may be back in a moment.
    if is_expiring || (was_expiring(before) && safe_for < SAFE) {
        Finding::no(
            TYPE,
            "ExpiringSoon",
            "retention will delete records before the group reads them: add members or make them faster, or raise the topic's retention; status.lossDeadline says when and where",
        )
    } else {
        Finding::yes(
            TYPE,
            "HeadroomOK",
            "what was not read stays for long enough",
        )
    }
}

/// Will retention delete something within the headroom that was not read by then?
pub(super) fn is_expiring(
    seen: &v1::GroupStatus,
    objectives: &Objectives,
    before: &[Condition],
    now: Timestamp,
) -> bool {
    let headroom = objectives.retention_headroom.map_or(HEADROOM, |h| h.0);
    // A deadline on the edge would come and go: it has to go a little farther than it had to come.
    let near = if was_expiring(before) {
        headroom.saturating_add(headroom / 10)
    } else {
        headroom
    };
    first_loss(seen).is_some_and(|(at, _)| {
        Duration::try_from(at.duration_since(now)).unwrap_or_default() < near
    })
}

fn was_expiring(before: &[Condition]) -> bool {
    find(before, "DataSafe").is_some_and(|c| c.reason == "ExpiringSoon")
}

fn balanced(seen: &v1::GroupStatus) -> Finding {
    const TYPE: &str = "Balanced";
    let many = ASSIGNMENTS_MIN.max(seen.members.saturating_mul(ASSIGNMENTS_PER_MEMBER));
    if seen.assignments_recent > many {
        Finding::no(
            TYPE,
            "Flapping",
            "partitions change hands all the time: members come and go; see their logs, raise assignment.sessionTimeout, or give them instance ids",
        )
    } else if seen.useful_members > 0 && seen.members > seen.useful_members {
        Finding::no(
            TYPE,
            "TooManyMembers",
            "there are more members than partitions to read: some have nothing to do",
        )
    } else if seen.state() == v1::GroupState::GroupAssigning {
        Finding::no(
            TYPE,
            "Rebalancing",
            "partitions are on their way from one member to another",
        )
    } else {
        Finding::yes(
            TYPE,
            "Stable",
            "each partition has its member, or nobody reads",
        )
    }
}
