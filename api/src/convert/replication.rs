//! What followers ask and leaders answer.

use bytes::Bytes;
use taffrail_core::{
    BrokerNumber, Incarnation, LeaderEpoch, TopicPartition,
    replica::{EpochEnd, FetchAnswer, FetchOutcome, FetchRequest, LogTail},
};

use super::{epoch_to_wire, known_epoch, offset_from_wire, offset_to_wire, topic_partition};
use crate::{
    WireError,
    v1::{self, answer::Outcome},
};

/// Where a follower stands, for its leader.
pub fn position(id: TopicPartition, request: &FetchRequest, asks: bool) -> v1::Position {
    v1::Position {
        topic_id: Bytes::copy_from_slice(id.topic.as_bytes()),
        partition: id.partition.0,
        leader_epoch: epoch_to_wire(request.leader_epoch),
        last_epoch: last_epoch_to_wire(request.tail),
        fetch_offset: offset_to_wire(request.tail.end),
        durable_end_offset: offset_to_wire(request.durable_end),
        delete_horizon: offset_to_wire(request.delete_horizon),
        asks,
    }
}

/// The same for the leader, of a session with `from`.
///
/// # Errors
/// A field has a value that none can have.
pub fn fetch_request(
    position: &v1::Position,
    from: BrokerNumber,
    incarnation: Incarnation,
) -> Result<(TopicPartition, FetchRequest), WireError> {
    let id = topic_partition(&position.topic_id, position.partition)?;
    let request = FetchRequest {
        broker: from,
        incarnation,
        leader_epoch: epoch(position.leader_epoch)?,
        tail: tail(position.last_epoch, position.fetch_offset)?,
        durable_end: offset_from_wire(position.durable_end_offset)?,
        delete_horizon: offset_from_wire(position.delete_horizon)?,
    };
    Ok((id, request))
}

/// What came from a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of which partition.
    pub partition: TopicPartition,
    /// In which epoch it was asked.
    pub leader_epoch: LeaderEpoch,
    /// With which tail.
    pub tail: LogTail,
    /// What to do, or why there is no answer.
    pub answer: Result<FetchAnswer, WireError>,
    /// What follows on the tail, if the logs match.
    pub batches: Bytes,
    /// Of the first of them.
    pub append_time_ms: i64,
    /// Of whom the leader knows what the follower will never have: with [`FetchOutcome::OutOfRange`].
    pub producers: Bytes,
}

impl TryFrom<v1::Answer> for Answered {
    type Error = WireError;

    fn try_from(answer: v1::Answer) -> Result<Self, WireError> {
        let leader_epoch = epoch(answer.leader_epoch)?;
        let mut answered = Self {
            partition: topic_partition(&answer.topic_id, answer.partition)?,
            leader_epoch,
            tail: tail(answer.asked_last_epoch, answer.asked_offset)?,
            answer: Err(WireError::invalid("an answer says nothing")),
            batches: Bytes::new(),
            append_time_ms: 0,
            producers: Bytes::new(),
        };
        let outcome = match answer.outcome {
            Some(Outcome::Batches(found)) => {
                answered.append_time_ms = found.append_time_ms;
                answered.batches = found.batches;
                FetchOutcome::Matches
            }
            Some(Outcome::Diverging(parted)) => FetchOutcome::Diverging(EpochEnd {
                epoch: epoch(parted.epoch)?,
                end: offset_from_wire(parted.end_offset)?,
            }),
            Some(Outcome::OutOfRange(begins)) => {
                answered.producers = begins.producers;
                FetchOutcome::OutOfRange {
                    delete_horizon: offset_from_wire(begins.delete_horizon)?,
                }
            }
            Some(Outcome::Error(error)) => {
                answered.answer = Err(error.into());
                return Ok(answered);
            }
            None => return Err(WireError::invalid("an answer says nothing")),
        };
        answered.answer = Ok(FetchAnswer {
            leader_epoch,
            tail: answered.tail,
            log_start: offset_from_wire(answer.log_start_offset)?,
            high_watermark: offset_from_wire(answer.high_watermark)?,
            outcome,
        });
        Ok(answered)
    }
}

/// A leader's answer to `request`; batches, or producers, are added by whoever sends it.
pub fn fetch_answer(
    id: TopicPartition,
    request: &FetchRequest,
    answer: Result<FetchAnswer, WireError>,
) -> v1::Answer {
    let head = v1::Answer {
        topic_id: Bytes::copy_from_slice(id.topic.as_bytes()),
        partition: id.partition.0,
        leader_epoch: epoch_to_wire(request.leader_epoch),
        asked_last_epoch: last_epoch_to_wire(request.tail),
        asked_offset: offset_to_wire(request.tail.end),
        ..v1::Answer::default()
    };
    match answer {
        Ok(answer) => v1::Answer {
            log_start_offset: offset_to_wire(answer.log_start),
            high_watermark: offset_to_wire(answer.high_watermark),
            outcome: Some(match answer.outcome {
                FetchOutcome::Matches => Outcome::Batches(v1::ReplicatedBatches::default()),
                FetchOutcome::Diverging(parted) => Outcome::Diverging(v1::EpochEnd {
                    epoch: epoch_to_wire(parted.epoch),
                    end_offset: offset_to_wire(parted.end),
                }),
                FetchOutcome::OutOfRange { delete_horizon } => {
                    Outcome::OutOfRange(v1::OutOfRange {
                        delete_horizon: offset_to_wire(delete_horizon),
                        ..v1::OutOfRange::default()
                    })
                }
            }),
            ..head
        },
        Err(error) => v1::Answer {
            outcome: Some(Outcome::Error(error.into())),
            ..head
        },
    }
}

fn epoch(epoch: i32) -> Result<LeaderEpoch, WireError> {
    known_epoch(epoch)?.ok_or_else(|| WireError::invalid("leader_epoch is missing"))
}

fn tail(last_epoch: i32, end: i64) -> Result<LogTail, WireError> {
    Ok(LogTail {
        last_epoch: known_epoch(last_epoch)?,
        end: offset_from_wire(end)?,
    })
}

fn last_epoch_to_wire(tail: LogTail) -> i32 {
    tail.last_epoch.map_or(-1, epoch_to_wire)
}

#[cfg(test)]
mod tests {
    use taffrail_core::{ErrorCode, Offset, PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(3),
    };

    fn request(last_epoch: Option<u32>) -> FetchRequest {
        FetchRequest {
            broker: BrokerNumber(2),
            incarnation: Incarnation {
                generation: 4,
                random: 5,
            },
            leader_epoch: LeaderEpoch(6),
            tail: LogTail {
                last_epoch: last_epoch.map(LeaderEpoch),
                end: Offset(70),
            },
            durable_end: Offset(60),
            delete_horizon: Offset(20),
        }
    }

    #[test]
    fn a_position_says_all_of_a_request_but_who_asks() {
        for asked in [request(None), request(Some(5))] {
            let sent = position(ID, &asked, true);
            let read = fetch_request(&sent, asked.broker, asked.incarnation);
            assert_eq!(read, Ok((ID, asked)));
        }
    }

    #[test]
    fn every_answer_survives_the_wire() {
        let outcomes = [
            FetchOutcome::Matches,
            FetchOutcome::OutOfRange {
                delete_horizon: Offset(30),
            },
            FetchOutcome::Diverging(EpochEnd {
                epoch: LeaderEpoch(5),
                end: Offset(50),
            }),
        ];
        for outcome in outcomes {
            let answer = FetchAnswer {
                leader_epoch: LeaderEpoch(6),
                tail: request(Some(5)).tail,
                log_start: Offset(10),
                high_watermark: Offset(40),
                outcome,
            };
            let sent = fetch_answer(ID, &request(Some(5)), Ok(answer));
            let read = Answered::try_from(sent).expect("valid");
            assert_eq!((read.partition, read.answer), (ID, Ok(answer)));
        }
        let error = WireError::new(ErrorCode::NotYetKnown, "later");
        let sent = fetch_answer(ID, &request(None), Err(error.clone()));
        let read = Answered::try_from(sent).expect("valid");
        assert_eq!(read.answer, Err(error));
        assert_eq!(
            (read.leader_epoch, read.tail),
            (LeaderEpoch(6), request(None).tail)
        );
    }

    #[test]
    fn what_none_can_say_is_invalid() {
        let good = position(ID, &request(None), true);
        let nonsense: [fn(&mut v1::Position); 5] = [
            |p| p.topic_id = Bytes::new(),
            |p| p.leader_epoch = -1,
            |p| p.fetch_offset = -1,
            |p| p.durable_end_offset = -1,
            |p| p.delete_horizon = -1,
        ];
        for change in nonsense {
            let mut bad = good.clone();
            change(&mut bad);
            let asked = request(None);
            let error = fetch_request(&bad, asked.broker, asked.incarnation);
            assert_eq!(error.expect_err("refused").code, ErrorCode::InvalidRequest);
        }
        let nothing = v1::Answer {
            outcome: None,
            ..fetch_answer(ID, &request(None), Err(WireError::invalid("")))
        };
        assert!(Answered::try_from(nothing).is_err());
    }
}
