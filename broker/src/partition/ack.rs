//! The answer to a produce request, on its way through the disk threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use taffrail_api::{
    WireError,
    v1::{ProduceAck, ProduceResponse, produce_response},
};
use taffrail_core::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;

use super::{chain::ChainLink, untaken::Untaken};
use crate::metrics::Metrics;

/// What a produce request is answered.
pub(crate) type Outcome = Result<ProduceAck, WireError>;
/// The answers of one stream, in the order in which they are sent. Bounded: each unanswered request holds a permit of the stream, and no request is
/// read while too many answers are not taken.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) sender: mpsc::UnboundedSender<Result<ProduceResponse, Status>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) untaken: Arc<Untaken>,
}

impl Answers {
    /// Sends one answer. Whoever asked may be gone: then nobody misses it.
    pub(crate) fn send(&self, ticket: &Ticket, outcome: Outcome) {
        self.metrics.produced(ticket.started.elapsed());
        if let Err(error) = &outcome {
            self.metrics.error("produce", error.code);
            ticket.chain.break_off(error);
        }
        self.push(Ok(response(ticket.request_id, outcome)));
    }

    /// Says why the stream ends.
    pub(crate) fn end(&self, status: Status) {
        self.push(Err(status));
    }

    fn push(&self, answer: Result<ProduceResponse, Status>) {
        self.untaken.add();
        // The client may be gone.
        let _ = self.sender.send(answer);
    }
}

/// Answers one request exactly once, also if it is dropped, and then gives back the room the request took.
#[derive(Debug)]
pub(crate) struct Responder {
    sink: Option<Sink>,
    _room: Room,
}

/// Room in the queues of the stream and of the broker; given back when dropped.
pub(crate) type Room = [Option<OwnedSemaphorePermit>; 2];

#[derive(Debug)]
enum Sink {
    Stream {
        answers: Arc<Answers>,
        ticket: Ticket,
    },
    Once(oneshot::Sender<Outcome>),
    Nobody,
}

/// One request of a stream, shared with whoever watches its deadline: the first one to claim it answers.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) request_id: u64,
    pub(crate) started: Instant,
    pub(crate) chain: ChainLink,
    claimed: Arc<AtomicBool>,
}

impl Ticket {
    pub(crate) fn new(request_id: u64, chain: ChainLink) -> Self {
        Self {
            request_id,
            started: Instant::now(),
            chain,
            claimed: Arc::default(),
        }
    }

    /// True for the first caller only.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }
}

impl Responder {
    /// To a stream.
    pub(crate) fn stream(answers: &Arc<Answers>, ticket: Ticket, room: Room) -> Self {
        let answers = Arc::clone(answers);
        Self {
            sink: Some(Sink::Stream { answers, ticket }),
            _room: room,
        }
    }

    /// To one who awaits it.
    pub(crate) fn once(room: Room) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let sink = Sink::Once(sender);
        (
            Self {
                sink: Some(sink),
                _room: room,
            },
            receiver,
        )
    }

    /// To nobody: the request was answered when it was queued.
    pub(crate) const fn nobody(room: Room) -> Self {
        Self {
            sink: Some(Sink::Nobody),
            _room: room,
        }
    }

    /// Why this request must be refused: one before it in its chain has failed.
    pub(crate) fn broken_chain(&self) -> Option<WireError> {
        match &self.sink {
            Some(Sink::Stream { ticket, .. }) => ticket.chain.broken(),
            _ => None,
        }
    }

    /// This request fails: those of its chain that follow must not overtake it. To be called before the next one is looked at.
    pub(crate) fn break_chain(&self, error: &WireError) {
        if let Some(Sink::Stream { ticket, .. }) = &self.sink {
            ticket.chain.break_off(error);
        }
    }

    pub(crate) fn answer(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        match self.sink.take() {
            Some(Sink::Stream { answers, ticket }) if ticket.claim() => {
                answers.send(&ticket, outcome);
            }
            Some(Sink::Once(sender)) => {
                // Whoever asked may have given up.
                let _ = sender.send(outcome);
            }
            _ => {}
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.sink.is_some() {
            self.send(Err(WireError::new(
                ErrorCode::ShuttingDown,
                "the broker stopped before the request was done; whether it was stored is not known",
            )));
        }
    }
}

/// The answer as it goes over the wire.
pub(crate) fn response(request_id: u64, outcome: Outcome) -> ProduceResponse {
    ProduceResponse {
        request_id,
        result: Some(match outcome {
            Ok(ack) => produce_response::Result::Ack(ack),
            Err(error) => produce_response::Result::Error(error.into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_dropped_is_answered_all_the_same() {
        let (responder, mut receiver) = Responder::once(Room::default());
        drop(responder);
        let error = receiver
            .try_recv()
            .expect("answered")
            .expect_err("not stored");
        assert_eq!(error.code, ErrorCode::ShuttingDown);
    }

    #[test]
    fn an_answer_after_the_deadline_is_not_sent() {
        let (sender, mut received) = mpsc::unbounded_channel();
        let answers = Arc::new(Answers {
            sender,
            metrics: Arc::default(),
            untaken: Arc::default(),
        });
        let ticket = Ticket::new(1, ChainLink::default());
        let responder = Responder::stream(&answers, ticket.clone(), Room::default());
        assert!(ticket.claim(), "the deadline was first");
        responder.answer(Ok(ProduceAck::default()));
        assert!(received.try_recv().is_err());
    }
}
