//! A request's body, passed on as far as there is room for its messages.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::future::BoxFuture;
use http_body::Frame;
use taffrail_api::transport::CALL_MESSAGE_BYTES_MAX;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::{ARRIVAL_TIMEOUT, Kind, Room, Rooms, Share};

const PREFIX_BYTES: usize = 5;
/// What a message takes besides its bytes.
const OVERHEAD_BYTES: usize = 256;
/// A slice below this is copied: it would keep the whole buffer it was received in.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Counts the messages of a request.
pub(super) struct CountedBody {
    body: Body,
    share: Share,
    /// Of messages that were passed on whole.
    rooms: Rooms,
    kind: Kind,
    /// Received and not passed on.
    slice: Bytes,
    at: At,
    /// Until when that has to arrive which took room of all.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Where in the stream of messages.
enum At {
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        have: usize,
    },
    /// The prefix is passed on, and nothing behind it.
    Waiting {
        bytes: usize,
        room: Option<BoxFuture<'static, Result<Room, Status>>>,
    },
    Message {
        missing: usize,
        room: Option<Room>,
    },
}

const BETWEEN: At = At::Prefix {
    bytes: [0; PREFIX_BYTES],
    have: 0,
};

impl CountedBody {
    pub(super) const fn new(body: Body, share: Share, rooms: Rooms, kind: Kind) -> Self {
        Self {
            body,
            share,
            rooms,
            kind,
            slice: Bytes::new(),
            at: BETWEEN,
            deadline: None,
        }
    }

    /// How much of the slice may be passed on: up to a message without room.
    fn count(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Status>> {
        let mut counted = 0;
        while counted < self.slice.len() {
            let left = &self.slice[counted..];
            match &mut self.at {
                At::Prefix { bytes, have } => {
                    let step = left.len().min(PREFIX_BYTES - *have);
                    bytes[*have..*have + step].copy_from_slice(&left[..step]);
                    *have += step;
                    counted += step;
                    if *have == PREFIX_BYTES {
                        let bytes = (&bytes[1..]).get_u32() as usize;
                        self.at = At::Waiting { bytes, room: None };
                    }
                }
                At::Waiting { bytes, room } => {
                    let bytes = *bytes;
                    let found = match room {
                        Some(room) => Some(ready!(room.as_mut().poll(cx))?),
                        None => match find_room(&self.share, self.kind, bytes)? {
                            Found::Room(room) => room,
                            // First what is whole: its reader gives its room back.
                            Found::Nothing if counted > 0 => break,
                            Found::Nothing => {
                                *room = Some(self.share.room(bytes + OVERHEAD_BYTES));
                                continue;
                            }
                        },
                    };
                    if found.as_ref().is_some_and(|room| room.is_of_all) {
                        self.deadline = Some(Box::pin(sleep(ARRIVAL_TIMEOUT)));
                    }
                    self.at = At::Message {
                        missing: bytes,
                        room: found,
                    };
                }
                At::Message { missing, .. } => {
                    let step = left.len().min(*missing);
                    *missing -= step;
                    counted += step;
                }
            }
            if let At::Message { missing: 0, room } = &mut self.at {
                if let Some(room) = room.take() {
                    self.rooms.add(room);
                }
                self.at = BETWEEN;
                if self.kind == Kind::Stream {
                    self.deadline = None;
                }
            }
        }
        Poll::Ready(Ok(counted))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| self.share.too_slow()),
            None => Poll::Pending,
        }
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = Body::empty();
        self.slice.clear();
        self.at = BETWEEN;
        self.deadline = None;
        Poll::Ready(Some(Err(status)))
    }
}

enum Found {
    Room(Option<Room>),
    Nothing,
}

fn find_room(share: &Share, kind: Kind, bytes: usize) -> Result<Found, Status> {
    // No room is needed for what its reader refuses by its prefix.
    if bytes > CALL_MESSAGE_BYTES_MAX {
        return Ok(Found::Room(None));
    }
    let taken = bytes + OVERHEAD_BYTES;
    let room = match kind {
        Kind::Lasting => Some(share.own_room(taken).ok_or_else(|| share.too_long(bytes))?),
        Kind::Unary | Kind::Stream => share.try_room(taken),
    };
    Ok(room.map_or(Found::Nothing, |room| Found::Room(Some(room))))
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.kind == Kind::Stream {
            this.rooms.give_back();
        }
        while this.slice.is_empty() {
            let Poll::Ready(received) = Pin::new(&mut this.body).poll_frame(cx) else {
                let late = ready!(this.poll_deadline(cx));
                return this.end(late);
            };
            match received.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.len() < COPY_BYTES_MAX => {
                    this.slice = Bytes::copy_from_slice(&data);
                }
                Some(Ok(Ok(data))) => this.slice = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => {
                    this.deadline = None;
                    return Poll::Ready(None);
                }
            }
        }
        let counted = match ready!(this.count(cx)) {
            Ok(counted) => counted,
            Err(status) => return this.end(status),
        };
        Poll::Ready(Some(Ok(Frame::data(this.slice.split_to(counted)))))
    }

    fn is_end_stream(&self) -> bool {
        self.slice.is_empty() && self.body.is_end_stream()
    }
}
