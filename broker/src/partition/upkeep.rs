//! What a partition's log needs now and then and no producer waits for: expiry, checkpoints, seals. Planned by the log's owner, run on a thread of
//! its own, one at a time.

use std::sync::Arc;

use taffrail_log::{LogError, Upkeep};

use super::{Partition, append::OwnedLog};

/// What is due as soon as nothing else of the log is out.
#[derive(Debug, Default)]
pub(crate) struct Due {
    expiry: bool,
    checkpoint: bool,
    /// A seal could not be written, for want of room perhaps: it is tried again with the next checkpoint.
    seal_failed: bool,
}

/// A planned upkeep.
#[derive(Debug)]
pub(crate) struct UpkeepJob {
    partition: Arc<Partition>,
    upkeep: Upkeep,
}

/// What the log's owner has to know of it.
#[derive(Debug)]
pub(crate) struct UpkeepDone {
    pub(crate) partition: Arc<Partition>,
    upkeep: Upkeep,
    result: Result<(), LogError>,
}

impl UpkeepJob {
    /// Blocking.
    pub(crate) fn run(self) -> UpkeepDone {
        let result = self.upkeep.run();
        UpkeepDone {
            partition: self.partition,
            upkeep: self.upkeep,
            result,
        }
    }
}

impl OwnedLog {
    /// What retention allows to drop is to go.
    pub(crate) fn expiry_is_due(&mut self) {
        self.due.expiry = true;
    }

    /// The recovery point is to be written, if it moved.
    pub(crate) fn checkpoint_is_due(&mut self) {
        self.due.checkpoint = true;
        self.due.seal_failed = false;
    }

    /// The next thing that is due; `None` while one is out.
    pub(crate) fn next_upkeep(&mut self, now_ms: i64) -> Option<UpkeepJob> {
        if self.log.upkeep_is_out() || self.partition.fault().is_some() {
            return None;
        }
        let planned = self
            .plan_expiry(now_ms)
            .or_else(|| self.plan_checkpoint())
            .or_else(|| self.plan_seal());
        planned.map(|upkeep| self.job(upkeep))
    }

    fn plan_expiry(&mut self, now_ms: i64) -> Option<Upkeep> {
        if !std::mem::take(&mut self.due.expiry) {
            return None;
        }
        let high_watermark = self.high_watermark();
        match self.log.plan_expiry(now_ms, high_watermark) {
            Ok(planned) => planned,
            Err(error) => {
                self.warn(&error, "cannot expire old segments");
                None
            }
        }
    }

    fn plan_checkpoint(&mut self) -> Option<Upkeep> {
        if !std::mem::take(&mut self.due.checkpoint) {
            return None;
        }
        let high_watermark = self.high_watermark();
        // Its only error is the fault of which everybody knows.
        self.log.plan_checkpoint(high_watermark).unwrap_or_default()
    }

    fn plan_seal(&mut self) -> Option<Upkeep> {
        if self.due.seal_failed {
            return None;
        }
        self.log.plan_seal()
    }

    /// Takes one back; gives what has to follow it.
    pub(crate) fn upkeep_done(&mut self, done: UpkeepDone) -> Option<UpkeepJob> {
        let UpkeepDone { upkeep, result, .. } = done;
        let seals = upkeep.seals();
        match self.log.upkeep_done(upkeep, result) {
            Ok(Some((expired, removal))) => {
                tracing::info!(topic = %self.partition.topic_name, partition = %self.partition.id.partition,
                    segments = expired.segments, bytes = expired.bytes, log_start = %expired.new_log_start,
                    "old segments expired");
                self.expired();
                self.publish();
                Some(self.job(removal))
            }
            Ok(None) => None,
            Err(error) => {
                self.due.seal_failed |= seals;
                self.warn(
                    &error,
                    "cannot seal a segment, write the recovery point or remove old segments; a crash now means a longer recovery",
                );
                None
            }
        }
    }

    fn job(&self, upkeep: Upkeep) -> UpkeepJob {
        UpkeepJob {
            partition: Arc::clone(&self.partition),
            upkeep,
        }
    }

    fn warn(&self, error: &LogError, what: &str) {
        tracing::warn!(topic = %self.partition.topic_name, partition = %self.partition.id.partition, %error, "{what}");
    }
}
