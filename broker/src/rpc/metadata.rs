//! What topics there are, who leads their partitions, where brokers are: from the newest update, also while the controller is away.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use futures::{Stream, StreamExt as _, future, stream::BoxStream};
use prost::Message as _;
use taffrail_api::{WireError, convert, v1};
use taffrail_core::{Assignment, TopicId, TopicPartition, internal::is_internal};
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use crate::{
    broker::Broker,
    cluster::view::{ClusterView, Topic, topic_id_bytes},
};

/// Now.
pub(super) fn get(
    broker: &Broker,
    request: &v1::GetMetadataRequest,
) -> Result<v1::Metadata, Status> {
    broker.metrics.requests("get_metadata").inc();
    check(broker, "get_metadata", request)?;
    Ok(describe(&broker.known.borrow().view, &request.topics))
}

/// Now, and whenever it changes.
pub(super) fn watch(
    broker: &Arc<Broker>,
    request: v1::GetMetadataRequest,
) -> Result<BoxStream<'static, Result<v1::Metadata, Status>>, Status> {
    broker.metrics.requests("watch_metadata").inc();
    check(broker, "watch_metadata", &request)?;
    let draining = broker.draining.clone().cancelled_owned();
    let end = future::ready(Err(Broker::shutting_down().into()));
    Ok(changes(broker, request)
        .map(Ok)
        .take_until(draining)
        .chain(futures::stream::once(end))
        .boxed())
}

fn check(
    broker: &Broker,
    call: &'static str,
    request: &v1::GetMetadataRequest,
) -> Result<(), WireError> {
    let max = broker.config.limits.partitions_per_request_max;
    if request.topics.len() <= max {
        return Ok(());
    }
    let error = WireError::invalid(format!(
        "more than {max} topics in one request; send several, or name none to get all"
    ));
    broker.metrics.error(call, error.code);
    Err(error)
}

fn changes(
    broker: &Broker,
    request: v1::GetMetadataRequest,
) -> impl Stream<Item = v1::Metadata> + use<> {
    WatchStream::new(broker.known.clone())
        .map(move |known| describe(&known.view, &request.topics))
        .scan(None, |last, metadata: v1::Metadata| {
            let print = fingerprint(&metadata);
            let changed = last.replace(print) != Some(print);
            future::ready(Some(changed.then_some(metadata)))
        })
        .filter_map(future::ready)
}

/// Of all but the stamp: updates about other topics change nothing else. A watch keeps this rather than what it last sent, which may be large.
fn fingerprint(metadata: &v1::Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    metadata.cluster_id.hash(&mut hasher);
    metadata.unknown_topics.hash(&mut hasher);
    let mut bytes = Vec::new();
    for broker in &metadata.brokers {
        bytes.clear();
        // A Vec grows.
        let _ = broker.encode_length_delimited(&mut bytes);
        hasher.write(&bytes);
    }
    for topic in &metadata.topics {
        bytes.clear();
        let _ = topic.encode_length_delimited(&mut bytes);
        hasher.write(&bytes);
    }
    hasher.finish()
}

fn describe(view: &ClusterView, names: &[String]) -> v1::Metadata {
    let asked: HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut topics: Vec<_> = view
        .topics
        .iter()
        .filter(|(_, t)| asked.is_empty() || asked.contains(&*t.name))
        .map(|(id, topic)| describe_topic(view, *id, topic))
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let unknown_topics = names
        .iter()
        .filter(|name| topics.binary_search_by(|t| t.name.cmp(name)).is_err())
        .cloned()
        .collect();
    v1::Metadata {
        cluster_id: view.cluster_id.clone(),
        stamp: Some(view.stamp.into()),
        brokers: view.brokers.values().map(describe_broker).collect(),
        topics,
        unknown_topics,
    }
}

fn describe_topic(view: &ClusterView, id: TopicId, topic: &Topic) -> v1::TopicInfo {
    v1::TopicInfo {
        topic_id: topic_id_bytes(id),
        name: topic.name.to_string(),
        partitions: view
            .partitions_of(id)
            .map(|(id, a)| describe_partition(id, a))
            .collect(),
        max_batch_bytes: u32::try_from(topic.config.max_batch_bytes).unwrap_or(u32::MAX),
        internal: is_internal(&topic.name),
    }
}

fn describe_partition(id: TopicPartition, assignment: &Assignment) -> v1::PartitionInfo {
    v1::PartitionInfo {
        partition: id.partition.0,
        leader: assignment.leader.map(|b| b.0),
        leader_epoch: convert::epoch_to_wire(assignment.leader_epoch),
        replicas: assignment.replicas.iter().map(|b| b.0).collect(),
        isr: assignment.isr.iter().map(|b| b.0).collect(),
    }
}

fn describe_broker(broker: &v1::BrokerRecord) -> v1::BrokerInfo {
    v1::BrokerInfo {
        number: broker.number,
        name: broker.name.clone(),
        client: broker.client.clone(),
        rack: broker.rack.clone(),
        alive: broker.alive,
    }
}
