//! What the client knows of topics, leaders and addresses.

mod cache;
mod follow;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use taffrail_api::v1;
use taffrail_core::{
    BrokerNumber, ControllerStamp, PartitionIndex, TopicId, rules::PARTITIONS_MAX,
};

pub(crate) use cache::{ASK_TIMEOUT, MetadataCache};
pub(crate) use follow::follow;

/// A broker that leads no more says so at once. One that has not for this long, while another is known to lead, stands still or cannot be reached.
pub(crate) const MOVED_PATIENCE: Duration = Duration::from_secs(1);

/// One view of the cluster. Immutable; a newer one replaces it.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// The cluster's id; empty before the first answer.
    pub cluster_id: String,
    /// How new the view is.
    pub stamp: ControllerStamp,
    /// All brokers.
    pub brokers: HashMap<BrokerNumber, Broker>,
    /// The topics that were asked for so far.
    pub topics: HashMap<String, Arc<Topic>>,
}

/// A broker as clients dial it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// For people.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// As far as the controller knows.
    pub alive: bool,
}

/// A topic and who leads its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its identity: a new topic of an old name has another.
    pub id: TopicId,
    /// The same, as requests carry it.
    pub(crate) id_bytes: Bytes,
    /// Its name.
    pub name: Arc<str>,
    /// By partition index.
    pub partitions: Vec<Partition>,
    /// Largest batch accepted.
    pub max_batch_bytes: usize,
    /// Is it the cluster's own? Clients read it, and do not write to it.
    pub is_internal: bool,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Partition {
    /// `None`: nobody just now.
    pub leader: Option<BrokerNumber>,
    /// -1: not known.
    pub leader_epoch: i32,
}

/// Where requests for a partition go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) broker: BrokerNumber,
    pub(crate) address: String,
    pub(crate) epoch: i32,
}

impl Metadata {
    /// The topic of this name, if it was asked for and is there.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub(crate) fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<Leader> {
        let known = self
            .topics
            .get(topic)?
            .partitions
            .get(partition.0 as usize)?;
        let broker = known.leader?;
        Some(Leader {
            broker,
            address: self.brokers.get(&broker)?.address.clone(),
            epoch: known.leader_epoch,
        })
    }

    /// The newest leader epoch that was heard of; -1: none.
    pub(crate) fn epoch(&self, topic: &str, partition: PartitionIndex) -> i32 {
        let topic = self.topics.get(topic);
        let known = topic.and_then(|topic| topic.partitions.get(partition.0 as usize));
        known.map_or(-1, |known| known.leader_epoch)
    }

    /// Takes an answer in: what it names is replaced, other topics stay. Brokers hear of changes at different times, so a partition whose
    /// leader epoch is higher here stays as it is. Of another cluster, made anew at the same addresses, nothing that was known is true.
    fn merge(&mut self, answer: v1::Metadata) {
        let is_another = answer.cluster_id != self.cluster_id;
        if is_another && !self.cluster_id.is_empty() && !answer.cluster_id.is_empty() {
            tracing::warn!(
                was = self.cluster_id,
                is = answer.cluster_id,
                "another cluster answers at this address: what was known of the one before is forgotten"
            );
            *self = Self::default();
        }
        let stamp: ControllerStamp = answer.stamp.unwrap_or_default().into();
        if stamp >= self.stamp {
            self.stamp = stamp;
            self.cluster_id = answer.cluster_id;
            self.brokers = answer.brokers.into_iter().filter_map(broker).collect();
        }
        for topic in answer.topics.into_iter().filter_map(topic) {
            let old = self.topics.remove(&*topic.name);
            let topic = match old {
                Some(old) => newest(&old, topic),
                None => topic,
            };
            self.topics.insert(topic.name.to_string(), Arc::new(topic));
        }
        for name in answer.unknown_topics {
            self.topics.remove(&name);
        }
    }
}

fn newest(old: &Topic, mut new: Topic) -> Topic {
    if old.id == new.id {
        for (partition, known) in new.partitions.iter_mut().zip(&old.partitions) {
            if known.leader_epoch > partition.leader_epoch {
                *partition = *known;
            }
        }
    }
    new
}

fn broker(wire: v1::BrokerInfo) -> Option<(BrokerNumber, Broker)> {
    let broker = Broker {
        name: wire.name,
        address: wire.client?.address(),
        alive: wire.alive,
    };
    Some((BrokerNumber(wire.number), broker))
}

fn topic(mut wire: v1::TopicInfo) -> Option<Topic> {
    // What is beyond cannot exist, and must not make us allocate for it.
    wire.partitions.retain(|p| p.partition < PARTITIONS_MAX);
    let count = wire.partitions.iter().map(|p| p.partition + 1).max()?;
    let mut partitions = vec![Partition::default(); count as usize];
    for partition in wire.partitions {
        partitions[partition.partition as usize] = Partition {
            leader: partition.leader.map(BrokerNumber),
            leader_epoch: partition.leader_epoch,
        };
    }
    Some(Topic {
        id: TopicId::try_from(&wire.topic_id[..]).ok()?,
        id_bytes: wire.topic_id,
        name: wire.name.into(),
        partitions,
        max_batch_bytes: wire.max_batch_bytes as usize,
        is_internal: wire.internal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(epoch: i32, leader: u32, sequence: u64) -> v1::Metadata {
        v1::Metadata {
            stamp: Some(v1::ControllerStamp {
                controller_epoch: 1,
                sequence,
            }),
            brokers: vec![v1::BrokerInfo {
                number: leader,
                client: Some(v1::Endpoint {
                    host: format!("broker-{leader}"),
                    port: 9640,
                }),
                ..v1::BrokerInfo::default()
            }],
            topics: vec![v1::TopicInfo {
                topic_id: Bytes::from_static(&[1; 16]),
                name: "flights".to_owned(),
                partitions: vec![v1::PartitionInfo {
                    partition: 0,
                    leader: Some(leader),
                    leader_epoch: epoch,
                    ..v1::PartitionInfo::default()
                }],
                max_batch_bytes: 1 << 20,
                internal: false,
            }],
            ..v1::Metadata::default()
        }
    }

    #[test]
    fn an_older_view_of_a_partition_does_not_replace_a_newer_one() {
        let mut metadata = Metadata::default();
        metadata.merge(answer(7, 1, 10));
        metadata.merge(answer(6, 2, 9));
        let leader = metadata
            .leader("flights", PartitionIndex(0))
            .expect("known");
        assert_eq!((leader.broker, leader.epoch), (BrokerNumber(1), 7));
        assert_eq!(leader.address, "broker-1:9640");
        metadata.merge(answer(8, 2, 11));
        let leader = metadata
            .leader("flights", PartitionIndex(0))
            .expect("known");
        assert_eq!((leader.broker, leader.epoch), (BrokerNumber(2), 8));
    }

    #[test]
    fn a_cluster_that_was_made_anew_has_nothing_of_the_one_before() {
        let of = |cluster: &str, answer| v1::Metadata {
            cluster_id: cluster.to_owned(),
            ..answer
        };
        let mut metadata = Metadata::default();
        metadata.merge(of("old", answer(7, 1, 10)));
        metadata.merge(of("new", answer(1, 2, 1)));
        assert_eq!(metadata.cluster_id, "new");
        let leader = metadata
            .leader("flights", PartitionIndex(0))
            .expect("known");
        assert_eq!((leader.broker, leader.epoch), (BrokerNumber(2), 1));
        assert_eq!(metadata.brokers.len(), 1);
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten() {
        let mut metadata = Metadata::default();
        metadata.merge(answer(7, 1, 10));
        metadata.merge(v1::Metadata {
            unknown_topics: vec!["flights".to_owned()],
            ..v1::Metadata::default()
        });
        assert!(metadata.topic("flights").is_none());
    }
}
