//! Topics there are, as the coordinator sees them.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_client::{Admin, ClientError};
use taffrail_core::{TopicId, TopicPartition, group::Topic};

use crate::{connect::client_failure, failure::Outcome};

/// All topics there are: names, and for each partition the rack of its leader.
pub(super) struct Known {
    pub(super) topics: BTreeMap<TopicId, (String, Topic)>,
}

impl Known {
    pub(super) async fn ask(admin: &Admin) -> Outcome<Self> {
        let failed = |error| client_failure(&error);
        let listed = admin.list_topics(&[]).await.map_err(failed)?;
        let partitions = admin.list_partitions(&[]).await.map_err(failed)?;
        let brokers = admin.list_brokers().await.map_err(failed)?.brokers;
        let rack = |number: u32| {
            let broker = brokers.iter().find(|broker| broker.number == number)?;
            (!broker.rack.is_empty()).then(|| broker.rack.clone())
        };
        let mut by_name: BTreeMap<String, BTreeMap<u32, BTreeSet<String>>> = BTreeMap::new();
        for partition in partitions {
            let racks = partition.leader.and_then(rack).into_iter().collect();
            let topic = by_name.entry(partition.topic).or_default();
            topic.insert(partition.partition, racks);
        }
        let topics = listed.into_iter().filter_map(|status| {
            let id = TopicId::try_from(&status.topic_id[..]).ok()?;
            let racks = by_name.remove(&status.name)?.into_values().collect();
            Some((id, (status.name, Topic { racks })))
        });
        Ok(Self {
            topics: topics.collect(),
        })
    }

    pub(super) fn id(&self, name: &str) -> Outcome<TopicId> {
        let mut topics = self.topics.iter();
        let found = topics.find(|(_, (known, _))| known == name);
        found.map(|(id, _)| *id).ok_or_else(|| {
            client_failure(&ClientError::UnknownTopic {
                topic: name.to_owned(),
            })
        })
    }

    /// Those of them that are there.
    pub(super) fn only<'a>(
        &self,
        ids: impl Iterator<Item = &'a TopicId>,
    ) -> BTreeMap<TopicId, Topic> {
        let known = ids.filter_map(|id| Some((*id, self.topics.get(id)?.1.clone())));
        known.collect()
    }

    pub(super) fn label(&self, partition: TopicPartition) -> String {
        let topic = self.topics.get(&partition.topic);
        topic.map_or_else(
            || partition.to_string(),
            |(name, _)| format!("{name}/{}", partition.partition),
        )
    }
}
