//! Records in, batches to the leaders, one result for each record.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_api::{
    WireError,
    stream::Route,
    v1::{
        ProduceAck, ProduceRequest, PublishRecord, PublishRequest, PublishResponse, PublishResult,
    },
};
use taffrail_core::{ErrorCode, TopicPartition, replica::Acks};
use taffrail_record::{
    BatchBuilder, Compression, Header, NewRecord, partitioner::partition_for_key,
};
use tokio::{sync::oneshot, time::timeout_at};

use super::find_topic;
use crate::{
    broker::{Broker, Place},
    cluster::view::topic_id_bytes,
    partition::{
        ack::{Outcome, Responder},
        append::Append,
    },
    rpc::produce::{check, not_internal},
};

const TIMEOUT_DEFAULT_MS: u32 = 30_000;

/// A batch of some of the request's records.
struct Batch {
    partition: TopicPartition,
    /// Positions in the request.
    records: Vec<usize>,
    bytes: bytes::Bytes,
}

/// Answers when every record was acknowledged or failed.
pub(super) async fn publish(
    broker: &Arc<Broker>,
    request: PublishRequest,
) -> Result<PublishResponse, WireError> {
    let limits = &broker.config.limits;
    let (_, topic, partitions) = find_topic(broker, &request.topic)?;
    not_internal(&topic.name)?;
    if partitions.is_empty() {
        return Err(WireError::new(
            ErrorCode::NotYetKnown,
            format!("topic {} has no partitions yet; retry", request.topic),
        ));
    }
    let timeout_ms = match request.timeout_ms {
        0 => TIMEOUT_DEFAULT_MS,
        ms => ms.min(limits.request_timeout_ms_max),
    };
    let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    let mut results = vec![PublishResult::default(); request.records.len()];
    let by_partition = assign(broker, &request.records, &partitions, &mut results);
    let now_ms = (broker.environment.clock)();
    let mut sent = Vec::new();
    for (partition, records) in by_partition {
        let max_bytes = topic.config.max_batch_bytes as usize;
        for batch in batches(
            partition,
            &records,
            &request.records,
            now_ms,
            max_bytes,
            &mut results,
        ) {
            let produce = ProduceRequest {
                topic_id: topic_id_bytes(partition.topic),
                partition: partition.partition.0,
                leader_epoch: -1,
                timeout_ms,
                batches: batch.bytes.clone(),
                ..ProduceRequest::default()
            };
            let outcome = send(broker, partition, produce, deadline).await;
            sent.push((batch, outcome));
        }
    }
    for (batch, outcome) in sent {
        let outcome = match outcome {
            Ok(receiver) => timeout_at(deadline.into(), receiver).await.map_or_else(
                |_| Err(out_of_time()),
                |sent| sent.unwrap_or_else(|_| Err(out_of_time())),
            ),
            Err(error) => Err(error),
        };
        record_results(&batch, &outcome, &mut results);
    }
    Ok(PublishResponse { results })
}

/// Which record goes where: as its producer says, by its key, or all keyless ones of a request to one partition.
fn assign(
    broker: &Broker,
    records: &[PublishRecord],
    partitions: &[TopicPartition],
    results: &mut [PublishResult],
) -> BTreeMap<TopicPartition, Vec<usize>> {
    let sticky = (broker.environment.random)() % partitions.len() as u64;
    let mut assigned = BTreeMap::<_, Vec<usize>>::new();
    for (i, record) in records.iter().enumerate() {
        let number = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, partitions.len() as u32).0,
            (None, None) => sticky as u32,
        };
        results[i] = PublishResult {
            partition: number,
            offset: -1,
            error: None,
        };
        if let Some(partition) = partitions.iter().find(|p| p.partition.0 == number) {
            assigned.entry(*partition).or_default().push(i);
        } else {
            let error = WireError::new(
                ErrorCode::UnknownPartition,
                format!(
                    "there is no partition {number}, the topic has {}",
                    partitions.len()
                ),
            );
            results[i].error = Some(error.into());
        }
    }
    assigned
}

fn batches(
    partition: TopicPartition,
    records: &[usize],
    all: &[PublishRecord],
    now_ms: i64,
    max_bytes: usize,
    results: &mut [PublishResult],
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    let mut members = Vec::new();
    for &i in records {
        let record = &all[i];
        let headers: Vec<Header> = record
            .headers
            .iter()
            .map(|h| Header {
                key: h.key.clone(),
                value: h.value.clone(),
            })
            .collect();
        let new = NewRecord {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp_ms: record.timestamp_ms.unwrap_or(now_ms),
        };
        if !builder.push_within(&new, max_bytes) {
            batches.extend(finish(partition, &mut builder, &mut members));
            if !builder.push_within(&new, max_bytes) {
                let error = WireError::new(
                    ErrorCode::RecordTooLarge,
                    format!(
                        "the record is larger than the topic's limits.maxBatchBytes of {max_bytes}; raise it or send the record in parts"
                    ),
                );
                results[i].error = Some(error.into());
                continue;
            }
        }
        members.push(i);
    }
    batches.extend(finish(partition, &mut builder, &mut members));
    batches
}

fn finish(
    partition: TopicPartition,
    builder: &mut BatchBuilder,
    members: &mut Vec<usize>,
) -> Option<Batch> {
    Some(Batch {
        partition,
        bytes: builder.build()?,
        records: std::mem::take(members),
    })
}

/// Queues a batch here or at its leader; the receiver resolves when it is stored.
async fn send(
    broker: &Arc<Broker>,
    partition: TopicPartition,
    request: ProduceRequest,
    deadline: Instant,
) -> Result<oneshot::Receiver<Outcome>, WireError> {
    let bytes = request
        .batches
        .len()
        .min(broker.config.limits.queue_bytes_max) as u32;
    let queue = Arc::clone(&broker.queue).acquire_many_owned(bytes);
    let of_broker = timeout_at(deadline.into(), queue)
        .await
        .map_err(|_| out_of_time())?
        .ok();
    let (responder, outcome) = Responder::once([None, of_broker]);
    match broker.place(partition, Route::Through)? {
        Place::There(leader) => broker.peers.produce(leader, request, responder).await,
        Place::Here(partition) => {
            let content = check(broker, &partition, &request);
            broker.disk.append(Append {
                partition,
                content,
                acks: Acks::All,
                responder,
            });
        }
    }
    Ok(outcome)
}

fn record_results(
    batch: &Batch,
    outcome: &Result<ProduceAck, WireError>,
    results: &mut [PublishResult],
) {
    for (delta, &i) in batch.records.iter().enumerate() {
        results[i] = PublishResult {
            partition: batch.partition.partition.0,
            offset: outcome
                .as_ref()
                .map_or(-1, |ack| ack.base_offset + delta as i64),
            error: outcome.as_ref().err().map(|e| e.clone().into()),
        };
    }
}

fn out_of_time() -> WireError {
    WireError::new(
        ErrorCode::TimedOut,
        "the record was not stored in time; whether it will be is not known",
    )
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};
    use taffrail_record::verify;

    use super::*;

    const PARTITION: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(0),
    };

    fn record(value_bytes: usize) -> PublishRecord {
        PublishRecord {
            value: Some(vec![1; value_bytes].into()),
            ..PublishRecord::default()
        }
    }

    #[test]
    fn records_are_cut_into_batches_within_the_limit_and_one_that_is_too_large_fails_alone() {
        let all = [record(400), record(400), record(5_000), record(400)];
        let mut results = vec![PublishResult::default(); all.len()];
        let batches = batches(PARTITION, &[0, 1, 2, 3], &all, 7, 1_000, &mut results);
        let members: Vec<_> = batches.iter().map(|b| b.records.clone()).collect();
        assert_eq!(members, [vec![0, 1], vec![3]]);
        for batch in &batches {
            assert!(batch.bytes.len() <= 1_000);
            verify(&batch.bytes).expect("valid");
        }
        let error = results[2].error.clone().expect("too large");
        assert_eq!(WireError::from(error).code, ErrorCode::RecordTooLarge);
    }

    #[test]
    fn each_record_gets_its_own_offset() {
        let batch = Batch {
            partition: PARTITION,
            records: vec![0, 2],
            bytes: bytes::Bytes::new(),
        };
        let mut results = vec![PublishResult::default(); 3];
        let ack = ProduceAck {
            base_offset: 10,
            ..ProduceAck::default()
        };
        record_results(&batch, &Ok(ack), &mut results);
        assert_eq!((results[0].offset, results[2].offset), (10, 11));
    }
}
