//! From durable to visible: a sync thread syncs, moves the high watermark, wakes the fetches, answers the producers.

use std::{sync::Arc, time::Instant};

use taffrail_core::Offset;
use taffrail_log::{LogError, SyncToken};

use super::{Fault, Partition, append::Waiting};
use crate::metrics::Metrics;

/// What one sync makes durable, and who waits for it.
#[derive(Debug)]
pub(crate) struct SyncJob {
    pub(crate) partition: Arc<Partition>,
    pub(crate) token: SyncToken,
    /// The log end when the token was taken.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) waiting: Vec<Waiting>,
}

/// What the log's owner has to know of a finished sync.
#[derive(Debug)]
pub(crate) struct SyncDone {
    pub(crate) partition: Arc<Partition>,
    pub(crate) token: SyncToken,
    pub(crate) result: Result<(), LogError>,
}

impl SyncJob {
    /// Syncs and answers. A failed sync takes the partition offline: it is never tried again as if nothing had happened.
    pub(crate) fn run(self, metrics: &Metrics) -> SyncDone {
        let started = Instant::now();
        let result = self.token.sync();
        metrics.synced(started.elapsed(), self.bytes);
        match &result {
            Ok(()) => {
                self.partition.commit(self.end);
                for Waiting { responder, outcome } in self.waiting {
                    responder.answer(outcome);
                }
            }
            Err(error) => {
                self.partition.fail(Fault::poisoned(error));
                for Waiting { responder, outcome } in self.waiting {
                    let offline = self.partition.offline(&error.to_string());
                    responder.answer(outcome.and(Err(offline)));
                }
            }
        }
        SyncDone {
            partition: self.partition,
            token: self.token,
            result,
        }
    }
}

impl Partition {
    /// Everything below `end` counts as stored on every in-sync replica: consumers may see it. With one replica that is this broker's
    /// own durable end.
    pub(crate) fn commit(&self, end: Offset) {
        if self.progress.commit(end) {
            self.waiters.wake();
        }
    }
}
