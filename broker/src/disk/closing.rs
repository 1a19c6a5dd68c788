//! The clean stop of all logs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::partition::append::OwnedLog;

/// Logs are closed by so many threads at a time.
const THREADS: usize = 8;

/// Leaves the clean-stop marks, on several threads: each costs a few syncs. The number of logs that did not get one.
pub(super) fn close(logs: Vec<OwnedLog>) -> usize {
    let (queue, failed) = (Mutex::new(logs), AtomicUsize::new(0));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(log) = next() {
                    let partition = Arc::clone(&log.partition);
                    if let Err(error) = log.close() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(topic = %partition.topic_name, partition = %partition.id.partition,
                            %error, "no clean stop; the next start recovers this partition");
                    }
                }
            });
        }
    });
    failed.into_inner()
}
