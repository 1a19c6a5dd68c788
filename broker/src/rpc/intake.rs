//! What strangers may have under way: calls, and bytes of messages that are not with their reader yet. Every connection has a small share of its
//! own, so that an honest client goes on whatever the others do; what is beyond comes from a budget of all, in the order of asking.
//!
//! ```text
//! frames from h2 -> CountedBody: room for a whole message before any of it is passed on -> reader -> the produce queue
//! ```
//!
//! Room is taken once for each message and given back when its reader asks for more, so nobody waits for room while holding some: what holds room
//! waits for its client, for at most [`ARRIVAL_TIMEOUT`], or for the disk.

mod body;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use taffrail_api::{WireError, status::to_status};
use taffrail_core::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use self::body::CountedBody;
use super::foreign;
use crate::{config::Limits, metrics::Metrics};

/// Calls that each connection may have without asking.
const OWN_CALLS: usize = 8;
/// Bytes that each connection may have without asking: a batch as clients build it by default, and its envelope.
const OWN_BYTES: usize = 320 << 10;
/// Messages that wait for room. While one waits, its connection holds up to a window of what follows: the others are refused at once.
const WAITING_MAX: usize = 32;
/// How long a message may wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message that has taken room of all may be on its way.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What becomes of the room of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One request: room is kept until it is answered.
    Unary,
    /// Many messages: the room of each is given back when the next is read.
    Stream,
    /// One request, kept for as long as the call lasts: only the connection's own room, so that nobody keeps that of all.
    Lasting,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/taffrail.v1.Broker/Produce"
            | "/taffrail.v1.Broker/Fetch"
            | "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Self::Stream,
            "/taffrail.v1.Broker/WatchMetadata"
            | "/taffrail.v1.Gateway/Subscribe"
            | "/grpc.health.v1.Health/Watch" => Self::Lasting,
            _ => Self::Unary,
        }
    }
}

/// The budget of all.
#[derive(Debug)]
pub(super) struct Intake {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    waiting: Arc<Semaphore>,
    fetches_max: usize,
    metrics: Arc<Metrics>,
}

/// What one connection may have.
#[derive(Debug, Clone)]
pub(super) struct Share {
    intake: Arc<Intake>,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

/// Room of a message.
#[derive(Debug)]
struct Room {
    _permit: OwnedSemaphorePermit,
    is_of_all: bool,
}

/// Room of the messages that were passed on whole.
#[derive(Debug, Clone, Default)]
struct Rooms(Arc<Mutex<Vec<Room>>>);

impl Intake {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::new(Semaphore::new(limits.calls_max)),
            bytes: Arc::new(Semaphore::new(limits.intake_bytes_max)),
            bytes_max: limits.intake_bytes_max,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            fetches_max: 2 * limits.partitions_per_request_max,
            metrics,
        })
    }

    /// For a new connection.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            intake: Arc::clone(self),
            calls: Arc::new(Semaphore::new(OWN_CALLS)),
            bytes: Arc::new(Semaphore::new(OWN_BYTES)),
            fetches: Arc::new(Semaphore::new(self.fetches_max)),
        }
    }

    fn exhausted(&self, message: String) -> Status {
        let error = WireError::new(ErrorCode::ResourceExhausted, message);
        self.metrics.error("intake", error.code);
        error.into()
    }
}

impl Share {
    fn call(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.calls)
            .try_acquire_owned()
            .or_else(|_| Arc::clone(&self.intake.calls).try_acquire_owned())
            .map_err(|_| {
                self.intake
                    .exhausted("too many calls are open; end some, or wait and retry".to_owned())
            })
    }

    /// To be kept while a fetch of so many partitions waits.
    pub(super) fn fetch(&self, partitions: usize) -> Result<OwnedSemaphorePermit, WireError> {
        let count = u32::try_from(partitions).unwrap_or(u32::MAX);
        Arc::clone(&self.fetches)
            .try_acquire_many_owned(count)
            .map_err(|_| {
                WireError::new(
                    ErrorCode::ResourceExhausted,
                    format!(
                        "fetches of more than {} partitions wait on this connection; use several connections",
                        self.intake.fetches_max
                    ),
                )
            })
    }

    /// Room for so many bytes, if there is some now.
    fn try_room(&self, bytes: usize) -> Option<Room> {
        self.own_room(bytes).or_else(|| {
            let of_all = bytes.min(self.intake.bytes_max) as u32;
            let all = Arc::clone(&self.intake.bytes);
            Some(Room {
                _permit: all.try_acquire_many_owned(of_all).ok()?,
                is_of_all: true,
            })
        })
    }

    fn own_room(&self, bytes: usize) -> Option<Room> {
        let own = Arc::clone(&self.bytes);
        Some(Room {
            _permit: own.try_acquire_many_owned(bytes as u32).ok()?,
            is_of_all: false,
        })
    }

    /// The same, once there is some: in the order of asking.
    fn room(&self, bytes: usize) -> BoxFuture<'static, Result<Room, Status>> {
        let intake = Arc::clone(&self.intake);
        let no_room = move |intake: &Intake| {
            intake.exhausted(format!(
                "no room for a message of {bytes} bytes: too many are on their way; retry, or send smaller ones"
            ))
        };
        let Ok(turn) = Arc::clone(&intake.waiting).try_acquire_owned() else {
            return Box::pin(std::future::ready(Err(no_room(&intake))));
        };
        let all = Arc::clone(&intake.bytes).acquire_many_owned(bytes.min(intake.bytes_max) as u32);
        Box::pin(async move {
            let _turn = turn;
            match tokio::time::timeout(ROOM_TIMEOUT, all).await {
                Ok(Ok(permit)) => Ok(Room {
                    _permit: permit,
                    is_of_all: true,
                }),
                _ => Err(no_room(&intake)),
            }
        })
    }

    fn too_long(&self, bytes: usize) -> Status {
        self.intake.exhausted(format!(
            "the requests of calls that last take more than {OWN_BYTES} bytes on this connection, with this one of {bytes}; name less, or use several connections"
        ))
    }

    fn too_slow(&self) -> Status {
        self.intake.exhausted(format!(
            "a request was still incomplete {ARRIVAL_TIMEOUT:?} after it began and made way for others; retry, or send smaller ones"
        ))
    }
}

impl Rooms {
    fn give_back(&self) {
        self.lock().clear();
    }

    fn add(&self, room: Room) {
        self.lock().push(room);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts [`Counted`] before the services.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountLayer;

impl<S> Layer<S> for CountLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner }
    }
}

/// Counts calls and the bytes of their requests.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<CountedAnswer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let share = request.extensions().get::<Share>().cloned();
        let counted = share
            .ok_or_else(|| to_status(ErrorCode::Internal, "a connection without its share"))
            .and_then(|share| Ok((share.call()?, share)));
        let (call, share) = match counted {
            Ok(counted) => counted,
            Err(status) => {
                let refused = status.into_http::<Body>().map(CountedAnswer::refused);
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let rooms = Rooms::default();
        let kind = Kind::of(request.uri().path());
        let request = request.map(|body| {
            let rooms = rooms.clone();
            Body::new(CountedBody::new(body, share, rooms, kind))
        });
        let answered = self.inner.call(request);
        Box::pin(async move {
            let response = foreign::named(answered.await?);
            if kind == Kind::Unary {
                rooms.give_back();
            }
            Ok(response.map(|body| CountedAnswer {
                body,
                _call: Some(call),
                _rooms: rooms,
            }))
        })
    }
}

/// An answer that gives back what its call took when it ends.
#[derive(Debug)]
pub(super) struct CountedAnswer {
    body: Body,
    _call: Option<OwnedSemaphorePermit>,
    _rooms: Rooms,
}

impl CountedAnswer {
    fn refused(body: Body) -> Self {
        Self {
            body,
            _call: None,
            _rooms: Rooms::default(),
        }
    }
}

impl http_body::Body for CountedAnswer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(ready!(Pin::new(&mut self.get_mut().body).poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
