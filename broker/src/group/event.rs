//! What members and others ask of a coordinator.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use taffrail_api::{WireError, v1};
use taffrail_core::{ErrorCode, GroupEpoch, MemberId, Offset, TopicPartition, group::Join};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;

/// The way to a member: its stream.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    responses: mpsc::Sender<Result<v1::MemberResponse, Status>>,
    has_lost: Arc<AtomicBool>,
}

impl Sink {
    pub(crate) fn new(responses: mpsc::Sender<Result<v1::MemberResponse, Status>>) -> Self {
        Self {
            responses,
            has_lost: Arc::default(),
        }
    }

    /// Says something. A member that leaves so many answers lying that there is no room loses this one, and then its stream.
    pub(crate) fn tell(&self, response: v1::member_response::Response) {
        let response = v1::MemberResponse {
            response: Some(response),
        };
        if self.responses.try_send(Ok(response)).is_err() {
            self.has_lost.store(true, Ordering::Relaxed);
        }
    }

    /// Says what another broker says. False: there is no room, as the member leaves its answers lying.
    pub(crate) fn pass(&self, response: v1::MemberResponse) -> bool {
        self.responses.try_send(Ok(response)).is_ok()
    }

    /// Says why the stream ends. One that takes nothing does not hear why.
    pub(crate) fn end(&self, why: &WireError) {
        let _ = self.responses.try_send(Err(why.clone().into()));
    }

    /// Was there something that it did not hear?
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Relaxed)
    }

    /// Resolves when nobody takes answers any more.
    pub(crate) async fn closed(&self) {
        self.responses.closed().await;
    }
}

/// Of a member that leaves its answers lying.
pub(crate) fn slow() -> WireError {
    WireError::new(
        ErrorCode::ResourceExhausted,
        "the member does not take its answers: read the stream, then join again",
    )
}

/// Answers one who awaits it.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, WireError>>;

/// One stream of a member. A later one of the same member takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId(pub(crate) u64);

/// How far a partition is to count as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: Offset,
    pub(crate) metadata: String,
}

/// What a coordinator is asked.
#[derive(Debug)]
pub(crate) struct Event {
    /// Whose. Empty: of all.
    pub(crate) group: String,
    pub(crate) ask: Ask,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A member has a new stream.
    Join {
        join: Join,
        stream: StreamId,
        sink: Sink,
    },
    /// A member says something on its stream.
    Member {
        member: MemberId,
        stream: StreamId,
        says: Says,
    },
    /// Somebody commits without a stream: for a member, or for a group that has none.
    Commit {
        member: Option<(MemberId, GroupEpoch)>,
        positions: Vec<Position>,
        reply: Reply<Vec<v1::RefusedCommit>>,
    },
    Describe(Reply<v1::DescribeGroupResponse>),
    Reset {
        positions: Vec<Position>,
        reply: Reply<()>,
    },
    Delete(Reply<()>),
    /// Of all groups.
    List(Reply<Vec<v1::GroupSummary>>),
}

/// What a member says.
#[derive(Debug)]
pub(crate) enum Says {
    Heartbeat(GroupEpoch),
    Commit {
        request_id: u64,
        epoch: GroupEpoch,
        positions: Vec<Position>,
        /// What lies beyond the end of its partition.
        refused: Vec<v1::RefusedCommit>,
        /// Room among the stream's unanswered commits.
        room: OwnedSemaphorePermit,
    },
    Leaves {
        comes_back: bool,
    },
    /// It went on behind records that were gone.
    Lost(v1::MemberLoss),
    /// Its stream ended.
    Gone,
}
