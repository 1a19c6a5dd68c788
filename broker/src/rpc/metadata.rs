//! What topics there are, who leads their partitions, where brokers are: from the newest update, also while the controller is away.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, future, stream::BoxStream};
use taffrail_api::{convert, v1};
use taffrail_core::{Assignment, TopicId, TopicPartition};
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use crate::{
    broker::Broker,
    cluster::view::{ClusterView, Topic, topic_id_bytes},
};

/// Now.
pub(super) fn get(broker: &Broker, request: &v1::GetMetadataRequest) -> v1::Metadata {
    broker.metrics.requests("get_metadata").inc();
    describe(&broker.known.borrow().view, &request.topics)
}

/// Now, and whenever it changes.
pub(super) fn watch(
    broker: &Arc<Broker>,
    request: v1::GetMetadataRequest,
) -> BoxStream<'static, Result<v1::Metadata, Status>> {
    broker.metrics.requests("watch_metadata").inc();
    let draining = broker.draining.clone().cancelled_owned();
    let end = future::ready(Err(Broker::shutting_down().into()));
    changes(broker, request)
        .map(Ok)
        .take_until(draining)
        .chain(futures::stream::once(end))
        .boxed()
}

fn changes(
    broker: &Broker,
    request: v1::GetMetadataRequest,
) -> impl Stream<Item = v1::Metadata> + use<> {
    WatchStream::new(broker.known.clone())
        .map(move |known| describe(&known.view, &request.topics))
        .scan(None, |last, metadata: v1::Metadata| {
            // Updates about other topics change nothing but the stamp.
            let same = v1::Metadata {
                stamp: None,
                ..metadata.clone()
            };
            let changed = last.as_ref() != Some(&same);
            *last = Some(same);
            future::ready(Some(changed.then_some(metadata)))
        })
        .filter_map(future::ready)
}

fn describe(view: &ClusterView, names: &[String]) -> v1::Metadata {
    let mut topics: Vec<_> = view
        .topics
        .iter()
        .filter(|(_, t)| names.is_empty() || names.iter().any(|n| **n == *t.name))
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
