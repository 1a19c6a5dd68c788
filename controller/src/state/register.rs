//! Deciding a registration: who this is, whether it is the volume it was, and what it may lead.

use std::{ops::RangeInclusive, sync::Arc};

use taffrail_api::WireError;
use taffrail_core::{
    Assignment, BrokerNumber, ErrorCode, Incarnation, LeaderEpoch, PartitionEpoch, TopicPartition,
    replica::{Mutant, Standing, is_broken},
};

use super::{
    closing,
    cluster::{Broker, Cluster, TopicState},
    doubt::{self, Found},
    draft::Draft,
    elections::{self, Losses},
    heard::{Heard, Newcomer, awaits_former},
    live::{Live, SessionId},
    raise,
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
    pub(crate) losses: Losses,
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
    let is_older_volume = before.is_some_and(|before| registration.is_older_than(before));
    let newcomer = Newcomer::new(number, registration);
    let heard = Heard {
        live,
        newcomer: Some(&newcomer),
    };
    // First, or an election above the store's epochs could repeat one that a broker has seen.
    let found = doubt::examine(draft, heard, &newcomer);
    let before = Before {
        run: before,
        is_older_volume,
    };
    let losses = enroll(draft, heard, &newcomer, before);
    if is_older_volume {
        closing::distrust(draft, number);
    }
    let broker = entry(draft, number, registration);
    if known.as_deref() != Some(&broker) {
        draft.put_broker(broker, WriteReason::Registration);
    }
    Ok(Admitted {
        number,
        incarnation: own,
        version,
        is_older_volume,
        found,
        losses,
    })
}

fn entry(draft: &Draft, number: BrokerNumber, registration: &Registration) -> Broker {
    Broker {
        number,
        uuid: registration.uuid,
        incarnation: registration.incarnation(),
        name: registration.name.clone(),
        rack: registration.rack.clone(),
        client: registration.client.clone(),
        replication: registration.replication.clone(),
        versions: registration.versions.clone(),
        software_version: registration.software_version.clone(),
        epoch: draft.cluster.root.value.epoch,
    }
}

/// Writes the objects of brokers that are there anew, as they registered, if somebody deleted them: without one nobody is elected. Those of others come
/// back when they register.
pub(crate) fn restore(draft: &mut Draft, live: &Live) {
    for (number, broker) in &live.brokers {
        let session = broker.session.and_then(|id| live.sessions.get(&id));
        let Some(registration) = session.map(|session| &session.registration) else {
            continue;
        };
        let cluster = &draft.cluster;
        let is_known =
            cluster.brokers.contains_key(number) || cluster.broker_of(registration.uuid).is_some();
        // A root that forgot the number is older than this controller: the claim that follows sees to it.
        if !is_known && number.0 < cluster.root.value.next_broker_number {
            let broker = entry(draft, *number, registration);
            draft.put_broker(broker, WriteReason::Registration);
        }
    }
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

/// What this registration changes in the records of the broker's replicas. Its new run is unconfirmed wherever it has one; what the former run
/// led is led by whoever wins, under a higher epoch, or by nobody until then.
///
/// With an older volume, what was acknowledged since is not there: it leaves the in-sync sets. The last member of one is never replaced by
/// the machine: the record goes on waiting for the run that had everything.
fn enroll(draft: &mut Draft, heard: Heard<'_>, newcomer: &Newcomer<'_>, before: Before) -> Losses {
    let number = newcomer.number;
    let own = newcomer.registration.incarnation();
    let held = draft.cluster.assignments().filter(|(topic, _, record)| {
        !matches!(topic.state, TopicState::Deleting) && record.replicas.contains(&number)
    });
    let held: Vec<_> = held
        .map(|(topic, partition, record)| (Arc::clone(topic), partition, record.clone()))
        .collect();
    let mut losses = Losses::new();
    for (topic, partition, record) in held {
        let led = record.leader == Some(number) && record.leader_incarnation != own;
        let mut next = record.clone();
        // A former run may have registered when nobody had told of the record: no leader could let the broker join.
        if led || before.run != Some(own) || awaits_former(&record, number, own) {
            let standing = newcomer.stored(partition).map(|stored| stored.standing);
            let standing = standing.unwrap_or(Standing::Whole);
            let is_confirmed_already = record.is_led_by(number, own);
            if !is_confirmed_already && record.awaits(number) != Some(own) {
                take_in(&mut next, newcomer, before, standing);
            }
        }
        if !led && next == record {
            continue;
        }
        let reports = heard.reports(&draft.cluster, partition, Some(&next));
        let election = heard.election(&topic, partition, Some(&next), &reports);
        if led && let Ok(elected) = doubt::elect(&election) {
            elections::enact(draft, partition, elected, &mut losses);
            continue;
        }
        let is_sure = raise::is_sure(heard.live, &election);
        if led && is_sure {
            write(draft, partition, election.vacated());
        } else if next != record {
            let version = election.next_change().filter(|_| is_sure);
            let mut marked = mark(&record, next.clone(), version);
            if led {
                // It cannot leave the set that it leads, and nobody may take over yet: `elections::hold` goes on when somebody may.
                marked.isr.clone_from(&record.isr);
                marked.is_unclean = record.is_unclean;
            }
            write(draft, partition, Some(marked));
        }
    }
    losses
}

/// `next` under a version of its own if that hides nothing. Else under that of `record`: the registration has to be written, and no newer record must
/// look as old.
fn mark(
    record: &Assignment,
    next: Assignment,
    version: Option<(LeaderEpoch, PartitionEpoch)>,
) -> Assignment {
    let leaps = version.is_some_and(|version| version.0 != record.leader_epoch);
    // Nobody's epoch ends for a mark alone.
    match version.filter(|_| !leaps || next.isr != record.isr) {
        Some((leader_epoch, partition_epoch)) => Assignment {
            leader_epoch,
            partition_epoch,
            ..next
        },
        None => next,
    }
}

/// What was registered of this broker before.
#[derive(Debug, Clone, Copy)]
struct Before {
    run: Option<Incarnation>,
    is_older_volume: bool,
}

fn take_in(next: &mut Assignment, newcomer: &Newcomer<'_>, before: Before, standing: Standing) {
    let number = newcomer.number;
    let awaited = next.awaits(number).or(before.run);
    let is_older = before.is_older_volume
        || next
            .awaits(number)
            .is_some_and(|run| newcomer.registration.is_older_than(run));
    let is_last = next.isr == [number];
    if !is_last && (is_older || standing != Standing::Whole) {
        next.isr.retain(|member| *member != number);
    }
    next.is_unclean |= is_last && !is_older && standing == Standing::MayLack;
    next.unconfirmed.retain(|(of, _)| *of != number);
    let own = newcomer.registration.incarnation();
    let run = awaited.filter(|_| is_last && is_older).unwrap_or(own);
    if is_older || !is_broken(Mutant::SnapshotElected) {
        next.unconfirmed.push((number, run));
    }
}

fn write(draft: &mut Draft, partition: TopicPartition, next: Option<Assignment>) {
    if let Some(record) = draft.assignment(partition, WriteReason::Election)
        && let Some(next) = next
    {
        *record = next;
    }
}
