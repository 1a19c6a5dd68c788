//! The requests of idempotent producers: stored once, and none before the one that precedes it. Looked at before each append; what is in the log
//! already is answered as its original was, and not before it.

use std::collections::HashMap;

use taffrail_api::{WireError, convert, v1::ProduceAck};
use taffrail_core::{
    ErrorCode,
    producers::{SequenceCheck, SequencedBatch, StoredBatch},
    replica::{Mutant, is_broken},
};
use taffrail_log::sequenced;
use taffrail_record::BatchHeader;

use super::{append::OwnedLog, verify::Verified, waiting::Asker};

/// The batches of one request, which are of one producer and in its order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    first: SequencedBatch,
    last: SequencedBatch,
}

impl Run {
    /// `None`: the producer is not idempotent.
    pub(super) fn of(content: &Verified) -> Option<Self> {
        Some(Self {
            first: content.headers.first().and_then(sequenced)?,
            last: content.headers.last().and_then(sequenced)?,
        })
    }
}

/// What comes next of the producers of an append that is being put together: the table does not know of it yet.
#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<i64, SequencedBatch>);

impl Pending {
    /// May `run` be part of the append? Not if it does not go on where its producer is.
    pub(super) fn takes(&self, run: Option<Run>) -> bool {
        let Some(Run { first, .. }) = run else {
            return true;
        };
        self.0.get(&first.producer_id).is_none_or(|last| {
            last.epoch == first.epoch && last.next_sequence() == first.base_sequence
        })
    }

    pub(super) fn add(&mut self, run: Option<Run>) {
        if let Some(Run { last, .. }) = run {
            self.0.insert(last.producer_id, last);
        }
    }
}

impl OwnedLog {
    /// Is a request the next one of its producer (`None`), or in the log already? `pending` takes it.
    pub(super) fn check_sequence(
        &self,
        content: &Verified,
        pending: &Pending,
        wall_ms: i64,
    ) -> Result<Option<StoredBatch>, WireError> {
        let Some(Run { first, last }) = Run::of(content) else {
            return Ok(None);
        };
        if pending.0.contains_key(&first.producer_id) {
            return Ok(None);
        }
        let producers = self.log.producers();
        match producers.check(&first, wall_ms) {
            SequenceCheck::New => Ok(None),
            SequenceCheck::Duplicate(start) => match producers.check(&last, wall_ms) {
                SequenceCheck::Duplicate(end) => Ok(Some(StoredBatch {
                    end: end.end,
                    ..start
                })),
                other => Err(self.out_of_sequence(&last, other)),
            },
            other => Err(self.out_of_sequence(&first, other)),
        }
    }

    fn out_of_sequence(&self, batch: &SequencedBatch, check: SequenceCheck) -> WireError {
        let label = self.partition.label();
        let SequencedBatch {
            producer_id,
            epoch,
            base_sequence,
            ..
        } = batch;
        let (code, message) = match check {
            SequenceCheck::StaleEpoch { current } => (
                ErrorCode::ProducerFenced,
                format!(
                    "{label}: producer {producer_id} is in use with epoch {current}, the batch has {epoch}; nothing was stored, get a new producer id"
                ),
            ),
            SequenceCheck::Unknown => (
                ErrorCode::UnknownProducer,
                format!(
                    "{label}: producer {producer_id} is not known here (any more), and the batch begins with sequence number {base_sequence}; nothing was stored, begin anew with a higher epoch unless the batch was sent before"
                ),
            ),
            SequenceCheck::OutOfOrder { expected } => (
                ErrorCode::OutOfOrderSequence,
                format!(
                    "{label}: the batch of producer {producer_id} begins with sequence number {base_sequence}, expected is {expected}; nothing was stored, send what is before it first"
                ),
            ),
            SequenceCheck::New | SequenceCheck::Duplicate(_) => (
                ErrorCode::OutOfOrderSequence,
                format!(
                    "{label}: some batches of the request are stored and others are not; send what was sent before, unchanged"
                ),
            ),
        };
        WireError::new(code, message)
    }

    /// Answers a request that is in the log: as soon as its original may be answered, and after those before it.
    pub(super) fn answer_again(&mut self, asker: Asker, stored: StoredBatch) {
        let ack = ProduceAck {
            base_offset: convert::offset_to_wire(stored.base_offset),
            append_time_ms: stored.append_time_ms,
            log_start_offset: convert::offset_to_wire(self.log.log_start()),
        };
        if is_broken(Mutant::DuplicateAnsweredEarly) {
            return asker.responder.answer(Ok(ack));
        }
        self.waiting.written(asker, stored.end, ack);
    }
}

/// Are the batches of a request so far of one producer, or of none, and in its order?
pub(super) fn check_order(
    before: Option<&BatchHeader>,
    header: &BatchHeader,
) -> Result<(), WireError> {
    let run = sequenced(header);
    if header.producer_id >= 0 && run.is_none() {
        return Err(WireError::invalid(
            "a batch has a producer id, but no producer epoch or no sequence number; set all three or none",
        ));
    }
    let Some(before) = before else {
        return Ok(());
    };
    match (sequenced(before), run) {
        (None, None) => Ok(()),
        (Some(before), Some(run))
            if before.producer_id == run.producer_id
                && before.epoch == run.epoch
                && before.next_sequence() == run.base_sequence =>
        {
            Ok(())
        }
        _ => Err(WireError::invalid(
            "the batches of a request are of several producers, or not in the order of their sequence numbers; send one request for each producer",
        )),
    }
}
