//! What a broker last heard from the controller, which is away: no states, offsets or sizes. Fields have the names that they have in the full lists, and
//! those that nobody knows are left out.

use std::collections::BTreeMap;

use serde::Serialize;
use taffrail_api::v1;
use taffrail_core::TopicId;

use super::{Listing, numbers, topics::MetadataView};
use crate::table::Table;

/// What nobody knows while the controller is away.
const UNKNOWN: &str = "UNKNOWN";

/// A list of entries that a broker last heard of.
#[derive(Debug)]
pub(crate) struct LastHeard<T>(pub(crate) Vec<T>);

/// One topic. No resource: what was asked for is not known, so it cannot be applied again.
#[derive(Debug, Serialize)]
pub(crate) struct HeardTopic {
    metadata: MetadataView,
    status: HeardTopicStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeardTopicStatus {
    topic_id: Option<String>,
    partitions: HeardPartitions,
    #[serde(skip)]
    replicas: usize,
}

#[derive(Debug, Serialize)]
struct HeardPartitions {
    wanted: usize,
}

/// One partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeardPartition {
    topic: String,
    partition: u32,
    state: &'static str,
    leader: Option<u32>,
    leader_epoch: i32,
    replicas: Vec<u32>,
    isr: Vec<u32>,
}

/// One broker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeardBroker {
    number: u32,
    name: String,
    state: &'static str,
    address: String,
    leads: u32,
    follows: u32,
    rack: String,
    /// Was it in session with the controller then?
    was_online: bool,
}

impl HeardBroker {
    /// By name, or by number.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        self.name == wanted || wanted.parse() == Ok(self.number)
    }
}

/// The topics of what was heard.
pub(crate) fn topics(heard: v1::Metadata) -> LastHeard<HeardTopic> {
    let topics = heard.topics.into_iter().map(|topic| HeardTopic {
        metadata: MetadataView { name: topic.name },
        status: HeardTopicStatus {
            topic_id: TopicId::try_from(&topic.topic_id[..])
                .ok()
                .map(|id| id.to_string()),
            replicas: topic.partitions.first().map_or(0, |p| p.replicas.len()),
            partitions: HeardPartitions {
                wanted: topic.partitions.len(),
            },
        },
    });
    LastHeard(topics.collect())
}

/// The partitions of what was heard.
pub(crate) fn partitions(heard: v1::Metadata) -> LastHeard<HeardPartition> {
    let partitions = heard.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        let partitions = topic.partitions.into_iter();
        partitions.map(move |partition| HeardPartition {
            topic: name.clone(),
            partition: partition.partition,
            state: UNKNOWN,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas,
            isr: partition.isr,
        })
    });
    LastHeard(partitions.collect())
}

/// The brokers of what was heard, of all topics.
pub(crate) fn brokers(heard: v1::Metadata) -> LastHeard<HeardBroker> {
    let mut held: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for partition in heard.topics.iter().flat_map(|topic| &topic.partitions) {
        for replica in &partition.replicas {
            let (leads, follows) = held.entry(*replica).or_default();
            if partition.leader == Some(*replica) {
                *leads += 1;
            } else {
                *follows += 1;
            }
        }
    }
    let brokers = heard.brokers.into_iter().map(|broker| {
        let (leads, follows) = held.get(&broker.number).copied().unwrap_or_default();
        let address = broker.client.map(|client| client.address());
        HeardBroker {
            number: broker.number,
            name: broker.name,
            state: UNKNOWN,
            address: address.unwrap_or_default(),
            leads,
            follows,
            rack: broker.rack,
            was_online: broker.alive,
        }
    });
    LastHeard(brokers.collect())
}

fn number_or_dash(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

impl Listing for LastHeard<HeardTopic> {
    type Item = HeardTopic;
    const NOTHING: &'static str = "no topics, as far as this broker has heard";

    fn items(&self) -> &[HeardTopic] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut heads = vec!["NAME", "PARTITIONS", "REPLICAS", "READY"];
        heads.extend(wide.then_some("TOPIC-ID"));
        let mut table = Table::new(&heads);
        for topic in &self.0 {
            let status = &topic.status;
            let mut cells = vec![
                topic.metadata.name.clone(),
                status.partitions.wanted.to_string(),
                status.replicas.to_string(),
                "Unknown".to_owned(),
            ];
            cells.extend(wide.then(|| status.topic_id.clone().unwrap_or_default()));
            table.row(cells);
        }
        table
    }
}

impl Listing for LastHeard<HeardPartition> {
    type Item = HeardPartition;
    const NOTHING: &'static str = "no partitions, as far as this broker has heard";

    fn items(&self) -> &[HeardPartition] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut heads = vec!["TOPIC", "PARTITION", "STATE", "LEADER", "ISR", "REPLICAS"];
        heads.extend(wide.then_some("EPOCH"));
        let mut table = Table::new(&heads);
        for partition in &self.0 {
            let mut cells = vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.state.to_owned(),
                number_or_dash(partition.leader),
                numbers(&partition.isr),
                numbers(&partition.replicas),
            ];
            cells.extend(wide.then(|| partition.leader_epoch.to_string()));
            table.row(cells);
        }
        table
    }
}

impl Listing for LastHeard<HeardBroker> {
    type Item = HeardBroker;
    const NOTHING: &'static str = "no brokers, as far as this broker has heard";

    fn items(&self) -> &[HeardBroker] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut heads = vec![
            "NUMBER",
            "NAME",
            "STATE",
            "WAS-ONLINE",
            "ADDRESS",
            "LEADS",
            "FOLLOWS",
        ];
        heads.extend(wide.then_some("RACK"));
        let mut table = Table::new(&heads);
        for broker in &self.0 {
            let rack = Some(broker.rack.as_str()).filter(|rack| !rack.is_empty());
            let mut cells = vec![
                broker.number.to_string(),
                broker.name.clone(),
                broker.state.to_owned(),
                if broker.was_online { "yes" } else { "no" }.to_owned(),
                broker.address.clone(),
                broker.leads.to_string(),
                broker.follows.to_string(),
            ];
            cells.extend(wide.then(|| rack.unwrap_or("-").to_owned()));
            table.row(cells);
        }
        table
    }
}
