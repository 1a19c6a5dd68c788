//! What leaders ask for: changes of in-sync sets, and confirmations of members. Stale ones get no answer but the newer map, which the leader
//! has, or will have.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use taffrail_api::{convert, v1};
use taffrail_core::{
    Assignment, BrokerNumber, ErrorCode, LeaderEpoch, PartitionEpoch, TopicPartition,
    replica::{Confirmation, IsrChange, IsrRequest, ShrinkReason},
};

use super::{
    Work,
    draft::Draft,
    heard::Heard,
    live::{Live, SessionId},
    raise,
};
use crate::writes::WriteReason;

/// What one leader asks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Change(IsrRequest),
    Confirm(Confirmation),
}

impl Ask {
    const fn confirmed(&self) -> Option<BrokerNumber> {
        match self {
            Self::Change(_) => None,
            Self::Confirm(confirmation) => Some(confirmation.broker),
        }
    }
}

/// Everything that makes sense in a message.
pub(crate) fn read(message: &v1::IsrRequests) -> Vec<(TopicPartition, Ask)> {
    let changes = message.requests.iter().filter_map(read_request);
    let confirmations = message.confirmations.iter().filter_map(read_confirmation);
    changes.chain(confirmations).collect()
}

fn read_request(request: &v1::IsrRequest) -> Option<(TopicPartition, Ask)> {
    use v1::isr_request::Change;
    let partition = convert::topic_partition(&request.topic_id, request.partition).ok()?;
    let change = match request.change.as_ref()? {
        Change::Expand(run) => IsrChange::Expand {
            broker: BrokerNumber(run.broker),
            incarnation: run.incarnation?.into(),
        },
        Change::Shrink(leaver) => IsrChange::Shrink {
            broker: BrokerNumber(leaver.broker),
            reason: match leaver.reason() {
                v1::ShrinkReason::Lagging => ShrinkReason::Lagging,
                v1::ShrinkReason::LostData => ShrinkReason::LostData,
                v1::ShrinkReason::Unspecified => return None,
            },
        },
    };
    let request = IsrRequest {
        leader_epoch: LeaderEpoch(u32::try_from(request.leader_epoch).ok()?),
        partition_epoch: PartitionEpoch(request.partition_epoch),
        change,
    };
    Some((partition, Ask::Change(request)))
}

fn read_confirmation(confirmation: &v1::Confirmation) -> Option<(TopicPartition, Ask)> {
    let partition =
        convert::topic_partition(&confirmation.topic_id, confirmation.partition).ok()?;
    let run = confirmation.run.as_ref()?;
    let confirmation = Confirmation {
        leader_epoch: LeaderEpoch(u32::try_from(confirmation.leader_epoch).ok()?),
        broker: BrokerNumber(run.broker),
        incarnation: run.incarnation?.into(),
    };
    Some((partition, Ask::Confirm(confirmation)))
}

/// Lets `asks` of `session` wait to be decided. Leaders ask again each second, also while the store is away: only what was asked last of a partition waits, and
/// a confirmation for each of its replicas beside it.
pub(super) fn enqueue(
    queue: &mut VecDeque<Work>,
    session: SessionId,
    asks: Vec<(TopicPartition, Ask)>,
) {
    let waiting = queue.iter_mut().find_map(|work| match work {
        Work::Change(of, waiting) if *of == session => Some(waiting),
        _ => None,
    });
    let Some(waiting) = waiting else {
        return queue.push_back(Work::Change(session, asks));
    };
    let places = waiting.iter().enumerate();
    let mut places: HashMap<_, _> = places
        .map(|(place, (partition, ask))| ((*partition, ask.confirmed()), place))
        .collect();
    for (partition, ask) in asks {
        match places.entry((partition, ask.confirmed())) {
            Entry::Occupied(place) => waiting[*place.get()].1 = ask,
            Entry::Vacant(free) => {
                free.insert(waiting.len());
                waiting.push((partition, ask));
            }
        }
    }
}

/// Does what the broker of `session` asks for where it leads.
pub(crate) fn change(
    draft: &mut Draft,
    live: &Live,
    session: SessionId,
    asks: &[(TopicPartition, Ask)],
) {
    let Some((leader, run)) = live.speaker(session) else {
        return;
    };
    for (partition, ask) in asks {
        let Some(topic) = draft.cluster.counting(*partition) else {
            continue;
        };
        let record = draft.cluster.assignment(topic, *partition);
        let record = record.filter(|r| topic.is_served() && r.is_led_by(leader, run));
        let configured = topic.config.min_in_sync as usize;
        let next = record.and_then(|record| {
            let version =
                raise::version(&draft.cluster, Heard::of(live), topic, *partition, record);
            let next = after(draft, live, record, configured, ask).ok()?;
            under(version, record, next, ask)
        });
        if let Some(next) = next
            && let Some(record) = draft.assignment(*partition, WriteReason::Isr)
        {
            *record = next;
        }
    }
}

/// `next` under its version. A change that may not be made yet is asked for again; a confirmation needs no version of its own.
fn under(
    version: Option<(LeaderEpoch, PartitionEpoch)>,
    record: &Assignment,
    next: Assignment,
    ask: &Ask,
) -> Option<Assignment> {
    let is_same_epoch = version.is_some_and(|version| version.0 == record.leader_epoch);
    match ask {
        Ask::Confirm(_) if !is_same_epoch => Some(raise::lift(next, record, record.version())),
        Ask::Confirm(_) | Ask::Change(_) => Some(raise::lift(next, record, version?)),
    }
}

fn after(
    draft: &Draft,
    live: &Live,
    record: &Assignment,
    min_in_sync: usize,
    ask: &Ask,
) -> Result<Assignment, ErrorCode> {
    match ask {
        Ask::Change(request) => {
            let number = request.change.broker();
            let broker = draft.cluster.brokers.get(&number);
            let run = broker.map(|broker| broker.value.incarnation);
            let next = request.apply(record, run, record.min_in_sync(min_in_sync))?;
            let is_away = !live.is_online(number) || live.is_lost(number);
            if is_away && matches!(request.change, IsrChange::Expand { .. }) {
                // It caught up before it went. The leader hears that its request counts no more.
                return Ok(Assignment {
                    partition_epoch: next.partition_epoch,
                    ..record.clone()
                });
            }
            Ok(next)
        }
        Ask::Confirm(confirmation) => confirmation.apply(record),
    }
}
