//! The task of a session with a follower.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Request, Response};
use taffrail_api::{
    WireError,
    listen::Admission,
    status::from_status,
    stream::{FrameReader, LeaderFrame, respond},
    transport,
    v1::{self, FollowerMessage, follower_message},
};
use taffrail_core::{
    BrokerNumber, ErrorCode, TopicPartition,
    replica::{FetchRequest, Mutant, is_broken},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};

use super::{
    hello,
    leader_session::LeaderSession,
    logs::{self, Found, NotRead, Read},
    sessions::{Seat, Sessions},
};
use crate::{
    broker::Broker,
    partition::{
        growth::News,
        hearing::Hears,
        replicate::{Fetched, ReplicaFetch},
    },
};

/// A stranger does not get to hold a call for long.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A follower says something at least every second. One that does not is gone, and will dial anew if it comes back.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Messages that were made and not sent. What counts is the window; these are so few that answers wait where they can still be put together.
const FRAMES_MAX: usize = 2;

type Frames = mpsc::Sender<Result<LeaderFrame, Status>>;
type Checked = (Vec<(TopicPartition, FetchRequest)>, Vec<Fetched>);

/// Answers a call at once; what is wrong with it comes as the status at its end.
pub(super) fn serve(
    broker: Arc<Broker>,
    sessions: Arc<Sessions>,
    tasks: &TaskTracker,
    request: Request<Body>,
) -> Response<Body> {
    let admission = request.extensions().get::<Admission>().cloned();
    let reader = FrameReader::requests(request.into_body(), transport::REQUEST_BYTES_MAX);
    let (frames, receiver) = mpsc::channel(FRAMES_MAX);
    tasks.spawn(async move {
        let ended = tokio::select! {
            () = broker.stopped.cancelled() => Broker::shutting_down(),
            () = frames.closed() => return,
            ended = run(&broker, &sessions, admission, reader, &frames) => ended,
        };
        // One that does not read does not need to know why.
        let _ = frames.try_send(Err(ended.into()));
    });
    respond(ReceiverStream::new(receiver))
}

/// Why it ended.
async fn run(
    broker: &Arc<Broker>,
    sessions: &Arc<Sessions>,
    admission: Option<Admission>,
    mut reader: FrameReader<FollowerMessage>,
    frames: &Frames,
) -> WireError {
    let opened = open(broker, sessions, &mut reader).await;
    let (follower, seat) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            broker.metrics.error("replication", error.code);
            tracing::info!(%error, "refused a session for replication");
            return error;
        }
    };
    if let Some(admission) = admission {
        admission.admit();
    }
    let hello = v1::LeaderHello {
        version: follower.version,
        broker: broker.membership.number().map_or(0, |me| me.0),
        incarnation: Some(broker.membership.incarnation.into()),
    };
    // The channel is new and has room.
    let _ = frames.try_send(Ok(LeaderFrame::Hello(hello)));
    tracing::info!(follower = %follower.broker, incarnation = %follower.incarnation, "a follower's session begins");
    let begun = Instant::now();
    let window = follower
        .window_bytes
        .min(broker.config.replication.window_bytes);
    let session = Session {
        state: LeaderSession::new(follower.broker, follower.incarnation, window.max(1), 0),
        news: Arc::new(News::default()),
        checking: None,
        reads: FuturesUnordered::new(),
        follower: follower.broker,
        last: Hears::new(seat.number),
        heard: begun,
        begun,
        broker,
    };
    let ended = session.keep(reader, frames, &seat).await;
    tracing::info!(follower = %follower.broker, reason = %ended, "a follower's session ended");
    ended
}

async fn open(
    broker: &Broker,
    sessions: &Arc<Sessions>,
    reader: &mut FrameReader<FollowerMessage>,
) -> Result<(hello::Follower, Seat), WireError> {
    let first = timeout(HELLO_TIMEOUT, reader.next())
        .await
        .map_err(|_| WireError::new(ErrorCode::TimedOut, "no hello came in time"))?;
    let first = first.map_err(|s| from_status(&s))?;
    let Some(follower_message::Message::Hello(hello)) = first.and_then(|m| m.message) else {
        return Err(WireError::invalid("say hello first"));
    };
    let known = Arc::clone(&broker.known.borrow());
    let follower = hello::check(&hello, broker.membership.number(), &known.view)?;
    let seat = sessions.open(follower.broker, follower.incarnation)?;
    Ok((follower, seat))
}

/// Everything around the state machine.
struct Session<'a> {
    broker: &'a Arc<Broker>,
    state: LeaderSession,
    news: Arc<News>,
    /// With the owner of the logs: one group at a time, so that what comes meanwhile goes together.
    checking: Option<BoxFuture<'static, Checked>>,
    /// Of what is not in the page cache.
    reads: FuturesUnordered<BoxFuture<'static, (Read, Result<Found, NotRead>)>>,
    begun: Instant,
    /// When something was read last: without it for long, the session ends.
    heard: Instant,
    follower: BrokerNumber,
    /// For those who have to know until when it followed.
    last: Hears,
}

impl Session<'_> {
    async fn keep(
        mut self,
        mut reader: FrameReader<FollowerMessage>,
        frames: &Frames,
        seat: &Seat,
    ) -> WireError {
        loop {
            self.proceed();
            let now_ms = self.now_ms();
            let (wakes_at, silent_at) =
                (self.time(self.state.wakes_at()), self.heard + SILENCE_MAX);
            tokio::select! {
                () = seat.ended.cancelled() => {
                    return WireError::new(ErrorCode::BrokerFenced, "a later session of this follower took the place of this one");
                }
                () = sleep_until(silent_at) => {
                    return WireError::new(ErrorCode::TimedOut, "the follower is silent");
                }
                room = frames.reserve(), if self.state.has_answers(now_ms) => match room {
                    Ok(room) => {
                        let answers = self.state.answers(now_ms);
                        let clock_ms = self.last.says(self.broker.uptime_ms());
                        room.send(Ok(LeaderFrame::Answers { answers, clock_ms }));
                    }
                    Err(_) => return WireError::new(ErrorCode::LeaderUnreachable, "the connection is gone"),
                },
                received = reader.next(), if self.state.has_room() => if let Err(error) = self.receive(received) {
                    return error;
                },
                (asked, fetched) = pending_or(&mut self.checking), if self.checking.is_some() => {
                    self.checking = None;
                    if fetched.is_empty() {
                        return Broker::shutting_down();
                    }
                    for ((id, request), fetched) in asked.iter().zip(fetched) {
                        self.state.checked(*id, request, fetched.map_err(|code| refusal(*id, request, code)));
                    }
                }
                Some((read, found)) = self.reads.next(), if !self.reads.is_empty() => {
                    self.state.read(&read, found);
                }
                () = self.news.wait() => for id in self.news.take() {
                    self.state.news(id);
                },
                () = sleep_until(wakes_at), if !self.state.has_answers(now_ms) => {}
            }
        }
    }

    /// Everything that can be done without waiting.
    fn proceed(&mut self) {
        if self.checking.is_none() {
            self.check();
        }
        let partitions = Arc::clone(&self.broker.partitions);
        self.state.tick(&*partitions, self.now_ms());
        while let Some(read) = self.state.next_read(&*partitions, self.now_ms()) {
            let Some(partition) = partitions.get(read.id) else {
                self.state.read(&read, Err(NotRead::Changed));
                continue;
            };
            if logs::is_warm(&partition, &read) {
                let found = logs::read(&partition, &read);
                self.state.read(&read, found);
            } else {
                let reading = tokio::task::spawn_blocking(move || logs::read(&partition, &read));
                let reading = reading.map(move |found| {
                    let broken = |e| WireError::new(ErrorCode::Internal, format!("reading: {e}"));
                    (
                        read,
                        found.unwrap_or_else(|e| Err(NotRead::Failed(broken(e)))),
                    )
                });
                self.reads.push(reading.boxed());
            }
        }
    }

    fn check(&mut self) {
        let mut asked = self.state.take_unchecked();
        let mut fetches = Vec::with_capacity(asked.len());
        asked.retain(|(id, request)| {
            let Some(partition) = self.broker.partitions.get(*id) else {
                let unknown = refusal(*id, request, ErrorCode::UnknownPartition);
                self.state.checked(*id, request, Err(unknown));
                return false;
            };
            // Before the look at the log: what comes after it is news.
            partition.growth.add(&self.news);
            if partition.is_internal() {
                let (follower, epoch) = (self.follower, request.leader_epoch);
                partition
                    .hearing
                    .follows(follower, epoch, self.last.heard());
            }
            fetches.push(ReplicaFetch {
                partition,
                request: *request,
            });
            true
        });
        if !asked.is_empty() {
            let disk = self.broker.disk.clone();
            let checked = async move { (asked, disk.replica_fetches(fetches).await) };
            self.checking = Some(checked.boxed());
        }
    }

    fn receive(
        &mut self,
        received: Result<Option<FollowerMessage>, Status>,
    ) -> Result<(), WireError> {
        let received = received.map_err(|s| from_status(&s))?;
        let Some(message) = received else {
            return Err(WireError::new(
                ErrorCode::LeaderUnreachable,
                "the follower ended the session",
            ));
        };
        self.heard = Instant::now();
        let Some(follower_message::Message::Positions(positions)) = message.message else {
            return Err(WireError::invalid("positions come after the hello"));
        };
        self.state.hear(&positions)?;
        for left in self.state.take_left() {
            forget(self.broker, self.follower, &self.last, left);
        }
        repeated(self.broker, &self.last, positions.clock_ms);
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn time(&self, at_ms: u64) -> Instant {
        self.begun + Duration::from_millis(at_ms)
    }
}

async fn pending_or<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A follower does not follow it any more, or in another epoch.
pub(super) fn forget(broker: &Broker, follower: BrokerNumber, last: &Hears, left: TopicPartition) {
    let partition = broker.partitions.get(left);
    if let Some(partition) = partition.filter(|p| p.is_internal()) {
        partition.hearing.left(follower, last.heard());
    }
}

/// A follower repeats a clock: that is until when it followed, but for what it left before that.
pub(super) fn repeated(broker: &Broker, last: &Hears, clock_ms: u64) {
    if is_broken(Mutant::LateWordsCounted) {
        last.heard().at(broker.uptime_ms());
    }
    last.repeated(clock_ms);
}

pub(super) fn refusal(id: TopicPartition, request: &FetchRequest, code: ErrorCode) -> WireError {
    WireError::new(
        code,
        format!(
            "{id} cannot be followed here in epoch {}: the metadata of one of the two brokers is older",
            request.leader_epoch
        ),
    )
}
