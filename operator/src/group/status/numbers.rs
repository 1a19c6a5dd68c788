//! Members, lag, deadline and losses as they are shown: rounded, so that they do not change for nothing.

use std::{cmp::Reverse, time::Duration};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use taffrail_api::v1;
use taffrail_crds::{
    ConsumerGroupStatus, GoDuration,
    consumer_group::{GroupState, Lag, LossDeadline, LostRecords, PartitionsPerMember},
};

/// A loss is shown for so long at least.
const SHOWN: SignedDuration = SignedDuration::from_hours(1);
/// As many are shown: a status has to fit into a resource.
const LOST_MAX: usize = 100;

/// What a coordinator's word comes to.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    seen: &'a v1::GroupStatus,
    lag: Lag,
    deadline: Option<LossDeadline>,
    lost: Vec<LostRecords>,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(
        seen: &'a v1::GroupStatus,
        before: &ConsumerGroupStatus,
        now: Timestamp,
    ) -> Self {
        Self {
            seen,
            lag: lag(seen, before.lag.as_ref(), now),
            deadline: deadline(seen, now),
            lost: shown(lost(seen, &before.lost, now)),
        }
    }

    pub(super) fn show(self, status: &mut ConsumerGroupStatus) {
        let seen = self.seen;
        status.state = match seen.state() {
            v1::GroupState::Unspecified => status.state,
            v1::GroupState::GroupEmpty => Some(GroupState::Empty),
            v1::GroupState::GroupAssigning => Some(GroupState::Assigning),
            v1::GroupState::GroupStable => Some(GroupState::Stable),
        };
        status.members = Some(seen.members);
        status.useful_members = Some(seen.useful_members);
        status.partitions_per_member = (seen.members > 0).then_some(PartitionsPerMember {
            min: seen.member_partitions_min,
            max: seen.member_partitions_max,
        });
        status.lag = Some(self.lag);
        status.loss_deadline = self.deadline;
        status.lost = self.lost;
    }
}

fn name(partition: &v1::GroupPartitionStatus) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

fn lag(seen: &v1::GroupStatus, before: Option<&Lag>, now: Timestamp) -> Lag {
    let behind = seen.partitions.iter().filter(|p| p.lag_records > 0);
    // Of those that are as late the first one, so that the worst is the same one next time.
    let worst = behind.min_by_key(|p| (Reverse((p.lag_ms, p.lag_records)), &p.topic, p.partition));
    Lag {
        records: seen.partitions.iter().map(|p| p.lag_records).sum(),
        time: GoDuration(rounded(Duration::from_millis(
            worst.map_or(0, |p| p.lag_ms),
        ))),
        worst: worst.map(name),
        updated_at: before.map_or_else(|| super::to_the_second(now), |lag| lag.updated_at.clone()),
    }
}

fn deadline(seen: &v1::GroupStatus, now: Timestamp) -> Option<LossDeadline> {
    let (at, partition) = first_loss(seen)?;
    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    let step = i64::try_from(step(left).as_secs()).unwrap_or(1).max(1);
    let second = at.as_second();
    Some(LossDeadline {
        at: Time(Timestamp::from_second(second - second.rem_euclid(step)).unwrap_or(at)),
        r#in: GoDuration(rounded(left)),
        partition: name(partition),
    })
}

/// When anything that was not read goes, and of which partition.
pub(super) fn first_loss(seen: &v1::GroupStatus) -> Option<(Timestamp, &v1::GroupPartitionStatus)> {
    let risks = seen.partitions.iter().filter_map(|p| {
        let at = Timestamp::from_millisecond(p.loses_data_at_ms?).ok()?;
        Some((at, p))
    });
    risks.min_by_key(|(at, p)| (*at, &p.topic, p.partition))
}

/// Losses that there are, and those that were seen within the last hour.
pub(super) fn lost(
    seen: &v1::GroupStatus,
    before: &[LostRecords],
    now: Timestamp,
) -> Vec<LostRecords> {
    let is_recent = |lost: &&LostRecords| now.duration_since(lost.seen_at.0) < SHOWN;
    let mut all: Vec<_> = before.iter().filter(is_recent).cloned().collect();
    for partition in &seen.partitions {
        let range = partition.lost_from_offset.zip(partition.lost_to_offset);
        let Some((from, to)) = range.filter(|(from, to)| to > from) else {
            continue;
        };
        let partition = name(partition);
        let known = before.iter().find(|lost| lost.partition == partition);
        let seen_at = known
            .filter(|lost| lost.from == from)
            .map_or_else(|| super::to_the_second(now), |lost| lost.seen_at.clone());
        all.retain(|lost| lost.partition != partition);
        all.push(LostRecords {
            partition,
            from,
            to,
            seen_at,
        });
    }
    all.sort_by(|a, b| (a.seen_at.0, &a.partition).cmp(&(b.seen_at.0, &b.partition)));
    all
}

/// The oldest stay, or each look would show others.
fn shown(mut all: Vec<LostRecords>) -> Vec<LostRecords> {
    all.truncate(LOST_MAX);
    all
}

/// As exact as a person needs it, about a tenth at worst.
fn rounded(duration: Duration) -> Duration {
    let step = step(duration).as_secs();
    Duration::from_secs(duration.as_secs() / step * step)
}

/// The finest difference that is shown of durations like this one.
pub(super) fn step(duration: Duration) -> Duration {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    let seconds = match duration.as_secs() {
        s if s < MINUTE => 1,
        s if s < 10 * MINUTE => 10,
        s if s < HOUR => MINUTE,
        s if s < 6 * HOUR => 10 * MINUTE,
        s if s < 48 * HOUR => 30 * MINUTE,
        _ => 6 * HOUR,
    };
    Duration::from_secs(seconds)
}
