//! A batch on its way from full to acknowledged.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_record::{BatchBuilder, ProducerStamp, with_producer};

use super::completion::{Acked, Completion};
use crate::error::ProduceError;

/// Records of one partition that travel together.
///
/// Invariant: its completion is decided exactly when the batch leaves the partition's queue for good.
#[derive(Debug)]
pub(super) struct Batch {
    /// Order within the partition. Never changes.
    pub(super) sequence: u64,
    pub(super) body: Body,
    /// Of an idempotent producer, once it was sent.
    pub(super) stamp: Option<ProducerStamp>,
    /// An attempt to send it ended without a word on whether it was stored.
    pub(super) maybe_stored: bool,
    pub(super) records: u32,
    /// Bytes taken from the producer's budget.
    pub(super) taken: usize,
    pub(super) completion: Arc<Completion>,
    /// When its first record came.
    pub(super) opened: Instant,
    /// Id of the request that carries it, while it is under way.
    pub(super) request_id: u64,
    /// When it was last sent; `None`: never.
    pub(super) sent: Option<Instant>,
    /// Why it had to be sent again.
    pub(super) last_error: Option<WireError>,
}

/// Checksum and compression are left to the sending side, outside of the partition's lock.
#[derive(Debug)]
pub(super) enum Body {
    Records(BatchBuilder),
    Built(Bytes, ProducerStamp),
}

impl Batch {
    /// Its bytes.
    pub(super) fn build(&mut self) -> Bytes {
        let stamp = self.stamp.unwrap_or(ProducerStamp::NONE);
        let bytes = match &mut self.body {
            Body::Built(bytes, with) if *with == stamp => bytes.clone(),
            Body::Built(bytes, _) => with_producer(bytes, stamp),
            Body::Records(builder) => {
                builder.set_producer(stamp);
                builder.build().unwrap_or_default()
            }
        };
        self.body = Body::Built(bytes.clone(), stamp);
        bytes
    }

    /// Ends it well.
    pub(super) fn acked(&self, acked: Acked) {
        self.completion.decide(Ok(acked));
    }

    /// Ends it badly.
    pub(super) fn failed(&self, error: ProduceError) {
        self.completion.decide(Err(error));
    }

    pub(super) fn timed_out(&self, after: std::time::Duration) -> ProduceError {
        ProduceError::TimedOut {
            after,
            maybe_stored: self.sent.is_some(),
            last: match (&self.last_error, self.sent) {
                (Some(error), _) => error.to_string(),
                (None, Some(_)) => "no answer from the broker".to_owned(),
                (None, None) => "it waited for its turn".to_owned(),
            },
        }
    }
}
