//! Sequence numbers of an idempotent producer: given to batches when they are sent first, kept over retries.
//!
//! The leader takes a partition's batches without a gap, so that one is stored only after all before it. When it refuses a batch as out of order,
//! and one before that is still to be sent, it goes again after that one. When there is none, the batches before it were given up (they took too
//! long, or were refused for good), or the leader does not know the producer any more: then the numbers begin anew, under the next epoch. Only
//! those batches go on with new numbers of which no attempt was left without an answer; the others fail, for they could be stored twice.

use taffrail_api::WireError;
use taffrail_core::{ErrorCode, producers::sequence_after};
use taffrail_record::ProducerStamp;

use super::{PartitionQueue, state::State};
use crate::{error::ProduceError, producer::batch::Batch};

/// What the next batch gets.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    epoch: i16,
    next: i32,
    /// They have to begin anew, for this reason.
    gap: Option<WireError>,
}

/// A batch that was given up, and why.
pub(super) type Failed = (Batch, ProduceError);

impl Numbers {
    /// Numbers a batch that was not sent before.
    pub(super) fn stamp(&mut self, batch: &mut Batch, producer_id: i64) {
        batch.stamp.get_or_insert_with(|| {
            let base_sequence = self.next;
            self.next = sequence_after(base_sequence, batch.records);
            ProducerStamp {
                id: producer_id,
                epoch: self.epoch,
                base_sequence,
            }
        });
    }
}

/// Does the leader say that a batch is not the next one? Then nothing of it was stored in this attempt.
pub(super) const fn is_out_of_order(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer
    )
}

impl State {
    /// The leader refused `batch` as out of order. It goes again: behind those before it, or anew.
    pub(super) fn refused_out_of_order(&mut self, batch: Batch) {
        let precedes = |other: &Batch| other.stamp.is_some() && other.sequence < batch.sequence;
        let waits_for_another = self.in_flight.iter().chain(&self.sealed).any(precedes);
        if !waits_for_another {
            self.numbers.gap.clone_from(&batch.last_error);
        }
        self.put_back(batch);
    }

    /// The name is another topic's now, whose log knows nothing of this producer: what was stored in the one before is not stored twice there.
    pub(super) fn number_for_another_topic(&mut self) {
        self.numbers = Numbers {
            epoch: self.numbers.epoch,
            ..Numbers::default()
        };
        for batch in &mut self.sealed {
            batch.stamp = None;
            batch.maybe_stored = false;
        }
    }

    /// Nothing is under way: if numbers have to begin anew they do. Gives the batches that must not be sent again.
    pub(super) fn begin_anew(&mut self) -> Vec<Failed> {
        let Some(error) = self.numbers.gap.take() else {
            return Vec::new();
        };
        let epoch = self.numbers.epoch.checked_add(1);
        let mut failed = Vec::new();
        for mut batch in std::mem::take(&mut self.sealed) {
            if batch.stamp.is_some() && batch.maybe_stored {
                failed.push((batch, ProduceError::OutcomeUnknown(error.clone())));
            } else if batch.stamp.is_some() && epoch.is_none() {
                failed.push((batch, ProduceError::Refused(error.clone())));
            } else {
                batch.stamp = None;
                self.sealed.push_back(batch);
            }
        }
        if let Some(epoch) = epoch {
            self.numbers = Numbers {
                epoch,
                ..Numbers::default()
            };
        }
        failed
    }
}

impl PartitionQueue {
    pub(super) fn fail_all(&self, failed: Vec<Failed>) {
        for (batch, error) in failed {
            tracing::warn!(partition = %self.index(), records = batch.records, %error, "records were given up");
            self.fail(&batch, error);
        }
    }
}
