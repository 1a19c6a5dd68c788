//! What this broker must not forget: the newest view, and every assignment it ever saw for a replica of its own.

use std::collections::BTreeMap;

use taffrail_api::{WireError, v1};
use taffrail_core::{
    Assignment, BrokerNumber, ClusterId, Incarnation, PartitionEpoch, TopicPartition,
};

use super::view::{self, ClusterView};

/// Deleted replicas of topics that are not there any more that are remembered. Each is part of every registration, and of the file that each update writes.
const GONE_MAX: usize = 4096;

/// What the metadata file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) view: ClusterView,
    /// Every partition this broker ever held, also after its replica was deleted: the store may have gone back in time, and name this broker as the
    /// one that has everything. Of topics that are not there only the newest.
    pub(crate) seen: BTreeMap<TopicPartition, Seen>,
}

/// A run of a broker, as the controller has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) broker: BrokerNumber,
    pub(crate) incarnation: Incarnation,
    /// It has a session with the controller.
    pub(crate) is_heard: bool,
}

/// The newest assignment seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) topic_name: String,
    pub(crate) assignment: Assignment,
    /// The how manyth that was deleted here, if it was.
    pub(crate) deleted: Option<u64>,
}

impl Known {
    /// What is known after `update`, for broker `me`.
    pub(crate) fn after(
        &self,
        update: &v1::MetadataUpdate,
        me: BrokerNumber,
    ) -> Result<Self, WireError> {
        let mut next = Self {
            view: self.view.after(update)?,
            seen: self.seen.clone(),
        };
        for (id, assignment) in &mut next.view.partitions {
            let seen = next.seen.get(id);
            if let Some(seen) = seen.filter(|s| s.assignment.version() > assignment.version()) {
                *assignment = seen.assignment.clone();
            }
            let was_mine = seen.is_some();
            if was_mine || assignment.replicas.contains(&me) {
                let topic_name = next
                    .view
                    .topics
                    .get(&id.topic)
                    .map_or_else(String::new, |t| t.name.to_string());
                // A deleted replica that is assigned anew begins again.
                let is_anew =
                    |s: &Seen| s.assignment != *assignment && assignment.replicas.contains(&me);
                let deleted = seen.filter(|s| !is_anew(s)).and_then(|s| s.deleted);
                next.seen.insert(
                    *id,
                    Seen {
                        topic_name,
                        assignment: assignment.clone(),
                        deleted,
                    },
                );
            }
        }
        next.forget_gone();
        Ok(next)
    }

    /// A topic that is there keeps all: an old map that says that this broker leads what was moved elsewhere is only known to be old by who remembers the
    /// move. One that is not there was deleted by order, everywhere, so that a store from before has it back, empty, with or without this memory. Or it is
    /// retained: there a move would have to be followed by so many deletions, a store from before it, and its adoption, for its loss to matter.
    fn forget_gone(&mut self) {
        let topics = &self.view.topics;
        let is_gone = |id: &TopicPartition| !topics.contains_key(&id.topic);
        let gone = self.seen.iter().filter(|(id, _)| is_gone(id));
        let mut deletions: Vec<_> = gone.filter_map(|(_, seen)| seen.deleted).collect();
        let Some(at) = deletions.len().checked_sub(GONE_MAX).filter(|at| *at > 0) else {
            return;
        };
        let (_, &mut oldest_kept, _) = deletions.select_nth_unstable(at);
        self.seen.retain(|id, seen| {
            !is_gone(id) || seen.deleted.is_none_or(|deletion| deletion >= oldest_kept)
        });
    }

    /// The registered run of every broker.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let brokers = self.view.brokers.iter();
        let runs = brokers.filter_map(|(number, record)| {
            Some(Run {
                broker: *number,
                incarnation: record.incarnation?.into(),
                is_heard: record.alive,
            })
        });
        runs.collect()
    }

    /// Whose metadata this is.
    ///
    /// # Errors
    /// Nothing was heard yet, or what was heard is no id.
    pub(crate) fn cluster(&self) -> Result<ClusterId, WireError> {
        self.view
            .cluster_id
            .parse()
            .map_err(|e| WireError::invalid(format!("cluster id {:?}: {e}", self.view.cluster_id)))
    }

    /// May the replica be deleted by an order of `epoch`?
    pub(crate) fn allows_delete(&self, id: TopicPartition, epoch: PartitionEpoch) -> bool {
        self.seen
            .get(&id)
            .is_none_or(|seen| seen.assignment.partition_epoch <= epoch)
    }

    /// The replica's data is gone, by explicit order.
    pub(crate) fn deleted(&mut self, id: TopicPartition) {
        let last = self.seen.values().filter_map(|seen| seen.deleted).max();
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.deleted = Some(last.map_or(0, |last| last + 1));
        }
    }

    pub(crate) fn to_file(&self) -> v1::BrokerMetadataFile {
        v1::BrokerMetadataFile {
            stamp: Some(self.view.stamp.into()),
            last: Some(self.view.to_update()),
            seen: self.seen.iter().map(|(id, s)| s.to_wire(*id)).collect(),
        }
    }

    pub(crate) fn from_file(file: v1::BrokerMetadataFile) -> Result<Self, WireError> {
        let missing = |what| WireError::invalid(format!("the {what} is missing"));
        let mut known = Self::default();
        let last = file.last.ok_or_else(|| missing("last update"))?;
        known.view = known.view.after(&last)?;
        known.view.stamp = file
            .stamp
            .ok_or_else(|| missing("controller stamp"))?
            .into();
        known.cluster()?;
        for seen in file.seen {
            let record = v1::PartitionRecord {
                topic_id: seen.topic_id,
                partition: seen.partition,
                assignment: seen.assignment,
            };
            let (id, assignment) = view::parse_partition(&record)?;
            known.seen.insert(
                id,
                Seen {
                    topic_name: seen.topic_name,
                    assignment,
                    deleted: seen.deleted.then_some(seen.deletion),
                },
            );
        }
        Ok(known)
    }
}

impl Seen {
    fn to_wire(&self, id: TopicPartition) -> v1::SeenPartition {
        v1::SeenPartition {
            topic_id: view::topic_id_bytes(id.topic),
            partition: id.partition.0,
            topic_name: self.topic_name.clone(),
            assignment: Some((&self.assignment).into()),
            deleted: self.deleted.is_some(),
            deletion: self.deleted.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{LeaderEpoch, PartitionIndex, TopicDefaults, TopicId, TopicSpec};

    use super::*;

    const ME: BrokerNumber = BrokerNumber(1);
    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(0),
    };

    fn update(replica: u32, partition_epoch: u64) -> v1::MetadataUpdate {
        let assignment = Assignment {
            replicas: vec![BrokerNumber(replica)],
            isr: vec![BrokerNumber(replica)],
            leader: Some(BrokerNumber(replica)),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(partition_epoch),
            ..Assignment::default()
        };
        v1::MetadataUpdate {
            full: true,
            cluster_id: "11111111-1111-4111-8111-111111111111".into(),
            partitions: vec![view::partition_record(ID, &assignment)],
            ..v1::MetadataUpdate::default()
        }
    }

    #[test]
    fn an_assignment_is_remembered_after_the_map_lost_it() {
        let known = Known::default().after(&update(1, 5), ME).expect("valid");
        let empty = v1::MetadataUpdate {
            full: true,
            ..v1::MetadataUpdate::default()
        };
        let after = known.after(&empty, ME).expect("valid");
        assert!(after.view.partitions.is_empty());
        assert_eq!(
            after.seen[&ID].assignment.partition_epoch,
            PartitionEpoch(5)
        );
        // The store went back in time: the older record does not count.
        let again = after.after(&update(1, 4), ME).expect("valid");
        assert_eq!(
            again.view.partitions[&ID].partition_epoch,
            PartitionEpoch(5)
        );
    }

    #[test]
    fn what_others_hold_is_not_remembered() {
        let known = Known::default().after(&update(2, 5), ME).expect("valid");
        assert!(known.seen.is_empty());
    }

    #[test]
    fn an_order_with_a_lower_epoch_deletes_nothing() {
        let known = Known::default().after(&update(1, 5), ME).expect("valid");
        assert!(!known.allows_delete(ID, PartitionEpoch(4)));
        assert!(known.allows_delete(ID, PartitionEpoch(5)));
    }

    #[test]
    fn what_was_deleted_stays_so_until_it_is_assigned_anew() {
        let mut known = Known::default().after(&update(1, 5), ME).expect("valid");
        known = known.after(&update(2, 6), ME).expect("valid");
        known.deleted(ID);
        known = known.after(&update(2, 7), ME).expect("valid");
        assert!(known.seen[&ID].deleted.is_some(), "others go on without it");
        known = known.after(&update(1, 8), ME).expect("valid");
        assert_eq!(known.seen[&ID].deleted, None);
    }

    fn at(topic: u16, partition: u32) -> TopicPartition {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&topic.to_be_bytes());
        TopicPartition {
            topic: TopicId::from_bytes(id),
            partition: PartitionIndex(partition),
        }
    }

    fn deleted(known: &mut Known, id: TopicPartition) {
        let seen = Seen {
            topic_name: "gone".into(),
            assignment: Assignment::default(),
            deleted: None,
        };
        known.seen.insert(id, seen);
        known.deleted(id);
    }

    #[test]
    fn of_topics_that_are_gone_only_the_newest_deletions_are_remembered() {
        let mut known = Known::default().after(&update(1, 5), ME).expect("valid");
        known = known.after(&update(2, 6), ME).expect("valid");
        known.deleted(ID);
        // Not in the order of their ids.
        let all: Vec<_> = (0..2 * GONE_MAX as u32)
            .map(|n| at((n % 7) as u16, n))
            .collect();
        for id in &all {
            deleted(&mut known, *id);
        }
        let stray = at(9, 0);
        let seen = Seen {
            deleted: None,
            ..known.seen[&ID].clone()
        };
        known.seen.insert(stray, seen);
        let mut said = update(2, 7);
        said.topics = vec![v1::TopicRecord {
            topic_id: view::topic_id_bytes(ID.topic),
            name: "moved".into(),
            config: Some(
                (&TopicSpec::default()
                    .effective(&TopicDefaults::default())
                    .expect("defaults"))
                    .into(),
            ),
            generation: 1,
        }];
        let known = known.after(&said, ME).expect("valid");
        let (forgotten, kept) = all.split_at(GONE_MAX);
        assert!(kept.iter().all(|id| known.seen.contains_key(id)));
        assert!(!forgotten.iter().any(|id| known.seen.contains_key(id)));
        assert!(known.seen.contains_key(&ID), "its topic is there");
        assert!(known.seen.contains_key(&stray), "its data is here");
    }

    #[test]
    fn all_of_it_survives_the_file() {
        let mut known = Known::default().after(&update(1, 5), ME).expect("valid");
        known.deleted(ID);
        assert_eq!(Known::from_file(known.to_file()), Ok(known));
    }

    #[test]
    fn a_file_without_its_stamp_or_with_a_cluster_id_that_is_none_is_unreadable() {
        let known = Known::default().after(&update(1, 5), ME).expect("valid");
        let why = |damage: fn(&mut v1::BrokerMetadataFile)| {
            let mut file = known.to_file();
            damage(&mut file);
            Known::from_file(file).expect_err("unreadable").message
        };
        assert!(why(|f| f.stamp = None).contains("controller stamp is missing"));
        assert!(why(|f| f.last = None).contains("last update is missing"));
        let of_no_cluster = |f: &mut v1::BrokerMetadataFile| {
            f.last.as_mut().expect("there").cluster_id = "main".into();
        };
        assert!(why(of_no_cluster).contains("cluster id \"main\""));
    }
}
