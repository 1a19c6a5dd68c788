//! A member's stream.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use taffrail_api::{WireError, stream::Route, v1};
use taffrail_core::{BrokerNumber, ErrorCode, GroupEpoch, MemberId};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{bounds::within_ends_of_member, check, ended, pass_on::pass_on_stream};
use crate::{
    broker::Broker,
    group::{
        Coordinators,
        event::{Ask, Event, Position, Says, Sink, StreamId},
    },
    rpc::foreign,
};

/// Commits of one member that were not answered yet. While there are so many, its stream is not read.
const COMMITS_MAX: usize = 32;
/// Answers that the member has not taken: all its commits, and what else may come meanwhile.
const ANSWERS_MAX: usize = COMMITS_MAX + 32;
/// After a leader did not say in time how far its partitions go.
const ASK_AGAIN_MS: u64 = 5_000;
/// A stranger does not get to hold a stream for long.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers at once; what is wrong comes as the status at the end.
pub(super) fn serve(
    broker: &Arc<Broker>,
    route: Route,
    requests: Streaming<v1::MemberRequest>,
) -> BoxStream<'static, Result<v1::MemberResponse, Status>> {
    let (sink, responses) = answers();
    let serving = Arc::clone(broker);
    broker.streams.spawn(async move {
        let ended = tokio::select! {
            () = serving.draining.cancelled() => Err(Broker::shutting_down()),
            ended = run(&serving, route, requests, &sink) => ended,
        };
        if let Err(error) = ended {
            serving.metrics.error("join_group", error.code);
            sink.end(&error);
        }
    });
    // What follows an error is void.
    let mut is_over = false;
    ReceiverStream::new(responses)
        .take_while(move |response| {
            let goes_on = !is_over;
            is_over = response.is_err();
            std::future::ready(goes_on)
        })
        .boxed()
}

/// What a member is answered.
pub(crate) fn answers() -> (Sink, mpsc::Receiver<Result<v1::MemberResponse, Status>>) {
    let (sink, responses) = mpsc::channel(ANSWERS_MAX);
    (Sink::new(sink), responses)
}

/// A member that joined on this stream.
#[derive(Debug)]
pub(crate) struct Joined {
    group: String,
    member: MemberId,
    stream: StreamId,
    coordinator: mpsc::Sender<Event>,
    commits: Arc<Semaphore>,
    positions_max: usize,
    /// Of whom leaders are asked how far their partitions go. `None`: nobody is.
    asking: Option<Asking>,
}

/// How leaders are asked for a stream's commits.
#[derive(Debug)]
struct Asking {
    broker: Arc<Broker>,
    /// Until then, by the broker's uptime, nobody is: one did not answer, and heartbeats wait behind commits.
    not_before_ms: AtomicU64,
}

impl Asking {
    async fn within_ends(
        &self,
        positions: Vec<Position>,
    ) -> (Vec<Position>, Vec<v1::RefusedCommit>) {
        if self.broker.uptime_ms() < self.not_before_ms.load(Ordering::Relaxed) {
            return (positions, Vec::new());
        }
        let asked = within_ends_of_member(&self.broker, positions).await;
        let (within, refused, all_answered) = asked;
        if !all_answered {
            let not_before_ms = self.broker.uptime_ms() + ASK_AGAIN_MS;
            self.not_before_ms.store(not_before_ms, Ordering::Relaxed);
        }
        (within, refused)
    }
}

async fn run(
    broker: &Arc<Broker>,
    route: Route,
    mut requests: Streaming<v1::MemberRequest>,
    sink: &Sink,
) -> Result<(), WireError> {
    let first = timeout(JOIN_TIMEOUT, requests.message()).await;
    let first = first.map_err(|_| WireError::new(ErrorCode::TimedOut, "no join came in time"))?;
    let first = first.map_err(|status| foreign::error(&status))?;
    if let Some(first) = &first
        && let Some(there) = elsewhere(broker, first, route)
    {
        return pass_on_stream(broker, there, first.clone(), requests, sink).await;
    }
    let mut joined = Joined::join(broker, first, sink).await?;
    joined.asking = Some(Asking {
        broker: Arc::clone(broker),
        not_before_ms: AtomicU64::new(0),
    });
    let ended = tokio::select! {
        ended = joined.listen(&mut requests) => ended,
        // The coordinator ended it, and said why; or the member takes nothing any more.
        () = sink.closed() => Ok(()),
        // It may have ended before it heard of this member.
        () = joined.coordinator.closed() => Err(ended()),
    };
    joined.gone().await;
    ended
}

/// Who coordinates the group that is named first, if that is another broker and the member asks to be routed to it.
fn elsewhere(broker: &Broker, first: &v1::MemberRequest, route: Route) -> Option<BrokerNumber> {
    let Some(v1::member_request::Request::Join(join)) = &first.request else {
        return None;
    };
    Coordinators::elsewhere(broker, &join.group, route)
}

impl Joined {
    /// By what is said first on a stream.
    ///
    /// # Errors
    /// It is no join, or nobody here coordinates the group.
    pub(crate) async fn join(
        broker: &Broker,
        first: Option<v1::MemberRequest>,
        sink: &Sink,
    ) -> Result<Self, WireError> {
        let Some(v1::member_request::Request::Join(join)) = first.and_then(|first| first.request)
        else {
            return Err(WireError::invalid("join first"));
        };
        let (group, join) = check::join(join, &broker.config.groups)?;
        let joined = Self {
            coordinator: broker.coordinators.of(broker, &group)?,
            group,
            member: join.member,
            stream: broker.coordinators.stream_id(),
            commits: Arc::new(Semaphore::new(COMMITS_MAX)),
            positions_max: broker.config.limits.partitions_per_request_max,
            asking: None,
        };
        let (stream, sink) = (joined.stream, sink.clone());
        joined.send(Ask::Join { join, stream, sink }).await?;
        Ok(joined)
    }

    async fn listen(&self, requests: &mut Streaming<v1::MemberRequest>) -> Result<(), WireError> {
        loop {
            let received = requests.message().await;
            let Some(received) = received.map_err(|status| foreign::error(&status))? else {
                return Ok(());
            };
            if self.hear(received).await?.is_break() {
                return Ok(());
            }
        }
    }

    /// Passes on what the member says. `Break`: it was its last word.
    ///
    /// # Errors
    /// It is nonsense, or the coordinator is gone.
    pub(crate) async fn hear(
        &self,
        received: v1::MemberRequest,
    ) -> Result<ControlFlow<()>, WireError> {
        use v1::member_request::Request;
        match received.request {
            Some(Request::Heartbeat(heartbeat)) => {
                self.says(Says::Heartbeat(GroupEpoch(heartbeat.epoch)))
                    .await?;
            }
            Some(Request::Commit(commit)) => self.commit(commit).await?,
            Some(Request::Leave(leave)) => {
                let comes_back = leave.comes_back;
                self.says(Says::Leaves { comes_back }).await?;
                return Ok(ControlFlow::Break(()));
            }
            Some(Request::Lost(lost)) => self.says(Says::Lost(check::lost(lost)?)).await?,
            Some(Request::Join(_)) => {
                return Err(WireError::invalid(
                    "a member joins once on a stream: open another one",
                ));
            }
            None => return Err(WireError::invalid("a request that says nothing")),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The stream is over. A coordinator that is gone knows.
    pub(crate) async fn gone(&self) {
        let _ = self.says(Says::Gone).await;
    }

    /// Is the coordinator gone?
    #[cfg(feature = "sim")]
    pub(crate) fn is_over(&self) -> bool {
        self.coordinator.is_closed()
    }

    async fn commit(&self, commit: v1::CommitRequest) -> Result<(), WireError> {
        let room = Arc::clone(&self.commits)
            .acquire_owned()
            .await
            .map_err(|_| ended())?;
        let positions = check::positions(commit.offsets, self.positions_max)?;
        let (positions, refused) = match &self.asking {
            Some(asking) => asking.within_ends(positions).await,
            None => (positions, Vec::new()),
        };
        let says = Says::Commit {
            request_id: commit.request_id,
            epoch: GroupEpoch(commit.epoch),
            positions,
            refused,
            room,
        };
        self.says(says).await
    }

    async fn says(&self, says: Says) -> Result<(), WireError> {
        self.send(Ask::Member {
            member: self.member,
            stream: self.stream,
            says,
        })
        .await
    }

    async fn send(&self, ask: Ask) -> Result<(), WireError> {
        let event = Event {
            group: self.group.clone(),
            ask,
        };
        self.coordinator.send(event).await.map_err(|_| ended())
    }
}
