//! Messages to gRPC frames, batches left where they are.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::v1;

/// Field number of `batches` in `ProduceRequest` and `FetchedPartition`.
const BATCHES_FIELD: u32 = 15;
/// Field number of `partitions` in `FetchResponse`.
const PARTITIONS_FIELD: u32 = 2;
/// Below this a copy is cheaper than an HTTP/2 frame and an iovec of its own.
const COPY_BYTES_MAX: usize = 4 << 10;

/// A message that can be written as a gRPC frame.
pub trait Gather {
    /// Appends the frame, its 5-byte prefix included.
    fn gather(self, out: &mut Gathered);
}

/// Bytes ready for the network: small ones gathered in one buffer, large ones as they are.
#[derive(Debug, Default)]
pub struct Gathered {
    ready: VecDeque<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Gathered {
    /// What waits to be written.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next slice to write.
    pub fn pop(&mut self) -> Option<Bytes> {
        let next = self
            .ready
            .pop_front()
            .or_else(|| (!self.small.is_empty()).then(|| self.small.split().freeze()))?;
        self.bytes -= next.len();
        Some(next)
    }

    pub(super) fn put(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        self.small.reserve(len);
        let before = self.small.len();
        write(&mut self.small);
        debug_assert_eq!(self.small.len() - before, len, "lengths are computed right");
        self.bytes += len;
    }

    pub(super) fn chunk(&mut self, chunk: Bytes) {
        if chunk.len() < COPY_BYTES_MAX {
            self.put(chunk.len(), |small| small.put_slice(&chunk));
            return;
        }
        if !self.small.is_empty() {
            self.ready.push_back(self.small.split().freeze());
        }
        self.bytes += chunk.len();
        self.ready.push_back(chunk);
    }
}

pub(super) fn prefix(out: &mut BytesMut, message_len: usize) {
    out.put_u8(0); // not compressed
    out.put_u32(message_len as u32);
}

/// Length of a length-delimited field; nothing if it is empty.
pub(super) fn field_len(field: u32, len: usize) -> usize {
    if len == 0 {
        0
    } else {
        key_len(field) + encoded_len_varint(len as u64) + len
    }
}

pub(super) fn field_head(out: &mut BytesMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// A `FetchResponse` whose batches are slices of the log.
#[derive(Debug, Default)]
pub struct FetchFrame {
    /// Echoed from the request.
    pub request_id: u64,
    /// Those that have something to say.
    pub partitions: Vec<FetchedChunks>,
}

/// One partition's answer.
#[derive(Debug)]
pub struct FetchedChunks {
    /// Everything but the batches; `head.batches` is ignored.
    pub head: v1::FetchedPartition,
    /// The batches, back to back.
    pub chunks: Vec<Bytes>,
}

impl FetchedChunks {
    /// Bytes of batches.
    pub fn batch_bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn body_len(&self) -> usize {
        self.head.encoded_len() + field_len(BATCHES_FIELD, self.batch_bytes())
    }
}

impl Gather for FetchFrame {
    fn gather(mut self, out: &mut Gathered) {
        let envelope = v1::FetchResponse {
            request_id: self.request_id,
            partitions: Vec::new(),
        };
        for partition in &mut self.partitions {
            partition.head.batches = Bytes::new();
        }
        let partitions_len: usize = self
            .partitions
            .iter()
            .map(|p| {
                let len = p.body_len();
                key_len(PARTITIONS_FIELD) + encoded_len_varint(len as u64) + len
            })
            .sum();
        let envelope_len = envelope.encoded_len();
        out.put(5 + envelope_len, |small| {
            prefix(small, envelope_len + partitions_len);
            envelope.encode_raw(small);
        });
        for partition in self.partitions {
            let (body_len, batch_bytes) = (partition.body_len(), partition.batch_bytes());
            let head_len =
                key_len(PARTITIONS_FIELD) + encoded_len_varint(body_len as u64) + body_len
                    - batch_bytes;
            out.put(head_len, |small| {
                field_head(small, PARTITIONS_FIELD, body_len);
                partition.head.encode_raw(small);
                if batch_bytes > 0 {
                    field_head(small, BATCHES_FIELD, batch_bytes);
                }
            });
            for chunk in partition.chunks {
                out.chunk(chunk);
            }
        }
    }
}

impl Gather for v1::ProduceRequest {
    fn gather(mut self, out: &mut Gathered) {
        let batches = std::mem::take(&mut self.batches);
        let message_len = self.encoded_len() + field_len(BATCHES_FIELD, batches.len());
        out.put(5 + message_len - batches.len(), |small| {
            prefix(small, message_len);
            self.encode_raw(small);
            if !batches.is_empty() {
                field_head(small, BATCHES_FIELD, batches.len());
            }
        });
        out.chunk(batches);
    }
}

macro_rules! gather_plainly {
    ($($message:ty),*) => {
        $(impl Gather for $message {
            fn gather(self, out: &mut Gathered) {
                let len = self.encoded_len();
                out.put(5 + len, |small| {
                    prefix(small, len);
                    self.encode_raw(small);
                });
            }
        })*
    };
}

gather_plainly!(v1::ProduceResponse, v1::FetchRequest, v1::FollowerMessage);

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(message: impl Gather) -> Vec<Bytes> {
        let mut out = Gathered::default();
        message.gather(&mut out);
        std::iter::from_fn(|| out.pop()).collect()
    }

    fn joined(slices: &[Bytes]) -> Vec<u8> {
        slices.concat()
    }

    #[test]
    fn a_fetch_frame_is_the_fetch_response_that_prost_would_have_written() {
        let (large, small) = (Bytes::from(vec![7; 100_000]), Bytes::from(vec![8; 100]));
        let head = v1::FetchedPartition {
            topic_id: Bytes::from_static(&[1; 16]),
            partition: 3,
            high_watermark: 1_000,
            ..v1::FetchedPartition::default()
        };
        let frame = FetchFrame {
            request_id: 42,
            partitions: vec![
                FetchedChunks {
                    head: head.clone(),
                    chunks: vec![large.clone(), small.clone()],
                },
                FetchedChunks {
                    head: head.clone(),
                    chunks: vec![],
                },
                FetchedChunks {
                    head: head.clone(),
                    chunks: vec![small.clone()],
                },
            ],
        };
        let both = Bytes::from([&large[..], &small[..]].concat());
        let expected = v1::FetchResponse {
            request_id: 42,
            partitions: vec![
                v1::FetchedPartition {
                    batches: both,
                    ..head.clone()
                },
                head.clone(),
                v1::FetchedPartition {
                    batches: small,
                    ..head
                },
            ],
        };
        let slices = wire(frame);
        assert!(
            slices.iter().any(|s| s.as_ptr() == large.as_ptr()),
            "not copied"
        );
        let bytes = joined(&slices);
        assert_eq!(
            bytes[..5],
            [&[0][..], &(bytes.len() as u32 - 5).to_be_bytes()].concat()
        );
        assert_eq!(bytes[5..], expected.encode_to_vec());
    }

    #[test]
    fn a_produce_request_hands_its_batches_through() {
        let request = v1::ProduceRequest {
            request_id: 1,
            topic_id: Bytes::from_static(&[1; 16]),
            timeout_ms: 5,
            batches: Bytes::from(vec![9; 50_000]),
            ..v1::ProduceRequest::default()
        };
        let slices = wire(request.clone());
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[1].as_ptr(), request.batches.as_ptr());
        assert_eq!(joined(&slices)[5..], request.encode_to_vec());
    }

    #[test]
    fn small_answers_leave_together() {
        let mut out = Gathered::default();
        for request_id in 0..10 {
            v1::ProduceResponse {
                request_id,
                result: None,
            }
            .gather(&mut out);
        }
        assert!(out.pop().is_some());
        assert!(out.pop().is_none());
        assert_eq!(out.bytes(), 0);
    }
}
