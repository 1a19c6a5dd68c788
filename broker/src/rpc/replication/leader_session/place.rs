//! One partition of a session: where the follower stands, and what it is owed.

use taffrail_api::{convert::fetch_answer, v1};
use taffrail_core::{
    Offset, TopicPartition,
    replica::{FetchAnswer, FetchOutcome, FetchRequest},
};

use super::super::logs::Led;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) request: FetchRequest,
    pub(super) state: State,
    pub(super) in_flight: usize,
    /// The high watermark that the follower knows, of this epoch.
    pub(super) told: Option<Offset>,
    pub(super) is_ready: bool,
    pub(super) is_quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is asked: it was answered, or only reported.
    Answered,
    /// To be compared by the owner of the log.
    Asked,
    /// It waits for something new.
    Matched,
    Reading,
}

impl Place {
    /// Where a follower says for the first time that it stands.
    pub(super) const fn new(request: FetchRequest, state: State) -> Self {
        Self {
            request,
            state,
            in_flight: 0,
            told: None,
            is_ready: false,
            is_quiet: false,
        }
    }

    /// The answer to a log that is a beginning of the leader's: batches are added, if there are some.
    pub(super) fn answer(&mut self, id: TopicPartition, led: Led) -> v1::Answer {
        self.state = State::Answered;
        self.told = Some(led.high_watermark);
        let answer = FetchAnswer {
            leader_epoch: self.request.leader_epoch,
            tail: self.request.tail,
            log_start: led.log_start,
            high_watermark: led.high_watermark,
            outcome: FetchOutcome::Matches,
        };
        fetch_answer(id, &self.request, Ok(answer))
    }
}

/// Is an answer to the one an answer to the other as well?
pub(super) fn same_place(one: &FetchRequest, other: &FetchRequest) -> bool {
    one.leader_epoch == other.leader_epoch && one.tail == other.tail
}
