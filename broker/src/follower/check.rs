//! What a leader sent, checked before the owner of the log sees it: structure, checksums, and that it follows on what was asked for.

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_core::{
    ErrorCode, LeaderEpoch, TopicPartition,
    producers::{ProducerLimits, ProducerTable},
    replica::{FetchAnswer, FetchOutcome},
};
use taffrail_record::{BatchHeader, split, verify};

/// An answer that may be obeyed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub(crate) id: TopicPartition,
    pub(crate) answer: FetchAnswer,
    pub(crate) batches: Vec<Bytes>,
    pub(crate) headers: Vec<BatchHeader>,
    pub(crate) append_time_ms: i64,
    /// With [`FetchOutcome::OutOfRange`].
    pub(crate) producers: ProducerTable,
    /// Of all batches.
    pub(crate) bytes: usize,
}

/// Checks every batch of an answer.
///
/// # Errors
/// The first thing that is wrong. No leader sends this: end the session.
pub(crate) fn check(
    id: TopicPartition,
    answer: FetchAnswer,
    bytes: &Bytes,
    append_time_ms: i64,
) -> Result<Checked, WireError> {
    let garbage = |what: String| {
        WireError::new(
            ErrorCode::CorruptBatch,
            format!(
                "the leader's answer for {id} at offset {}: {what}",
                answer.tail.end
            ),
        )
    };
    let mut checked = Checked {
        id,
        answer,
        batches: Vec::new(),
        headers: Vec::new(),
        append_time_ms,
        producers: ProducerTable::default(),
        bytes: bytes.len(),
    };
    if !bytes.is_empty() && answer.outcome != FetchOutcome::Matches {
        return Err(garbage("batches that follow on another log".to_owned()));
    }
    let (mut end, mut epoch) = (answer.tail.end, answer.tail.last_epoch);
    for batch in split(bytes) {
        let (header, batch) = batch.map_err(|e| garbage(e.to_string()))?;
        verify(&batch).map_err(|e| garbage(e.to_string()))?;
        if header.base_offset != end {
            let found = header.base_offset;
            return Err(garbage(format!("a batch at {found} where {end} was due")));
        }
        let of = u32::try_from(header.leader_epoch).map(LeaderEpoch).ok();
        if of.is_none() || of < epoch || of > Some(answer.leader_epoch) {
            return Err(garbage(format!(
                "a batch of epoch {} after {epoch:?}, from the leader of epoch {}",
                header.leader_epoch, answer.leader_epoch
            )));
        }
        (end, epoch) = (header.next_offset(), of);
        checked.headers.push(header);
        checked.batches.push(batch);
    }
    Ok(checked)
}

impl Checked {
    /// Takes the producers that an answer came with.
    ///
    /// # Errors
    /// They are no table, are of records that the leader's log has, or come with an answer that keeps the log. No leader sends this: end the session.
    pub(super) fn with_producers(mut self, encoded: &[u8]) -> Result<Self, WireError> {
        if encoded.is_empty() {
            return Ok(self);
        }
        let table = ProducerTable::decode(encoded, ProducerLimits::default());
        let start = self.answer.log_start;
        let is_due = matches!(self.answer.outcome, FetchOutcome::OutOfRange { .. });
        let Some(table) = table.filter(|table| is_due && table.before(start) == *table) else {
            return Err(WireError::new(
                ErrorCode::CorruptBatch,
                format!(
                    "the leader's answer for {}: producers that cannot be of the batches before {start}",
                    self.id
                ),
            ));
        };
        self.producers = table;
        Ok(self)
    }

    /// Does the follower's log end somewhere else, once this is obeyed?
    pub(super) fn moves_the_log(&self) -> bool {
        !self.batches.is_empty() || self.answer.outcome != FetchOutcome::Matches
    }
}

#[cfg(test)]
pub(super) mod tests {
    use taffrail_core::{
        Offset, PartitionIndex, TopicId, producers::SequencedBatch, replica::LogTail,
    };
    use taffrail_record::{BatchBuilder, Compression, NewRecord, stamp};

    use super::*;

    pub(crate) const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex(0),
    };

    /// A batch of two records as a leader has it.
    pub(crate) fn batch(base: u64, epoch: u32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for value in [b"one", b"two"] {
            builder.push(&NewRecord {
                value: Some(value),
                ..NewRecord::default()
            });
        }
        let mut batch = builder.build().expect("not empty").to_vec();
        stamp(&mut batch, Offset(base), LeaderEpoch(epoch));
        batch
    }

    fn answer(outcome: FetchOutcome) -> FetchAnswer {
        FetchAnswer {
            leader_epoch: LeaderEpoch(5),
            tail: LogTail {
                last_epoch: Some(LeaderEpoch(3)),
                end: Offset(10),
            },
            log_start: Offset(0),
            high_watermark: Offset(10),
            outcome,
        }
    }

    fn checked(bytes: Vec<u8>) -> Result<Checked, WireError> {
        check(
            ID,
            answer(FetchOutcome::Matches),
            &Bytes::from(bytes),
            1_000,
        )
    }

    #[test]
    fn batches_that_follow_are_taken_apart() {
        let sent = [batch(10, 3), batch(12, 5)].concat();
        let checked = checked(sent.clone()).expect("valid");
        assert_eq!(checked.batches.concat(), sent);
        assert_eq!((checked.headers.len(), checked.bytes), (2, sent.len()));
        assert!(checked.moves_the_log());
    }

    #[test]
    fn nothing_new_is_an_answer_too() {
        assert!(!checked(Vec::new()).expect("valid").moves_the_log());
    }

    #[test]
    fn garbage_is_told_apart_and_refused() {
        let good = batch(10, 3);
        let mut flipped = good.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        let bad = [
            ("a flipped bit", flipped),
            ("cut short", good[..good.len() - 1].to_vec()),
            ("no batch", vec![0xab; 300]),
            ("a gap", [batch(10, 3), batch(13, 3)].concat()),
            ("an overlap", batch(9, 3)),
            ("an epoch above the leader's", batch(10, 6)),
            ("an epoch below the log's", batch(10, 2)),
            ("epochs that fall", [batch(10, 5), batch(12, 4)].concat()),
        ];
        for (what, bytes) in bad {
            let error = checked(bytes).expect_err(what);
            assert_eq!(error.code, ErrorCode::CorruptBatch, "{what}");
        }
        let diverging = check(
            ID,
            answer(FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            }),
            &Bytes::from(good),
            0,
        );
        assert!(diverging.is_err(), "batches beside an order to begin anew");
    }

    #[test]
    fn producers_are_those_of_what_the_leader_has_no_more_or_refused() {
        let mut table = ProducerTable::default();
        let batch = SequencedBatch {
            producer_id: 5,
            epoch: 0,
            base_sequence: 0,
            records: 3,
        };
        table.note(&batch, Offset(4), 1_000);
        let mut encoded = Vec::new();
        table.encode(&mut encoded);
        let taken = |outcome, log_start, encoded: &[u8]| {
            let answer = FetchAnswer {
                log_start: Offset(log_start),
                ..answer(outcome)
            };
            let checked = check(ID, answer, &Bytes::new(), 0).expect("sound");
            checked.with_producers(encoded).map(|c| c.producers)
        };
        let good = taken(
            FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            },
            20,
            &encoded,
        )
        .expect("sound");
        assert_eq!(good, table);
        let none = taken(
            FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            },
            20,
            &[],
        )
        .expect("nobody");
        assert_eq!(none, ProducerTable::default());
        let bad = [
            (
                "with a log that goes on",
                taken(FetchOutcome::Matches, 20, &encoded),
            ),
            (
                "of what comes later",
                taken(
                    FetchOutcome::OutOfRange {
                        delete_horizon: Offset(0),
                    },
                    4,
                    &encoded,
                ),
            ),
            (
                "cut short",
                taken(
                    FetchOutcome::OutOfRange {
                        delete_horizon: Offset(0),
                    },
                    20,
                    &encoded[1..],
                ),
            ),
        ];
        for (what, taken) in bad {
            let error = taken.expect_err(what);
            assert_eq!(error.code, ErrorCode::CorruptBatch, "{what}");
        }
    }
}
