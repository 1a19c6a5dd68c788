//! Moves that somebody asks for: checked, planned, begun.

use std::{collections::BTreeSet, sync::Arc};

use taffrail_core::{Assignment, BrokerNumber, TopicPartition};

use super::{NotYet, begin, begun};
use crate::{
    placement::{Row, balance, off},
    request::{MoveError, MoveRequest, PlannedMove},
    state::{
        cluster::{Cluster, Topic},
        draft::Draft,
        live::Live,
        place,
    },
};

/// Where each partition is to go.
type Targets = Vec<(TopicPartition, Vec<BrokerNumber>)>;

/// Begins what is asked for, and says what that is. The same brokers as planned already: nothing moves.
pub(crate) fn ask(
    draft: &mut Draft,
    live: &Live,
    what: &MoveRequest,
) -> Result<Vec<PlannedMove>, MoveError> {
    let targets = match what {
        MoveRequest::To {
            topic,
            partition,
            brokers,
        } => to(&draft.cluster, live, topic, *partition, brokers)?,
        MoveRequest::Off(broker) => off_broker(&draft.cluster, live, *broker)?,
        MoveRequest::Balance => balanced(&draft.cluster, live),
        MoveRequest::Cancel { topics } => taken_back(&draft.cluster, topics)?,
    };
    let not_yet = targets.iter().find_map(|(partition, target)| {
        let begun = begun(&draft.cluster, live, *partition, target)?;
        Some((partition, begun.err()?))
    });
    if let Some((id, why)) = not_yet {
        let topic = draft.cluster.topic(id.topic);
        let topic = topic.map_or_else(String::new, |topic| topic.name.clone());
        let partition = id.partition.0;
        return Err(match why {
            NotYet::TooEarly => MoveError::TooEarly { topic, partition },
            NotYet::NotReplaced => MoveError::NotReplaced { topic, partition },
        });
    }
    let mut moves = Vec::new();
    for (partition, target) in targets {
        let planned = planned(&draft.cluster, live, partition, &target);
        if begin(draft, live, partition, &target) {
            moves.extend(planned);
        }
    }
    Ok(moves)
}

fn planned(
    cluster: &Cluster,
    live: &Live,
    partition: TopicPartition,
    target: &[BrokerNumber],
) -> Option<PlannedMove> {
    let topic = cluster.topic(partition.topic)?;
    let record = cluster.assignment(topic, partition)?;
    let report = record
        .leader
        .and_then(|leader| live.report(leader, partition));
    let copies = target.iter().filter(|b| !record.isr.contains(b)).count() as u64;
    Some(PlannedMove {
        topic: topic.name.clone(),
        partition: partition.partition.0,
        from: record.target().collect(),
        to: target.to_vec(),
        bytes: report.map_or(0, |report| report.bytes) * copies,
    })
}

fn active<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Arc<Topic>, MoveError> {
    let topic = cluster.active(name);
    topic.ok_or_else(|| MoveError::UnknownTopic(name.to_owned()))
}

fn records(cluster: &Cluster) -> impl Iterator<Item = (&Arc<Topic>, TopicPartition, &Assignment)> {
    let records = cluster.assignments();
    records.filter(|(topic, _, _)| topic.is_active())
}

fn to(
    cluster: &Cluster,
    live: &Live,
    name: &str,
    partition: Option<u32>,
    brokers: &[BrokerNumber],
) -> Result<Targets, MoveError> {
    let topic = active(cluster, name)?;
    check(cluster, topic, brokers)?;
    let unknown = |partition| MoveError::UnknownPartition {
        topic: name.to_owned(),
        partition,
        partitions: topic.placed,
    };
    let partitions = match partition {
        Some(partition) if partition >= topic.placed => return Err(unknown(partition)),
        Some(partition) => partition..partition + 1,
        None => 0..topic.placed,
    };
    let mut targets = Targets::new();
    for index in partitions {
        let partition = topic.partition(index);
        let record = cluster
            .assignment(topic, partition)
            .ok_or_else(|| unknown(index))?;
        let new = brokers.iter().filter(|b| !record.replicas.contains(b));
        if let Some(away) = new.copied().find(|b| !live.is_there(*b)) {
            return Err(MoveError::BrokerAway(away));
        }
        targets.push((partition, brokers.to_vec()));
    }
    Ok(targets)
}

fn check(cluster: &Cluster, topic: &Topic, brokers: &[BrokerNumber]) -> Result<(), MoveError> {
    let mut named = BTreeSet::new();
    for broker in brokers {
        if !cluster.brokers.contains_key(broker) {
            return Err(MoveError::UnknownBroker(*broker));
        }
        if !named.insert(broker) {
            return Err(MoveError::NamedTwice(*broker));
        }
    }
    let replicas = topic.config.replicas;
    if named.len() != replicas as usize {
        return Err(MoveError::OtherCount {
            topic: topic.name.clone(),
            replicas,
            named: named.len(),
        });
    }
    Ok(())
}

fn off_broker(cluster: &Cluster, live: &Live, broker: BrokerNumber) -> Result<Targets, MoveError> {
    if !cluster.brokers.contains_key(&broker) {
        return Err(MoveError::UnknownBroker(broker));
    }
    let mut candidates = place::candidates(cluster, live, None, &place::loads(cluster));
    candidates.retain(|candidate| candidate.number != broker);
    let mut targets = Targets::new();
    for (topic, partition, record) in records(cluster) {
        let replicas: Vec<_> = record.target().collect();
        if !replicas.contains(&broker) {
            continue;
        }
        let target = off(broker, &replicas, &mut candidates);
        let target = target.ok_or_else(|| MoveError::NowhereToGo {
            topic: topic.name.clone(),
            partition: partition.partition.0,
            broker,
        })?;
        targets.push((partition, target));
    }
    Ok(targets)
}

fn balanced(cluster: &Cluster, live: &Live) -> Targets {
    let candidates = place::candidates(cluster, live, None, &place::loads(cluster));
    let (partitions, rows): (Vec<_>, Vec<_>) = records(cluster)
        .map(|(_, partition, record)| {
            let row = Row {
                replicas: record.target().collect(),
                is_fixed: record.is_moving(),
            };
            (partition, row)
        })
        .unzip();
    let after = balance(&rows, &candidates);
    let pairs = partitions.into_iter().zip(rows.into_iter().zip(after));
    let changed = pairs.filter(|(_, (before, after))| before != after);
    changed
        .map(|(partition, (_, after))| (partition, after.replicas))
        .collect()
}

/// Where moves came from. A move that goes to another number of replicas is the spec's, and is taken back there.
fn taken_back(cluster: &Cluster, topics: &[String]) -> Result<Targets, MoveError> {
    let named: Vec<_> = topics
        .iter()
        .map(|name| active(cluster, name).map(|topic| topic.id))
        .collect::<Result<_, _>>()?;
    let moving = records(cluster).filter(|(topic, _, record)| {
        record.is_moving() && (named.is_empty() || named.contains(&topic.id))
    });
    let back = moving.filter_map(|(topic, partition, record)| {
        let mut origin = record.origin();
        let replicas = topic.config.replicas as usize;
        // More were there if the move was bent.
        origin.truncate(replicas);
        (origin.len() == replicas).then_some((partition, origin))
    });
    Ok(back.collect())
}
