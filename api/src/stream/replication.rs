//! A leader's messages to its followers, batches left where they are.

use bytes::Bytes;
use prost::{
    Message as _,
    encoding::{encoded_len_varint, key_len},
};

use super::gather::{Gather, Gathered, field_head, field_len, prefix};
use crate::v1;

/// Field number of `answers` in `LeaderMessage`.
const MESSAGE_ANSWERS_FIELD: u32 = 2;
/// Field number of `answers` in `Answers`.
const ANSWERS_FIELD: u32 = 1;
/// Field number of `batches` in `Answer`, and in `ReplicatedBatches`.
const OUTCOME_FIELD: u32 = 8;
const BATCHES_FIELD: u32 = 1;

/// A `LeaderMessage` whose batches are slices of the log.
#[derive(Debug)]
pub enum LeaderFrame {
    /// The first one.
    Hello(v1::LeaderHello),
    /// None of them: the leader is there, and has nothing to say.
    Answers {
        /// Some of its partitions.
        answers: Vec<AnswerChunks>,
        /// The leader's clock, for the follower to repeat.
        clock_ms: u64,
    },
}

/// One partition's answer.
#[derive(Debug)]
pub struct AnswerChunks {
    /// All of it if there are no batches. With batches `head.outcome` is ignored.
    pub head: v1::Answer,
    /// Of the batches.
    pub append_time_ms: i64,
    /// The batches, back to back.
    pub chunks: Vec<Bytes>,
}

impl AnswerChunks {
    /// An answer without batches.
    pub const fn of(head: v1::Answer) -> Self {
        Self {
            head,
            append_time_ms: 0,
            chunks: Vec::new(),
        }
    }

    /// Bytes of batches.
    pub fn batch_bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Bytes of whatever may be large.
    pub fn bytes(&self) -> usize {
        let producers = match &self.head.outcome {
            Some(v1::answer::Outcome::OutOfRange(begins)) => begins.producers.len(),
            _ => 0,
        };
        self.batch_bytes() + producers
    }

    /// The outcome but for the batches.
    fn rest(&self) -> v1::ReplicatedBatches {
        v1::ReplicatedBatches {
            batches: Bytes::new(),
            append_time_ms: self.append_time_ms,
        }
    }

    fn outcome_len(&self) -> usize {
        field_len(BATCHES_FIELD, self.batch_bytes()) + self.rest().encoded_len()
    }

    fn body_len(&self) -> usize {
        let outcome = match self.batch_bytes() {
            0 => 0,
            _ => field_len(OUTCOME_FIELD, self.outcome_len()),
        };
        self.head.encoded_len() + outcome
    }

    fn gather(self, out: &mut Gathered) {
        let (body, outcome, batches) = (self.body_len(), self.outcome_len(), self.batch_bytes());
        let head = nested_len(ANSWERS_FIELD, body) - batches;
        out.put(head, |small| {
            field_head(small, ANSWERS_FIELD, body);
            self.head.encode_raw(small);
            if batches > 0 {
                field_head(small, OUTCOME_FIELD, outcome);
                self.rest().encode_raw(small);
                field_head(small, BATCHES_FIELD, batches);
            }
        });
        for chunk in self.chunks {
            out.chunk(chunk);
        }
    }
}

/// Length of a nested message, which is written also if it is empty.
fn nested_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

impl Gather for LeaderFrame {
    fn gather(self, out: &mut Gathered) {
        let (mut answers, clock_ms) = match self {
            Self::Hello(hello) => {
                let message = v1::LeaderMessage {
                    message: Some(v1::leader_message::Message::Hello(hello)),
                };
                let len = message.encoded_len();
                out.put(5 + len, |small| {
                    prefix(small, len);
                    message.encode_raw(small);
                });
                return;
            }
            Self::Answers { answers, clock_ms } => (answers, clock_ms),
        };
        let envelope = v1::Answers {
            answers: Vec::new(),
            clock_ms,
        };
        for answer in answers.iter_mut().filter(|a| !a.chunks.is_empty()) {
            answer.head.outcome = None;
        }
        let answers_len: usize = answers
            .iter()
            .map(|a| nested_len(ANSWERS_FIELD, a.body_len()))
            .sum();
        let body_len = envelope.encoded_len() + answers_len;
        let message_len = nested_len(MESSAGE_ANSWERS_FIELD, body_len);
        out.put(5 + message_len - answers_len, |small| {
            prefix(small, message_len);
            field_head(small, MESSAGE_ANSWERS_FIELD, body_len);
            envelope.encode_raw(small);
        });
        for answer in answers {
            answer.gather(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frame: LeaderFrame) -> Vec<Bytes> {
        let mut out = Gathered::default();
        frame.gather(&mut out);
        std::iter::from_fn(|| out.pop()).collect()
    }

    fn head(partition: u32) -> v1::Answer {
        v1::Answer {
            topic_id: Bytes::from_static(&[1; 16]),
            partition,
            leader_epoch: 3,
            asked_last_epoch: -1,
            asked_offset: 300,
            high_watermark: 200,
            ..v1::Answer::default()
        }
    }

    fn batches(bytes: &[u8], append_time_ms: i64) -> v1::answer::Outcome {
        v1::answer::Outcome::Batches(v1::ReplicatedBatches {
            batches: Bytes::copy_from_slice(bytes),
            append_time_ms,
        })
    }

    fn assert_is_what_prost_would_have_written(slices: &[Bytes], expected: &v1::LeaderMessage) {
        let bytes = slices.concat();
        let len = (bytes.len() as u32 - 5).to_be_bytes();
        assert_eq!(bytes[..5], [&[0][..], &len].concat());
        let read = v1::LeaderMessage::decode(&bytes[5..]).expect("valid");
        assert_eq!(&read, expected);
        assert_eq!(bytes.len() - 5, expected.encoded_len());
    }

    #[test]
    fn answers_are_the_message_that_prost_would_have_written_and_large_batches_are_not_copied() {
        let (large, small) = (Bytes::from(vec![7; 100_000]), Bytes::from(vec![8; 100]));
        let diverging = v1::Answer {
            outcome: Some(v1::answer::Outcome::Diverging(v1::EpochEnd {
                epoch: 2,
                end_offset: 9,
            })),
            ..head(1)
        };
        let answers = vec![
            AnswerChunks {
                head: head(0),
                append_time_ms: 1_700_000_000_000,
                chunks: vec![large.clone(), small.clone()],
            },
            AnswerChunks::of(diverging.clone()),
            AnswerChunks {
                head: head(2),
                append_time_ms: 0,
                chunks: vec![small.clone()],
            },
        ];
        let clock_ms = 86_400_000;
        let frame = LeaderFrame::Answers { answers, clock_ms };
        let expected = v1::LeaderMessage {
            message: Some(v1::leader_message::Message::Answers(v1::Answers {
                answers: vec![
                    v1::Answer {
                        outcome: Some(batches(
                            &[&large[..], &small[..]].concat(),
                            1_700_000_000_000,
                        )),
                        ..head(0)
                    },
                    diverging,
                    v1::Answer {
                        outcome: Some(batches(&small, 0)),
                        ..head(2)
                    },
                ],
                clock_ms,
            })),
        };
        let slices = wire(frame);
        assert_is_what_prost_would_have_written(&slices, &expected);
        assert!(
            slices.iter().any(|s| s.as_ptr() == large.as_ptr()),
            "not copied"
        );
    }

    #[test]
    fn a_message_that_says_nothing_is_one() {
        let expected = v1::LeaderMessage {
            message: Some(v1::leader_message::Message::Answers(v1::Answers::default())),
        };
        let slices = wire(LeaderFrame::Answers {
            answers: Vec::new(),
            clock_ms: 0,
        });
        assert_is_what_prost_would_have_written(&slices, &expected);
    }
}
