//! gRPC frames to messages.

use std::{
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use futures::Stream;
use http_body::Body as _;
use prost::Message;
use taffrail_core::ErrorCode;
use tonic::{Code, Status, body::Body};

use super::segments::Segments;
use crate::status::to_status;

const PREFIX_BYTES: usize = 5;

/// The messages of one direction of a stream.
///
/// `next` is cancel safe: bytes that arrived stay with the reader.
#[derive(Debug)]
pub struct FrameReader<M> {
    body: Body,
    segments: Segments,
    /// Length of the message whose prefix was read.
    pending: Option<usize>,
    message_bytes_max: usize,
    end: End,
    message: PhantomData<fn() -> M>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A server reads: the client may end its side whenever it likes.
    Requests,
    /// A client reads: without a status in the trailers the answer was cut off.
    Responses,
    Reached,
}

impl<M: Message + Default> FrameReader<M> {
    /// What a server reads from a request.
    pub fn requests(body: Body, message_bytes_max: usize) -> Self {
        Self::new(body, message_bytes_max, End::Requests)
    }

    /// What a client reads from a response.
    pub fn responses(body: Body, message_bytes_max: usize) -> Self {
        Self::new(body, message_bytes_max, End::Responses)
    }

    fn new(body: Body, message_bytes_max: usize, end: End) -> Self {
        Self {
            body,
            segments: Segments::default(),
            pending: None,
            message_bytes_max,
            end,
            message: PhantomData,
        }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// The peer ended the stream with an error, the connection broke, a message is too large, compressed or malformed.
    pub async fn next(&mut self) -> Result<Option<M>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next message if all of it has arrived already.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_buffered(&mut self) -> Result<Option<M>, Status> {
        self.decode()
    }

    /// As [`Self::next`], for hand-written futures.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        loop {
            if let Some(message) = self.decode()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.end == End::Reached {
                return Poll::Ready(Ok(None));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.segments.push(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.trailers(&trailers)?;
                        }
                    }
                },
                Some(Err(status)) => {
                    self.end = End::Reached;
                    return Poll::Ready(Err(status));
                }
                None => self.finish()?,
            }
        }
    }

    fn decode(&mut self) -> Result<Option<M>, Status> {
        let len = match self.pending {
            Some(len) => len,
            None if self.segments.remaining() < PREFIX_BYTES => return Ok(None),
            None => self.read_prefix()?,
        };
        if self.segments.remaining() < len {
            return Ok(None);
        }
        self.pending = None;
        M::decode((&mut self.segments).take(len))
            .map(Some)
            .map_err(|e| {
                self.end = End::Reached;
                to_status(
                    ErrorCode::InvalidRequest,
                    format!("malformed message, {e}; send what taffrail/v1/broker.proto says"),
                )
            })
    }

    fn read_prefix(&mut self) -> Result<usize, Status> {
        let compressed = self.segments.get_u8();
        let len = self.segments.get_u32() as usize;
        if compressed != 0 {
            self.end = End::Reached;
            return Err(to_status(
                ErrorCode::InvalidRequest,
                "compressed gRPC messages are not accepted here; compress the batches instead",
            ));
        }
        if len > self.message_bytes_max {
            self.end = End::Reached;
            return Err(to_status(
                ErrorCode::BatchTooLarge,
                format!(
                    "a message of {len} bytes is larger than the {} accepted; send smaller batches",
                    self.message_bytes_max
                ),
            ));
        }
        self.pending = Some(len);
        Ok(len)
    }

    fn trailers(&mut self, trailers: &http::HeaderMap) -> Result<(), Status> {
        self.end = End::Reached;
        match Status::from_header_map(trailers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Status> {
        let cut = self.segments.remaining() > 0 || self.pending.is_some();
        let end = std::mem::replace(&mut self.end, End::Reached);
        match end {
            End::Requests if cut => Err(to_status(
                ErrorCode::InvalidRequest,
                "the stream ended within a message",
            )),
            End::Responses => Err(to_status(
                ErrorCode::LeaderUnreachable,
                "the stream ended without a status: the broker or something in between went away",
            )),
            _ => Ok(()),
        }
    }
}

impl<M: Message + Default> Stream for FrameReader<M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx).map(Result::transpose)
    }
}

/// Makes a body of what a peer might send.
#[cfg(test)]
fn body_of(slices: Vec<bytes::Bytes>) -> Body {
    use futures::StreamExt as _;
    let frames = futures::stream::iter(slices).map(|s| Ok::<_, Status>(http_body::Frame::data(s)));
    Body::new(http_body_util::StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::executor::block_on;

    use super::*;
    use crate::{
        status::from_status,
        stream::{Gather as _, Gathered},
        v1::ProduceRequest,
    };

    fn request() -> ProduceRequest {
        ProduceRequest {
            request_id: 5,
            batches: Bytes::from(vec![3; 20_000]),
            ..ProduceRequest::default()
        }
    }

    fn wire(request: ProduceRequest) -> Vec<Bytes> {
        let mut out = Gathered::default();
        request.gather(&mut out);
        std::iter::from_fn(|| out.pop()).collect()
    }

    fn read(slices: Vec<Bytes>, max: usize) -> Result<Option<ProduceRequest>, Status> {
        block_on(FrameReader::requests(body_of(slices), max).next())
    }

    #[test]
    fn batches_in_one_frame_are_a_slice_of_it() {
        let slices = wire(request());
        let frame = slices[1].as_ptr();
        let got = read(slices, 1 << 20).expect("valid").expect("one");
        assert_eq!(got, request());
        assert_eq!(got.batches.as_ptr(), frame);
    }

    #[test]
    fn a_message_cut_into_single_bytes_is_put_together() {
        let slices = wire(request())
            .concat()
            .into_iter()
            .map(|b| Bytes::from(vec![b]))
            .collect();
        assert_eq!(read(slices, 1 << 20).expect("valid"), Some(request()));
    }

    #[test]
    fn a_message_above_the_limit_is_refused_before_it_is_read() {
        let status = read(wire(request()), 1_000).expect_err("too large");
        assert_eq!(from_status(&status).code, ErrorCode::BatchTooLarge);
    }

    #[test]
    fn malformed_protobuf_is_an_invalid_request() {
        let slices = vec![Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff])];
        let status = read(slices, 1_000).expect_err("malformed");
        assert_eq!(from_status(&status).code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_stream_that_ends_within_a_message_says_so() {
        let mut slices = wire(request());
        slices.pop();
        let status = read(slices, 1 << 20).expect_err("cut");
        assert!(status.message().contains("ended within a message"));
    }

    #[test]
    fn an_answer_without_a_status_was_cut_off() {
        let reader = FrameReader::<ProduceRequest>::responses(body_of(vec![]), 1 << 20);
        let status = block_on({
            let mut reader = reader;
            async move { reader.next().await }
        })
        .expect_err("no trailers");
        assert_eq!(from_status(&status).code, ErrorCode::LeaderUnreachable);
    }
}
