//! Elections that nobody asked for: a leader is lost, cannot be used, or there is none and now there may be one.
//!
//! Where only unconfirmed members are left, whoever is elected has to be compared with what the others have *since* the leader is lost.
//! A registration that leaves a partition without a leader raised its epoch: what brokers report under that one is from since then.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use taffrail_core::{
    Assignment, BrokerNumber, TopicPartition, UncleanElection,
    replica::{Elected, Election, MayLack, Standing},
};

use super::{
    cluster::{Cluster, Topic},
    doubt,
    draft::Draft,
    heard::Heard,
    live::{Live, Liveness},
    raise,
};
use crate::writes::WriteReason;

/// Partitions whose leadership goes back to the preferred replica in one decision.
const RETURNED_AT_ONCE_MAX: usize = 256;

/// Records that elections may have lost.
pub(crate) type Losses = Vec<(TopicPartition, MayLack)>;

/// How long the cluster has been as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calm {
    /// Nobody came or went for the settle time: whoever is missing will not come in a moment.
    pub(crate) is_settled: bool,
}

/// Elects wherever a leader is missing, lost or cannot be used, in one draft for all partitions.
pub(crate) fn hold(draft: &mut Draft, live: &Live, calm: Calm) -> Losses {
    let mut lost = BTreeMap::new();
    let mut is_lost = |cluster: &Cluster, record: &Assignment| {
        let Some(leader) = record.leader else {
            return true;
        };
        let known = cluster.brokers.get(&leader);
        if known.is_some_and(|known| known.value.incarnation != record.leader_incarnation) {
            // That run is over.
            return true;
        }
        *lost.entry(leader).or_insert_with(|| live.is_lost(leader))
    };
    let wanting = draft.cluster.assignments().filter(|(topic, id, record)| {
        topic.is_active() && (is_lost(&draft.cluster, record) || has_fault(live, *id, record))
    });
    let wanting: Vec<_> = wanting
        .map(|(topic, partition, record)| {
            let mut record = record.clone();
            leave_what_it_led(live, partition, &mut record);
            (Arc::clone(topic), partition, record)
        })
        .collect();
    let mut losses = Losses::new();
    for (topic, partition, record) in wanting {
        let reports = Heard::of(live).reports(&draft.cluster, partition, Some(&record));
        let clean = Heard::of(live).election(&topic, partition, Some(&record), &reports);
        let may_lose = topic.spec.unclean_election == UncleanElection::Allow && calm.is_settled;
        let elected = doubt::elect(&clean).or_else(|wait| {
            let unclean = Election {
                loss_accepted: true,
                ..clean
            };
            if may_lose {
                doubt::elect(&unclean)
            } else {
                Err(wait)
            }
        });
        match elected {
            Ok(elected) => enact(draft, partition, elected, &mut losses),
            Err(_) if raise::is_sure(live, &clean) => vacate(draft, partition, &record, &clean),
            Err(_) => {}
        }
    }
    losses
}

/// A leader that came back without all that it had leaves the in-sync set when somebody takes over, or nobody leads any more: its registration
/// could not say so if too little was known then.
fn leave_what_it_led(live: &Live, partition: TopicPartition, record: &mut Assignment) {
    let Some(leader) = record.leader else { return };
    let Some(broker) = live.brokers.get(&leader) else {
        return;
    };
    let stored = broker.stored.get(&partition);
    let standing = stored.map_or(Standing::Whole, |stored| stored.standing);
    let is_over = broker.incarnation != record.leader_incarnation;
    if !is_over || (standing == Standing::Whole && !broker.is_older_volume) {
        return;
    }
    if record.isr != [leader] {
        record.isr.retain(|member| *member != leader);
    } else if broker.is_older_volume {
        // What it led last is what it is waited for with.
        record.unconfirmed.retain(|(of, _)| *of != leader);
        record.unconfirmed.push((leader, record.leader_incarnation));
    } else {
        record.is_unclean |= standing == Standing::MayLack;
    }
}

/// Takes brokers that are lost out of the in-sync sets: nobody waits for them with an acknowledgement. They join again once they have caught
/// up. Only where somebody leads, who has everything: else it is them that unconfirmed members have to be compared with. And only down to
/// `minInSync`: nothing is acknowledged without those that stay, and with them whoever is left finds out, after a restart, who has everything.
pub(crate) fn fence(draft: &mut Draft, live: &Live) {
    let brokers = draft.cluster.brokers.keys().copied();
    let lost: Vec<_> = brokers.filter(|number| live.is_lost(*number)).collect();
    if lost.is_empty() {
        return;
    }
    let waits = |record: &Assignment| {
        record.leader.is_some_and(|leader| !lost.contains(&leader))
            && record.isr.iter().any(|member| lost.contains(member))
    };
    let waiting = draft.cluster.assignments();
    let waiting: Vec<_> = waiting
        .filter(|(topic, _, record)| topic.is_active() && waits(record))
        .filter_map(|(topic, partition, record)| {
            let leavers = leavers(live, topic, partition, record, &lost);
            let heard = Heard::of(live);
            let version = raise::version(&draft.cluster, heard, topic, partition, record)?;
            (!leavers.is_empty()).then_some((partition, leavers, version))
        })
        .collect();
    for (partition, leavers, version) in waiting {
        if let Some(record) = draft.assignment(partition, WriteReason::Isr) {
            record.isr.retain(|member| !leavers.contains(member));
            (record.leader_epoch, record.partition_epoch) = version;
        }
    }
}

/// As many lost members as the in-sync set can spare. Those stay that may be back first and have most, for all that was heard of them.
fn leavers(
    live: &Live,
    topic: &Topic,
    id: TopicPartition,
    record: &Assignment,
    lost: &[BrokerNumber],
) -> Vec<BrokerNumber> {
    let members = record.isr.iter().copied();
    let mut leavers: Vec<_> = members.filter(|member| lost.contains(member)).collect();
    leavers.sort_by_key(|member| {
        let report = live.report(*member, id);
        let end = report.map(|report| (report.last_epoch, report.durable_end_offset));
        let is_offline = live.liveness(*member) == Liveness::Offline;
        let place = record.replicas.iter().position(|r| r == member);
        let is_sure = record.awaits(*member).is_none();
        (!is_offline, is_sure, end, Reverse(place))
    });
    leavers.truncate(record.spare(record.min_in_sync(topic.config.min_in_sync as usize)));
    leavers
}

/// A run that is over leads nothing: reports under the raised epoch show what it left. A leader that is only out of sight may come back.
fn vacate(
    draft: &mut Draft,
    partition: TopicPartition,
    record: &Assignment,
    election: &Election<'_>,
) {
    let leader = record.leader.and_then(|l| draft.cluster.brokers.get(&l));
    if leader.is_some_and(|leader| leader.value.incarnation != record.leader_incarnation)
        && let Some(vacated) = election.vacated()
        && let Some(stored) = draft.assignment(partition, WriteReason::Election)
    {
        *stored = vacated;
    }
}

/// Its broker says that this replica cannot be used, and others could take over.
fn has_fault(live: &Live, partition: TopicPartition, record: &Assignment) -> bool {
    let leader = record.leader.filter(|_| record.isr.len() > 1);
    let report = leader.and_then(|leader| live.report(leader, partition));
    report.is_some_and(|report| report.fault().to_core().is_some())
}

pub(crate) fn enact(
    draft: &mut Draft,
    partition: TopicPartition,
    elected: Elected,
    losses: &mut Losses,
) {
    if let Some(record) = draft.assignment(partition, WriteReason::Election) {
        *record = elected.assignment;
        losses.extend(elected.may_lack.map(|may_lack| (partition, may_lack)));
    }
}

/// Gives what `broker` leads to other members, as far as they are electable. What it keeps nobody else can lead.
pub(crate) fn hand_over(draft: &mut Draft, live: &Live, broker: BrokerNumber) -> u32 {
    let led = led_by(&draft.cluster, broker);
    let mut kept = 0;
    for (topic, partition, record) in led {
        let reports = Heard::of(live).reports(&draft.cluster, partition, Some(&record));
        let election = Election {
            except: Some(broker),
            ..Heard::of(live).election(&topic, partition, Some(&record), &reports)
        };
        match doubt::elect(&election) {
            Ok(elected) => {
                if let Some(record) = draft.assignment(partition, WriteReason::HandOver) {
                    *record = elected.assignment;
                }
            }
            Err(_) => kept += 1,
        }
    }
    kept
}

/// Gives what brokers lead whose disks are full to members that have room, as far as there are some that are electable: until then records are refused. The
/// replica itself goes on with the room that is kept from producers.
pub(crate) fn relieve(draft: &mut Draft, live: &Live) {
    let is_full = |record: &Assignment| {
        let leads = |leader| live.is_there(leader) && !live.has_room(leader);
        record.leader.is_some_and(leads) && record.isr.iter().any(|m| live.has_room(*m))
    };
    let full = draft.cluster.assignments();
    let full = full.filter(|(topic, _, record)| topic.is_active() && is_full(record));
    let full: Vec<_> = full
        .map(|(topic, partition, record)| (Arc::clone(topic), partition, record.clone()))
        .collect();
    for (topic, partition, record) in full {
        let mut reports = Heard::of(live).reports(&draft.cluster, partition, Some(&record));
        for report in &mut reports {
            report.is_alive &= live.has_room(report.broker);
        }
        let election = Heard::of(live).election(&topic, partition, Some(&record), &reports);
        let elected = doubt::elect(&election);
        if let Ok(elected) = elected.map(|e| e.assignment)
            && let Some(record) = draft.assignment(partition, WriteReason::HandOver)
        {
            *record = elected;
        }
    }
}

fn led_by(
    cluster: &Cluster,
    broker: BrokerNumber,
) -> Vec<(Arc<Topic>, TopicPartition, Assignment)> {
    let led = cluster
        .assignments()
        .filter(|(topic, _, record)| topic.is_served() && record.leader == Some(broker));
    led.map(|(topic, partition, record)| (Arc::clone(topic), partition, record.clone()))
        .collect()
}

/// Moves leadership back to preferred replicas, some at a time, where every replica is in sync, there and confirmed, and the preferred one has room: after restarts leaders
/// would stay where they fled to.
pub(crate) fn return_to_preferred(draft: &mut Draft, live: &Live, calm: Calm) {
    if !calm.is_settled {
        return;
    }
    let is_well = |record: &Assignment| {
        record.isr.len() == record.replicas.len()
            && record.unconfirmed.is_empty()
            && record.adding.is_empty()
            && record.removing.is_empty()
            && record.replicas.iter().all(|r| live.is_there(*r))
    };
    let astray = draft.cluster.assignments().filter(|(topic, _, record)| {
        let preferred = record.replicas.first().copied();
        topic.is_active()
            && record.leader.is_some()
            && record.leader != preferred
            && preferred.is_some_and(|preferred| live.has_room(preferred))
            && is_well(record)
    });
    let astray: Vec<_> = astray
        .take(RETURNED_AT_ONCE_MAX)
        .map(|(topic, partition, record)| (Arc::clone(topic), partition, record.clone()))
        .collect();
    for (topic, partition, record) in astray {
        let preferred = record.replicas.first().copied();
        let mut reports = Heard::of(live).reports(&draft.cluster, partition, Some(&record));
        for report in &mut reports {
            report.is_alive &= Some(report.broker) == preferred;
        }
        let election = Heard::of(live).election(&topic, partition, Some(&record), &reports);
        let elected = doubt::elect(&election);
        if let Ok(elected) = elected.map(|e| e.assignment)
            && let Some(record) = draft.assignment(partition, WriteReason::PreferredLeader)
        {
            *record = elected;
        }
    }
}
