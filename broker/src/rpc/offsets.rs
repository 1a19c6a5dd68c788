//! `ListOffsets`: earliest, latest, by record time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use taffrail_api::{
    WireError, convert,
    stream::Route,
    v1::{self, OffsetAnswer, OffsetQuery, offset_query::Position},
};
use taffrail_core::{BrokerNumber, ErrorCode, Offset};
use tokio::time::timeout;
use tonic::Status;

use crate::{
    broker::{Broker, Place},
    partition::Partition,
};

/// Another broker that leads has so long; whoever asks waits longer and asks again.
pub(super) const REMOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// One answer for each query, in order.
pub(super) async fn list(
    broker: &Arc<Broker>,
    request: v1::ListOffsetsRequest,
    route: Route,
) -> Result<v1::ListOffsetsResponse, Status> {
    broker.metrics.requests("list_offsets").inc();
    let max = broker.config.limits.partitions_per_request_max;
    if request.queries.len() > max {
        return Err(WireError::invalid(format!(
            "more than {max} queries in one request; send several"
        ))
        .into());
    }
    let answers = answers(broker, &request.queries, route, REMOTE_TIMEOUT).await;
    Ok(v1::ListOffsetsResponse { answers })
}

/// The same, of the broker itself. What another one that leads has not said in time is an error of those partitions alone.
pub(super) async fn answers(
    broker: &Arc<Broker>,
    queries: &[OffsetQuery],
    route: Route,
    patience: Duration,
) -> Vec<OffsetAnswer> {
    let mut answers = vec![OffsetAnswer::default(); queries.len()];
    let mut elsewhere: BTreeMap<BrokerNumber, Vec<usize>> = BTreeMap::new();
    for (i, query) in queries.iter().enumerate() {
        match answer(broker, query, route).await {
            Ok(Answered::Here(answer)) => answers[i] = answer,
            Ok(Answered::By(leader)) => elsewhere.entry(leader).or_default().push(i),
            Err(error) => {
                broker.metrics.error("list_offsets", error.code);
                answers[i] = failure(query, error);
            }
        }
    }
    let asked = elsewhere.into_iter().map(|(leader, indexes)| {
        let queries: Vec<_> = indexes.iter().map(|i| queries[*i].clone()).collect();
        async move { (indexes, remote(broker, leader, queries, patience).await) }
    });
    for (indexes, answered) in join_all(asked).await {
        for (i, answer) in indexes.into_iter().zip(answered) {
            answers[i] = answer;
        }
    }
    answers
}

enum Answered {
    Here(OffsetAnswer),
    /// That one has to be asked.
    By(BrokerNumber),
}

async fn answer(
    broker: &Arc<Broker>,
    query: &OffsetQuery,
    route: Route,
) -> Result<Answered, WireError> {
    let id = convert::topic_partition(&query.topic_id, query.partition)?;
    match broker.place(id, route)? {
        Place::There(leader) => Ok(Answered::By(leader)),
        Place::Here(partition) => {
            let standing = partition.check_leads(convert::known_epoch(query.leader_epoch)?)?;
            let (offset, timestamp_ms) = local(broker, &partition, query.position).await?;
            Ok(Answered::Here(OffsetAnswer {
                topic_id: query.topic_id.clone(),
                partition: query.partition,
                offset: convert::offset_to_wire(offset),
                timestamp_ms,
                leader_epoch: convert::epoch_to_wire(standing.leader_epoch),
                error: None,
            }))
        }
    }
}

async fn local(
    broker: &Broker,
    partition: &Arc<Partition>,
    position: Option<Position>,
) -> Result<(Offset, i64), WireError> {
    match position {
        Some(Position::Earliest(true)) => Ok((partition.progress.log_start(), -1)),
        Some(Position::Latest(true)) => Ok((latest(partition)?, -1)),
        Some(Position::TimestampMs(timestamp_ms)) => {
            // Taken before the lookup: what comes in between is found by the fetch from here.
            let latest = latest(partition)?;
            let partition = Arc::clone(partition);
            // A lookup may decompress a batch.
            let _permit = broker.decompressions.acquire().await;
            let found = tokio::task::spawn_blocking(move || partition.offset_at(timestamp_ms))
                .await
                .unwrap_or_else(|e| {
                    Err(WireError::new(
                        ErrorCode::Internal,
                        format!("looking up: {e}"),
                    ))
                })?;
            Ok(found.unwrap_or((latest, -1)))
        }
        _ => Err(WireError::invalid(
            "position is missing; set earliest or latest to true, or timestamp_ms",
        )),
    }
}

/// A leader that was just elected does not know yet what its predecessor has shown to consumers.
fn latest(partition: &Partition) -> Result<Offset, WireError> {
    partition.progress.latest().ok_or_else(|| {
        WireError::new(
            ErrorCode::NotYetKnown,
            format!(
                "{}: its new leader waits for the other in-sync replicas to say what they have; retry",
                partition.label()
            ),
        )
    })
}

/// One call for all that one broker leads. An answer for each query.
async fn remote(
    broker: &Broker,
    leader: BrokerNumber,
    queries: Vec<OffsetQuery>,
    patience: Duration,
) -> Vec<OffsetAnswer> {
    let request = v1::ListOffsetsRequest {
        queries: queries.clone(),
    };
    let answered = timeout(patience, broker.peers.list_offsets(leader, request)).await;
    let refused = match answered {
        Ok(Ok(response)) if response.answers.len() == queries.len() => return response.answers,
        Ok(Ok(_)) => no_answer(leader, "answers something else"),
        Ok(Err(error)) => error,
        Err(_elapsed) => no_answer(leader, "does not answer"),
    };
    broker.metrics.error("list_offsets", refused.code);
    let failures = queries.iter().map(|query| failure(query, refused.clone()));
    failures.collect()
}

fn no_answer(leader: BrokerNumber, what: &str) -> WireError {
    WireError::new(
        ErrorCode::LeaderUnreachable,
        format!("broker {leader} leads it and {what}; retry"),
    )
}

fn failure(query: &OffsetQuery, error: WireError) -> OffsetAnswer {
    OffsetAnswer {
        topic_id: query.topic_id.clone(),
        partition: query.partition,
        offset: -1,
        timestamp_ms: -1,
        leader_epoch: -1,
        error: Some(error.into()),
    }
}
