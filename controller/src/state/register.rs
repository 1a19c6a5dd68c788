//! Deciding a registration: who this is, whether it is the volume it was, and what it may lead.

use std::ops::RangeInclusive;

use taffrail_api::WireError;
use taffrail_core::{
    Assignment, BrokerNumber, ErrorCode, Incarnation, LeaderEpoch, PartitionEpoch,
};

use super::{
    closing,
    cluster::{Broker, Cluster},
    doubt::{self, Found},
    draft::Draft,
    live::{Live, SessionId},
    registration::Registration,
};
use crate::writes::WriteReason;

/// Protocol versions that this controller speaks. Version 1 is controller.proto.
const VERSIONS: RangeInclusive<u32> = 1..=1;

/// A root that went back in time may know fewer numbers than brokers have; more than so many fewer is garbage.
const NUMBERS_AHEAD_MAX: u32 = 10_000;

/// A registration that holds once the draft is persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) number: BrokerNumber,
    pub(crate) incarnation: Incarnation,
    pub(crate) version: u32,
    /// The store has seen a later incarnation than this volume has: an old copy came back.
    pub(crate) is_older_volume: bool,
    pub(crate) found: Found,
}

/// Registers the broker of session `id`. Records are elected anew for a new incarnation, with epochs above the old ones.
pub(crate) fn register(
    draft: &mut Draft,
    live: &Live,
    id: SessionId,
    registration: &Registration,
) -> Result<Admitted, WireError> {
    check_cluster(&draft.cluster, registration)?;
    let version = negotiate(&registration.versions)?;
    let known = draft.cluster.broker_of(registration.uuid).cloned();
    let own = registration.incarnation();
    check_rival(live, known.as_ref().map(|b| b.number), id, registration)?;
    let (number, before) = match &known {
        Some(broker) => (broker.number, Some(broker.incarnation)),
        None => (number_for(draft, registration), None),
    };
    // KIP-903 and architecture.md, section 4, "Identity".
    let is_older_volume = before.is_some_and(|before| {
        let candidates = registration.candidates.iter();
        before != own
            && candidates
                .map(|c| c.generation)
                .all(|g| g < before.generation)
    });
    // First, or an election above the store's epochs could repeat one that a broker has seen.
    let found = doubt::examine(draft, live, number, registration);
    elect(draft, live, number, own, is_older_volume);
    if is_older_volume {
        closing::distrust(draft, number);
    }
    let broker = Broker {
        number,
        uuid: registration.uuid,
        incarnation: own,
        name: registration.name.clone(),
        rack: registration.rack.clone(),
        client: registration.client.clone(),
        replication: registration.replication.clone(),
        versions: registration.versions.clone(),
        software_version: registration.software_version.clone(),
        epoch: draft.cluster.root.value.epoch,
    };
    if known.as_deref() != Some(&broker) {
        draft.put_broker(broker, WriteReason::Registration);
    }
    Ok(Admitted {
        number,
        incarnation: own,
        version,
        is_older_volume,
        found,
    })
}

fn check_cluster(cluster: &Cluster, registration: &Registration) -> Result<(), WireError> {
    let ours = cluster.root.value.cluster_id;
    match registration.cluster_id {
        Some(theirs) if theirs != ours => Err(WireError::new(
            ErrorCode::ForeignCluster,
            format!(
                "this volume belongs to cluster {theirs}, not to {ours}; give the broker its own volume, or point it at its own cluster"
            ),
        )),
        _ => Ok(()),
    }
}

fn negotiate(theirs: &RangeInclusive<u32>) -> Result<u32, WireError> {
    let highest = *theirs.end().min(VERSIONS.end());
    if theirs.contains(&highest) && VERSIONS.contains(&highest) {
        return Ok(highest);
    }
    Err(WireError::new(
        ErrorCode::UnsupportedVersion,
        format!(
            "the broker speaks protocol versions {} to {}, this controller {} to {}; upgrade the older of the two",
            theirs.start(),
            theirs.end(),
            VERSIONS.start(),
            VERSIONS.end()
        ),
    ))
}

/// One session for a volume: the newer incarnation wins.
fn check_rival(
    live: &Live,
    number: Option<BrokerNumber>,
    id: SessionId,
    registration: &Registration,
) -> Result<(), WireError> {
    let own = registration.incarnation();
    match live.rival(registration.uuid, number, id) {
        Some(rival) if rival != own && rival.generation >= own.generation => Err(WireError::new(
            ErrorCode::BrokerFenced,
            format!(
                "incarnation {rival} of this volume is registered, this process is {own}; stop it, and see that no two brokers use copies of one volume"
            ),
        )),
        _ => Ok(()),
    }
}

/// A number for a volume that the store does not know: the one it had, if that is nobody else's, or the next.
fn number_for(draft: &mut Draft, registration: &Registration) -> BrokerNumber {
    let next = draft.cluster.root.value.next_broker_number;
    let had = registration.known_number.filter(|number| {
        registration.cluster_id.is_some()
            && number.0 < next.saturating_add(NUMBERS_AHEAD_MAX)
            && !draft.cluster.brokers.contains_key(number)
    });
    let number = had.unwrap_or(BrokerNumber(next));
    if number.0 >= next {
        draft.root(WriteReason::Registration).next_broker_number = number.0 + 1;
    }
    number
}

/// Everything that the volume's former process led is led by this one, under a higher epoch. So is what names a former process of
/// another broker that is there: a record that only came to light after that broker had registered.
///
/// With an older volume, nobody leads it: what was acknowledged since is not there, and the last member of an in-sync set is
/// never replaced by the machine. It waits for a human.
fn elect(
    draft: &mut Draft,
    live: &Live,
    number: BrokerNumber,
    own: Incarnation,
    is_older_volume: bool,
) {
    let running = |leader: BrokerNumber| {
        if leader == number {
            return Some(own);
        }
        let broker = draft.cluster.brokers.get(&leader);
        let broker = broker.filter(|_| live.is_online(leader))?;
        Some(broker.value.incarnation)
    };
    let led = draft
        .cluster
        .assignments()
        .filter_map(|(_, partition, record)| {
            let leader = record.leader?;
            let incarnation = running(leader)?;
            (record.leader_incarnation != incarnation).then_some((partition, leader, incarnation))
        });
    let led: Vec<_> = led.collect();
    for (partition, leader, incarnation) in led {
        if let Some(assignment) = draft.assignment(partition, WriteReason::Election) {
            raise(assignment);
            if is_older_volume && leader == number {
                assignment.leader = None;
            } else {
                assignment.leader_incarnation = incarnation;
            }
        }
    }
}

/// A new election: both epochs go up by one.
fn raise(assignment: &mut Assignment) {
    assignment.leader_epoch = LeaderEpoch(assignment.leader_epoch.0 + 1);
    assignment.partition_epoch = PartitionEpoch(assignment.partition_epoch.0 + 1);
}
