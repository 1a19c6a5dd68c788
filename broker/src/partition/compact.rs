//! Compaction of a partition's log: planned by the log's owner, run on a thread of its own.

use std::sync::Arc;

use taffrail_log::{Compacted, Compaction, LogError};

use super::{Fault, Partition, append::OwnedLog};

/// A pass that is planned.
#[derive(Debug)]
pub(crate) struct CompactionJob {
    partition: Arc<Partition>,
    pass: Compaction,
}

/// What the log's owner has to know of it.
#[derive(Debug)]
pub(crate) struct CompactionDone {
    pub(crate) partition: Arc<Partition>,
    pass: Compaction,
    result: Result<Option<Compacted>, LogError>,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Went over so many bytes.
    Done {
        bytes: u64,
        removed_bytes: u64,
    },
    Stopped,
    Failed,
}

impl CompactionJob {
    pub(crate) const fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Blocking, for as long as `pace` says; see [`Compaction::run`].
    pub(crate) fn run(self, map_bytes: usize, pace: impl FnMut(u64) -> bool) -> CompactionDone {
        let result = self.pass.run(map_bytes, pace);
        CompactionDone {
            partition: self.partition,
            pass: self.pass,
            result,
        }
    }
}

impl OwnedLog {
    /// The next pass, if one is due. Says what waits for it, too.
    pub(crate) fn next_compaction(&mut self, now_ms: i64) -> Option<CompactionJob> {
        if self.partition.fault().is_some() {
            return None;
        }
        self.publish_cleanliness(now_ms);
        let tombstones_from = self.tombstones_from();
        let planned = self.log.plan_compaction(now_ms, tombstones_from);
        // Its only error is the fault of which everybody knows.
        let pass = planned.unwrap_or_default()?;
        self.raise_delete_horizon();
        Some(CompactionJob {
            partition: Arc::clone(&self.partition),
            pass,
        })
    }

    /// What a pass has done so far is served, and the room of what it replaced is free.
    pub(crate) fn take_in_compacted(&mut self) {
        self.log.take_in_compacted();
        self.publish();
    }

    /// Takes a pass back.
    pub(crate) fn compaction_done(&mut self, done: CompactionDone, now_ms: i64) -> Ended {
        let result = self.log.compaction_done(done.pass, done.result);
        self.publish();
        self.publish_cleanliness(now_ms);
        match result {
            Ok(Some(compacted)) => {
                let bytes = compacted.bytes_before;
                let removed_bytes = bytes.saturating_sub(compacted.bytes_after);
                tracing::info!(topic = %self.partition.topic_name, partition = %self.partition.id.partition,
                    cleaned_to = %compacted.cleaned_to, bytes, removed_bytes,
                    removed_records = compacted.records_removed, "compacted");
                Ended::Done {
                    bytes,
                    removed_bytes,
                }
            }
            Ok(None) => Ended::Stopped,
            Err(error) => {
                self.compaction_failed(&error);
                Ended::Failed
            }
        }
    }

    fn compaction_failed(&mut self, error: &LogError) {
        if self.log.is_poisoned() {
            self.poison(Fault::poisoned(error));
        } else if matches!(error, LogError::Damaged { .. }) {
            self.partition.fail(Fault::of(error));
        } else {
            tracing::warn!(topic = %self.partition.topic_name, partition = %self.partition.id.partition, %error,
                "cannot compact; the log is as it was, and it is tried again");
        }
    }

    fn publish_cleanliness(&self, now_ms: i64) {
        let state = self.log.cleanliness(now_ms).unwrap_or_default();
        let progress = &self.partition.progress;
        progress.set_cleanliness(state.cleaned_to, state.dirty_bytes);
    }
}
