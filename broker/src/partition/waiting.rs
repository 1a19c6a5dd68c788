//! Requests whose answers wait: for the leader's disk, or for every in-sync replica.

use taffrail_api::{WireError, v1::ProduceAck};
use taffrail_core::{
    Offset,
    replica::{AckQueue, Acks},
};

use super::ack::{Outcome, Responder};

/// Who wants to be answered, and when.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) responder: Responder,
    pub(super) acks: Acks,
}

/// Written requests, and refusals behind them: what waits for the same is answered in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: AckQueue<(Responder, Outcome)>,
    /// Up to where the last one waits; zero if nobody does.
    leader_end: Offset,
    all_end: Offset,
}

impl Waiting {
    /// The records of a request are in the log before `end`. It may have come before: then it still waits for the requests before it.
    pub(super) fn written(&mut self, asker: Asker, end: Offset, ack: ProduceAck) {
        let last = self.end_of(asker.acks);
        let end = end.max(*last);
        *last = end;
        self.wait(asker, end, Ok(ack));
    }

    /// A request was refused: the answer waits for those of the requests before it, and for nothing else.
    pub(super) fn refused(&mut self, asker: Asker, error: WireError) {
        let end = *self.end_of(asker.acks);
        self.wait(asker, end, Err(error));
    }

    fn wait(&mut self, asker: Asker, end: Offset, outcome: Outcome) {
        let acks = match asker.acks {
            // It was answered already, and holds its room in the queues until the records are stored.
            Acks::None | Acks::Leader => Acks::Leader,
            Acks::All => Acks::All,
        };
        let at_once = self.queue.wait(acks, end, (asker.responder, outcome));
        debug_assert!(at_once.is_none(), "{acks:?} waits");
    }

    /// Answers those that have waited long enough.
    pub(super) fn answer_done(&mut self, durable_end: Offset, high_watermark: Offset) {
        while let Some((responder, outcome)) = self.queue.next_done(durable_end, high_watermark) {
            responder.answer(outcome);
        }
    }

    /// There are too few in-sync replicas for those who wait for them.
    pub(super) fn answer_short(&mut self, error: &WireError) {
        self.all_end = Offset::ZERO;
        while let Some((responder, outcome)) = self.queue.next_short() {
            responder.answer(outcome.and_then(|_| Err(error.clone())));
        }
    }

    /// Nobody is answered by this log any more. Those that were refused are told their own reason.
    pub(super) fn answer_all(&mut self, error: &WireError) {
        (self.leader_end, self.all_end) = (Offset::ZERO, Offset::ZERO);
        while let Some((responder, outcome)) = self.queue.next_deposed() {
            responder.answer(outcome.and_then(|_| Err(error.clone())));
        }
    }

    fn end_of(&mut self, acks: Acks) -> &mut Offset {
        match acks {
            Acks::All => &mut self.all_end,
            Acks::None | Acks::Leader => &mut self.leader_end,
        }
    }
}
