//! Messages as an HTTP body.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body::Frame;
use tonic::Status;

use super::gather::{Gather, Gathered};

/// Messages that are ready at once are gathered up to this size, so that small ones share an HTTP/2 frame.
const GATHER_BYTES_MAX: usize = 64 << 10;

/// Writes the messages of a stream; a server ends with the status in the trailers.
#[derive(Debug)]
pub struct GatherBody<S> {
    messages: Option<S>,
    gathered: Gathered,
    trailers: Option<Status>,
    is_server: bool,
}

impl<S> GatherBody<S> {
    /// What a client sends.
    pub fn request(messages: S) -> Self {
        Self::new(messages, false)
    }

    /// What a server sends.
    pub fn response(messages: S) -> Self {
        Self::new(messages, true)
    }

    fn new(messages: S, is_server: bool) -> Self {
        Self {
            messages: Some(messages),
            gathered: Gathered::default(),
            trailers: None,
            is_server,
        }
    }

    fn end(&mut self, status: Status) {
        self.messages = None;
        self.trailers = self.is_server.then_some(status);
    }
}

impl<S, G> http_body::Body for GatherBody<S>
where
    S: Stream<Item = Result<G, Status>> + Unpin,
    G: Gather,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        while let Some(messages) = &mut this.messages
            && this.gathered.bytes() < GATHER_BYTES_MAX
        {
            match messages.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => message.gather(&mut this.gathered),
                Poll::Ready(Some(Err(status))) => this.end(status),
                Poll::Ready(None) => this.end(Status::ok("")),
                Poll::Pending => break,
            }
        }
        if let Some(slice) = this.gathered.pop() {
            return Poll::Ready(Some(Ok(Frame::data(slice))));
        }
        if this.messages.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(this.trailers.take().map(|status| {
            let mut trailers = http::HeaderMap::new();
            status.add_header(&mut trailers)?;
            Ok(Frame::trailers(trailers))
        }))
    }
}
