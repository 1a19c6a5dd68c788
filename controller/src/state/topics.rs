//! Topics: created, adopted, changed, ended, and their tombstones seen through.

use std::sync::Arc;

use taffrail_core::{
    Adoption, DeletionPolicy, TopicConfig, TopicDefaults, TopicId, TopicSpec, rules,
};

use super::{
    closing,
    cluster::{Cluster, PendingDelete, Topic, TopicState},
    draft::Draft,
    live::Live,
    replace,
};
use crate::{
    request::{Applied, ApplyError, ApplyOutcome, Deleted},
    writes::WriteReason,
};

/// Creates, adopts or changes the topic `name`. Partitions are placed later: see `place`.
pub(crate) fn apply(
    draft: &mut Draft,
    defaults: &TopicDefaults,
    name: &str,
    spec: &TopicSpec,
    new_id: TopicId,
) -> Result<Applied, ApplyError> {
    let violations = rules::check_topic_name(name);
    if !violations.is_empty() {
        return Err(ApplyError::Invalid(violations));
    }
    if let Some(topic) = draft.cluster.active(name).cloned() {
        return change(draft, defaults, &topic, spec);
    }
    match (newest_retained(&draft.cluster, name), spec.adoption) {
        (Some(_), Adoption::Never) => Err(ApplyError::RetainedDataExists {
            name: name.to_owned(),
        }),
        (Some(topic), Adoption::ByName) => adopt(draft, defaults, &topic, spec),
        (Some(_), Adoption::Fresh) | (None, _) => create(draft, defaults, name, spec, new_id),
    }
}

pub(crate) fn create(
    draft: &mut Draft,
    defaults: &TopicDefaults,
    name: &str,
    spec: &TopicSpec,
    id: TopicId,
) -> Result<Applied, ApplyError> {
    let config = effective(defaults, spec, None)?;
    let topic = Topic {
        id,
        name: name.to_owned(),
        maps: Vec::new(),
        state: TopicState::Active,
        spec: spec.clone(),
        config,
        generation: 1,
        placed: 0,
        pending: Vec::new(),
    };
    let topics = &mut draft.root(WriteReason::Topic).topics;
    topics.insert(id, Arc::new(topic));
    Ok(Applied {
        outcome: ApplyOutcome::Created,
        topic_id: id,
        placement: Vec::new(),
    })
}

fn adopt(
    draft: &mut Draft,
    defaults: &TopicDefaults,
    retained: &Topic,
    spec: &TopicSpec,
) -> Result<Applied, ApplyError> {
    let config = effective(defaults, spec, Some(retained))?;
    if let Some(topic) = draft.topic(retained.id, WriteReason::Topic) {
        topic.state = TopicState::Active;
        topic.generation += 1;
        topic.spec = spec.clone();
        topic.config = config;
    }
    Ok(Applied {
        outcome: ApplyOutcome::Created,
        topic_id: retained.id,
        placement: Vec::new(),
    })
}

pub(crate) fn change(
    draft: &mut Draft,
    defaults: &TopicDefaults,
    topic: &Topic,
    spec: &TopicSpec,
) -> Result<Applied, ApplyError> {
    let config = effective(defaults, spec, Some(topic))?;
    let mut applied = Applied {
        outcome: ApplyOutcome::Unchanged,
        topic_id: topic.id,
        placement: Vec::new(),
    };
    if topic.spec == *spec && topic.config == config {
        return Ok(applied);
    }
    applied.outcome = ApplyOutcome::Configured;
    if let Some(topic) = draft.topic(topic.id, WriteReason::Topic) {
        if topic.config != config {
            topic.generation += 1;
        }
        topic.spec = spec.clone();
        topic.config = config;
    }
    Ok(applied)
}

/// What is in force for `spec`. What an existing topic has already does not follow a default that changed.
fn effective(
    defaults: &TopicDefaults,
    spec: &TopicSpec,
    current: Option<&Topic>,
) -> Result<TopicConfig, ApplyError> {
    let mut spec = spec.clone();
    if let Some(current) = current {
        spec.partitions = spec.partitions.or(Some(current.config.partitions));
        spec.replicas = spec.replicas.or(Some(current.config.replicas));
    }
    let config = spec.effective(defaults).map_err(ApplyError::Invalid)?;
    if let Some(current) = current {
        let violations = rules::check_topic_change(current.config.partitions, config.partitions);
        if !violations.is_empty() {
            return Err(ApplyError::Invalid(violations));
        }
    }
    let replicas = config.replicas;
    if replicas > defaults.brokers_wanted {
        return Err(ApplyError::MoreReplicasThanBrokers {
            replicas,
            brokers: defaults.brokers_wanted,
        });
    }
    Ok(config)
}

/// Lets active topics follow changed defaults where their specs leave room.
pub(crate) fn follow_defaults(draft: &mut Draft, defaults: &TopicDefaults) {
    let topics: Vec<_> = draft.cluster.active_topics().cloned().collect();
    for topic in topics {
        // A default that does not fit this topic's spec leaves it as it is.
        let Ok(config) = effective(defaults, &topic.spec, Some(&topic)) else {
            continue;
        };
        if config != topic.config
            && let Some(topic) = draft.topic(topic.id, WriteReason::Topic)
        {
            topic.config = config;
            topic.generation += 1;
        }
    }
}

/// Ends the topic `name`. `policy`: `None` as its spec says. An error names the topic that has to close first.
pub(crate) fn delete(
    draft: &mut Draft,
    live: &Live,
    name: &str,
    policy: Option<DeletionPolicy>,
) -> Result<Deleted, TopicId> {
    if let Some(closing) = closing::named(&draft.cluster, name) {
        return Err(closing);
    }
    let Some(topic) = draft.cluster.active(name).cloned() else {
        return Ok(progress(&draft.cluster, live, name));
    };
    match policy.unwrap_or(topic.spec.deletion_policy) {
        DeletionPolicy::Delete => {
            bury(draft, &topic);
            Ok(progress(&draft.cluster, live, name))
        }
        DeletionPolicy::Retain => {
            retain(draft, topic.id);
            Ok(Deleted::Retained)
        }
        DeletionPolicy::DeleteIfEmpty => {
            if let Some(topic) = draft.topic(topic.id, WriteReason::Delete) {
                topic.state = TopicState::Closing;
            }
            Err(topic.id)
        }
    }
}

/// Turns the topic into a tombstone.
pub(crate) fn bury(draft: &mut Draft, topic: &Topic) {
    let pending = replicas_to_delete(&draft.cluster, topic);
    if let Some(topic) = draft.topic(topic.id, WriteReason::Delete) {
        topic.state = TopicState::Deleting;
        topic.pending = pending;
    }
}

/// Ends the topic and keeps its data.
pub(crate) fn retain(draft: &mut Draft, id: TopicId) {
    let ended = next_end(&draft.cluster);
    if let Some(topic) = draft.topic(id, WriteReason::Delete) {
        topic.state = TopicState::Retained { ended };
    }
}

/// What became of a topic that was closing, now that it is not any more.
pub(crate) fn closed(cluster: &Cluster, live: &Live, id: TopicId) -> Deleted {
    let Some(topic) = cluster.topic(id) else {
        return Deleted::Gone;
    };
    match topic.state {
        TopicState::Deleting => Deleted::Deleting {
            pending: awaited(cluster, live, topic),
        },
        TopicState::Retained { .. } | TopicState::Active | TopicState::Closing => Deleted::NotEmpty,
    }
}

/// How far the deletions of this name's topics are.
fn progress(cluster: &Cluster, live: &Live, name: &str) -> Deleted {
    let topics = cluster.root.value.topics.values();
    let mut deleting = topics
        .filter(|t| t.name == name && t.is_tombstone())
        .peekable();
    if deleting.peek().is_none() {
        return Deleted::Gone;
    }
    let pending = deleting.map(|topic| awaited(cluster, live, topic)).sum();
    Deleted::Deleting { pending }
}

/// Replicas whose deletion is waited for. Not on a volume that is gone and whose broker has another one: it may never come back, and gets its order
/// if it does.
fn awaited(cluster: &Cluster, live: &Live, topic: &Topic) -> usize {
    let gone = replace::successors(cluster, live);
    let awaited = unconfirmed(live, topic).filter(|pending| !gone.contains_key(&pending.broker));
    awaited.count()
}

fn unconfirmed<'a>(
    live: &'a Live,
    topic: &'a Topic,
) -> impl Iterator<Item = &'a PendingDelete> + 'a {
    topic
        .pending
        .iter()
        .filter(|pending| !live.is_deleted(topic, pending))
}

/// All replicas, and what moves left behind.
fn replicas_to_delete(cluster: &Cluster, topic: &Topic) -> Vec<PendingDelete> {
    let records = topic.placed_partitions().filter_map(|partition| {
        let assignment = cluster.assignment(topic, partition)?;
        Some((partition, assignment))
    });
    let pending = records.flat_map(|(partition, assignment)| {
        let index = partition.partition;
        let former = topic.pending.iter().filter(move |p| p.partition == index);
        let former = former.map(|p| p.broker);
        let former = former.filter(|broker| !assignment.replicas.contains(broker));
        let holders = assignment.replicas.iter().copied().chain(former);
        holders.map(move |broker| PendingDelete {
            partition: index,
            broker,
            partition_epoch: assignment.partition_epoch,
        })
    });
    pending.collect()
}

fn newest_retained(cluster: &Cluster, name: &str) -> Option<Arc<Topic>> {
    let retained = cluster
        .root
        .value
        .topics
        .values()
        .filter_map(|topic| match topic.state {
            TopicState::Retained { ended } if topic.name == name => Some((ended, topic)),
            _ => None,
        });
    let newest = retained.max_by_key(|(ended, _)| *ended);
    newest.map(|(_, topic)| Arc::clone(topic))
}

fn next_end(cluster: &Cluster) -> u64 {
    let ends = cluster
        .root
        .value
        .topics
        .values()
        .map(|topic| match topic.state {
            TopicState::Retained { ended } => ended,
            TopicState::Active | TopicState::Closing | TopicState::Deleting => 0,
        });
    1 + ends.max().unwrap_or_default()
}

/// The persisted tombstones that every replica confirmed.
fn confirmed<'a>(cluster: &'a Cluster, live: &'a Live) -> impl Iterator<Item = &'a Arc<Topic>> {
    let topics = cluster.root.value.topics.values();
    topics.filter(|topic| topic.is_tombstone() && unconfirmed(live, topic).next().is_none())
}

/// Is there a tombstone to be taken away?
pub(crate) fn has_confirmed(cluster: &Cluster, live: &Live) -> bool {
    confirmed(cluster, live).next().is_some()
}

/// Takes away the tombstones that every replica confirmed, and the records with them.
pub(crate) fn finish_deletes(draft: &mut Draft, live: &Live) {
    let done: Vec<_> = confirmed(draft.base(), live).cloned().collect();
    for topic in done {
        draft.remove_records(&topic, WriteReason::Delete);
        draft.root(WriteReason::Delete).topics.remove(&topic.id);
    }
}
