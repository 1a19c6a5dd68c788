//! How far partitions go, by whoever leads them: offsets that come from outside are compared with that before a coordinator hears of them. Of what a member says on
//! its stream that is asked only which this broker's own replicas do not show to be there.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use futures::future::join;
use taffrail_api::{
    WireError, convert,
    stream::Route,
    v1::{self, offset_query},
};
use taffrail_core::{ErrorCode, Offset};

use crate::{
    broker::Broker,
    cluster::view::topic_id_bytes,
    group::event::Position,
    rpc::offsets::{REMOTE_TIMEOUT, answers},
};

/// What a member's commit waits for a leader, and its heartbeats behind it.
const MEMBER_PATIENCE: Duration = Duration::from_millis(500);

/// Commits up to the end of their partitions, and those that are refused.
pub(super) async fn within_ends(
    broker: &Arc<Broker>,
    positions: Vec<Position>,
) -> (Vec<Position>, Vec<v1::RefusedCommit>) {
    let latest = offset_query::Position::Latest(true);
    let ends = ask(broker, &positions, latest, REMOTE_TIMEOUT).await;
    let (mut within, mut refused) = (Vec::new(), Vec::new());
    for (position, end) in positions.into_iter().zip(ends) {
        let range = end.map(|end| end.map(|end| Offset(0)..=end));
        match range.and_then(|range| check(broker, &position, range)) {
            Ok(()) => within.push(position),
            Err(error) => refused.push(refusal(&position, error)),
        }
    }
    (within, refused)
}

/// The same of a member, which commits what it has read: of a partition whose leader does not say in time how far it goes it is taken at its word. True: nobody
/// was waited for in vain.
pub(super) async fn within_ends_of_member(
    broker: &Arc<Broker>,
    positions: Vec<Position>,
) -> (Vec<Position>, Vec<v1::RefusedCommit>, bool) {
    let is_unseen = |position: &&Position| {
        let replica = broker.partitions.get(position.partition);
        replica.is_none_or(|replica| position.offset > replica.progress.log_end())
    };
    let unseen: Vec<Position> = positions.iter().filter(is_unseen).cloned().collect();
    if unseen.is_empty() {
        return (positions, Vec::new(), true);
    }
    let latest = offset_query::Position::Latest(true);
    let ends = ask(broker, &unseen, latest, MEMBER_PATIENCE).await;
    let all_answered = ends.iter().all(Result::is_ok);
    let ends = ends.into_iter().map(|end| end.ok().flatten());
    let refused: Vec<_> = unseen
        .iter()
        .zip(ends)
        .filter_map(|(position, end)| {
            let range = end.map(|end| Offset(0)..=end);
            let error = check(broker, position, range).err()?;
            Some((position, error))
        })
        .collect();
    let is_refused = |position: &Position| refused.iter().any(|(refused, _)| *refused == position);
    let within = positions
        .iter()
        .filter(|p| !is_refused(p))
        .cloned()
        .collect();
    let refused = refused.into_iter().map(|(p, error)| refusal(p, error));
    (within, refused.collect(), all_answered)
}

fn refusal(position: &Position, error: WireError) -> v1::RefusedCommit {
    v1::RefusedCommit {
        topic_id: topic_id_bytes(position.partition.topic),
        partition: position.partition.partition.0,
        error: Some(error.into()),
    }
}

/// Are these offsets of records that are there, or of the next one?
///
/// # Errors
/// One of them is not, or whoever could say so does not answer.
pub(super) async fn check_all(
    broker: &Arc<Broker>,
    positions: &[Position],
) -> Result<(), WireError> {
    let of = |what| ask(broker, positions, what, REMOTE_TIMEOUT);
    let firsts = of(offset_query::Position::Earliest(true));
    let ends = of(offset_query::Position::Latest(true));
    let (firsts, ends) = join(firsts, ends).await;
    for (position, bounds) in positions.iter().zip(firsts.into_iter().zip(ends)) {
        let (first, end) = (bounds.0?, bounds.1?);
        let range = first.zip(end).map(|(first, end)| first..=end);
        check(broker, position, range)?;
    }
    Ok(())
}

/// One answer for each position. `None`: there is no such partition, which is the coordinator's to say.
async fn ask(
    broker: &Arc<Broker>,
    positions: &[Position],
    what: offset_query::Position,
    patience: Duration,
) -> Vec<Result<Option<Offset>, WireError>> {
    let query = |position: &Position| v1::OffsetQuery {
        topic_id: topic_id_bytes(position.partition.topic),
        partition: position.partition.partition.0,
        leader_epoch: -1,
        position: Some(what),
    };
    let queries: Vec<_> = positions.iter().map(query).collect();
    let answered = answers(broker, &queries, Route::Through, patience).await;
    answered.into_iter().map(offset).collect()
}

fn offset(answer: v1::OffsetAnswer) -> Result<Option<Offset>, WireError> {
    let Some(error) = answer.error else {
        return convert::offset_from_wire(answer.offset).map(Some);
    };
    let error = WireError::from(error);
    match error.code {
        ErrorCode::UnknownTopic | ErrorCode::UnknownPartition => Ok(None),
        _ => Err(error),
    }
}

fn check(
    broker: &Broker,
    position: &Position,
    range: Option<RangeInclusive<Offset>>,
) -> Result<(), WireError> {
    let (id, offset) = (position.partition, position.offset);
    let Some(range) = range.filter(|range| !range.contains(&offset)) else {
        return Ok(());
    };
    let known = broker.known.borrow();
    let topic = known.view.topics.get(&id.topic);
    let topic = topic.map_or_else(|| id.topic.to_string(), |topic| topic.name.to_string());
    Err(WireError::new(
        ErrorCode::OffsetOutOfRange,
        format!(
            "offset {offset} of {topic}/{} is out of range: {} to {} can be set there; nothing was stored for it",
            id.partition,
            range.start(),
            range.end()
        ),
    ))
}
