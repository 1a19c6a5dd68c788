//! The cluster as the newest update says.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_api::{WireError, convert, v1};
use taffrail_core::{
    Assignment, BrokerNumber, ControllerStamp, ErrorCode, TopicConfig, TopicId, TopicPartition,
};

use crate::group::Policies;

/// Topics, assignments and brokers. Immutable once published.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ClusterView {
    pub(crate) cluster_id: String,
    pub(crate) stamp: ControllerStamp,
    pub(crate) brokers: BTreeMap<BrokerNumber, v1::BrokerRecord>,
    pub(crate) topics: BTreeMap<TopicId, Topic>,
    pub(crate) partitions: BTreeMap<TopicPartition, Assignment>,
    /// Of consumer groups. They outlive a full update that says nothing of them.
    pub(crate) groups: Policies,
}

/// A topic that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) config: TopicConfig,
    /// The newest wins.
    pub(crate) generation: u64,
}

impl ClusterView {
    /// This view after `update`. An assignment that is older than the one known stays out, and so does an older configuration.
    ///
    /// # Errors
    /// A record is malformed: nothing of the update is taken.
    pub(crate) fn after(&self, update: &v1::MetadataUpdate) -> Result<Self, WireError> {
        let mut next = if update.full {
            Self::default()
        } else {
            self.clone()
        };
        next.cluster_id.clone_from(&update.cluster_id);
        if next.cluster_id.is_empty() {
            next.cluster_id.clone_from(&self.cluster_id);
        }
        next.stamp = update.stamp.unwrap_or_default().into();
        next.groups = self.groups.after(update);
        for broker in &update.brokers {
            next.brokers
                .insert(BrokerNumber(broker.number), broker.clone());
        }
        for topic in &update.topics {
            let (id, topic) = parse_topic(topic)?;
            let newest = match self.topics.get(&id) {
                Some(known) if known.generation > topic.generation => known.clone(),
                _ => topic,
            };
            next.topics.insert(id, newest);
        }
        for partition in &update.partitions {
            let (id, assignment) = parse_partition(partition)?;
            let newest = match self.partitions.get(&id) {
                Some(known) if known.version() > assignment.version() => {
                    tracing::warn!(%id, known = ?known.version(), refused = ?assignment.version(),
                        "refused an assignment that is older than the one known");
                    known.clone()
                }
                _ => assignment,
            };
            next.partitions.insert(id, newest);
        }
        for topic in &update.removed_topics {
            let id = TopicId::try_from(&topic[..])
                .map_err(|e| WireError::invalid(format!("removed_topics: {e}")))?;
            next.topics.remove(&id);
            next.partitions.retain(|p, _| p.topic != id);
        }
        Ok(next)
    }

    /// The update that says all of this.
    pub(crate) fn to_update(&self) -> v1::MetadataUpdate {
        v1::MetadataUpdate {
            stamp: Some(self.stamp.into()),
            full: true,
            cluster_id: self.cluster_id.clone(),
            brokers: self.brokers.values().cloned().collect(),
            topics: self.topics.iter().map(|(id, t)| t.to_record(*id)).collect(),
            partitions: self
                .partitions
                .iter()
                .map(|(id, a)| partition_record(*id, a))
                .collect(),
            deletes: Vec::new(),
            removed_topics: Vec::new(),
            groups: self.groups.records(),
            removed_groups: Vec::new(),
            all_groups: true,
        }
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<(TopicId, &Topic)> {
        self.topics
            .iter()
            .find(|(_, t)| &*t.name == name)
            .map(|(id, t)| (*id, t))
    }

    /// The partitions of a topic, in order.
    pub(crate) fn partitions_of(
        &self,
        topic: TopicId,
    ) -> impl Iterator<Item = (TopicPartition, &Assignment)> {
        let at = |partition| TopicPartition {
            topic,
            partition: taffrail_core::PartitionIndex(partition),
        };
        self.partitions
            .range(at(0)..=at(u32::MAX))
            .map(|(id, a)| (*id, a))
    }

    pub(crate) fn leader(&self, id: TopicPartition) -> Option<BrokerNumber> {
        self.partitions.get(&id)?.leader
    }

    /// Why a partition is not to be found: the topic is unknown, or it has fewer partitions.
    pub(crate) fn missing(&self, id: TopicPartition) -> WireError {
        match self.topics.get(&id.topic) {
            None => WireError::new(
                ErrorCode::UnknownTopic,
                format!(
                    "there is no topic with id {}; refresh the metadata",
                    id.topic
                ),
            ),
            Some(topic) => WireError::new(
                ErrorCode::UnknownPartition,
                format!(
                    "topic {} has {} partitions, there is no partition {} here; refresh the metadata",
                    topic.name,
                    self.partitions_of(id.topic).count(),
                    id.partition
                ),
            ),
        }
    }
}

impl Topic {
    fn to_record(&self, id: TopicId) -> v1::TopicRecord {
        v1::TopicRecord {
            topic_id: topic_id_bytes(id),
            name: self.name.to_string(),
            config: Some((&self.config).into()),
            generation: self.generation,
        }
    }
}

/// A topic id as messages carry it.
pub(crate) fn topic_id_bytes(id: TopicId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn partition_record(id: TopicPartition, assignment: &Assignment) -> v1::PartitionRecord {
    v1::PartitionRecord {
        topic_id: topic_id_bytes(id.topic),
        partition: id.partition.0,
        assignment: Some(assignment.into()),
    }
}

fn parse_topic(record: &v1::TopicRecord) -> Result<(TopicId, Topic), WireError> {
    let id = TopicId::try_from(&record.topic_id[..])
        .map_err(|e| WireError::invalid(format!("topic {}: {e}", record.name)))?;
    let config = record
        .config
        .ok_or_else(|| WireError::invalid(format!("topic {}: no config", record.name)))?;
    Ok((
        id,
        Topic {
            name: record.name.as_str().into(),
            config: config.try_into()?,
            generation: record.generation,
        },
    ))
}

pub(crate) fn parse_partition(
    record: &v1::PartitionRecord,
) -> Result<(TopicPartition, Assignment), WireError> {
    let id = convert::topic_partition(&record.topic_id, record.partition)?;
    let assignment = record
        .assignment
        .clone()
        .ok_or_else(|| WireError::invalid(format!("partition {id}: no assignment")))?;
    Ok((id, assignment.try_into()?))
}

#[cfg(test)]
mod tests {
    use taffrail_core::{
        LeaderEpoch, PartitionEpoch, PartitionIndex, TopicDefaults, TopicSpec, group::GroupPolicy,
    };

    use super::*;

    const TOPIC: TopicId = TopicId::from_bytes([1; 16]);

    fn id(partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TOPIC,
            partition: PartitionIndex(partition),
        }
    }

    fn assignment(leader_epoch: u32, partition_epoch: u64) -> Assignment {
        Assignment {
            replicas: vec![BrokerNumber(1)],
            isr: vec![BrokerNumber(1)],
            leader: Some(BrokerNumber(1)),
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            ..Assignment::default()
        }
    }

    fn update(full: bool, partitions: &[(u32, Assignment)], generation: u64) -> v1::MetadataUpdate {
        let config = TopicSpec::default()
            .effective(&TopicDefaults::default())
            .expect("valid");
        let topic = Topic {
            name: "flights".into(),
            config,
            generation,
        };
        v1::MetadataUpdate {
            full,
            cluster_id: "c".into(),
            topics: vec![topic.to_record(TOPIC)],
            partitions: partitions
                .iter()
                .map(|(p, a)| partition_record(id(*p), a))
                .collect(),
            ..v1::MetadataUpdate::default()
        }
    }

    #[test]
    fn a_view_survives_being_written_as_an_update() {
        let view = ClusterView::default()
            .after(&update(
                true,
                &[(0, assignment(1, 1)), (1, assignment(2, 3))],
                4,
            ))
            .expect("valid");
        let policy = GroupPolicy {
            session_timeout_ms: Some(5_000),
            ..GroupPolicy::default()
        };
        let groups = v1::MetadataUpdate {
            groups: vec![v1::GroupPolicyRecord {
                group: "billing".to_owned(),
                policy: Some((&policy).into()),
                forget: true,
            }],
            ..update(false, &[], 4)
        };
        let view = view.after(&groups).expect("valid");
        assert_eq!(view.groups.records(), groups.groups);
        assert_eq!(ClusterView::default().after(&view.to_update()), Ok(view));
    }

    #[test]
    fn policies_of_groups_outlive_a_full_update_that_says_nothing_of_them() {
        let groups = v1::MetadataUpdate {
            groups: vec![v1::GroupPolicyRecord {
                group: "billing".to_owned(),
                ..v1::GroupPolicyRecord::default()
            }],
            ..update(true, &[], 1)
        };
        let view = ClusterView::default().after(&groups).expect("valid");
        let next = view.after(&update(true, &[], 2)).expect("valid");
        assert_eq!(next.groups, view.groups);
        assert_eq!(next.groups.records().len(), 1);
    }

    #[test]
    fn an_older_assignment_or_configuration_is_refused() {
        let view = ClusterView::default()
            .after(&update(true, &[(0, assignment(2, 5))], 4))
            .expect("valid");
        let next = view
            .after(&update(true, &[(0, assignment(2, 4))], 3))
            .expect("valid");
        assert_eq!(next.partitions[&id(0)], assignment(2, 5));
        assert_eq!(next.topics[&TOPIC].generation, 4);
    }

    #[test]
    fn a_partial_update_leaves_the_rest_and_a_full_one_does_not() {
        let view = ClusterView::default()
            .after(&update(
                true,
                &[(0, assignment(1, 1)), (1, assignment(1, 1))],
                1,
            ))
            .expect("valid");
        let partial = view
            .after(&update(false, &[(1, assignment(1, 2))], 1))
            .expect("valid");
        assert_eq!(partial.partitions.len(), 2);
        let full = view
            .after(&update(true, &[(1, assignment(1, 2))], 1))
            .expect("valid");
        assert_eq!(full.partitions.len(), 1);
    }

    #[test]
    fn a_missing_partition_says_how_many_there_are() {
        let view = ClusterView::default()
            .after(&update(true, &[(0, assignment(1, 1))], 1))
            .expect("valid");
        let error = view.missing(id(7));
        assert_eq!(error.code, ErrorCode::UnknownPartition);
        assert!(error.message.contains("has 1 partitions"), "{error}");
        let other = TopicPartition {
            topic: TopicId::from_bytes([9; 16]),
            ..id(0)
        };
        assert_eq!(view.missing(other).code, ErrorCode::UnknownTopic);
    }
}
