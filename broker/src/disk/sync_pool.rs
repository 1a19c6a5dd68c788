//! Threads that sync. Concurrent syncs of many files share the file system's journal commits.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{
    handle::{Command, Watch},
    inbox::Inbox,
};
use crate::{metrics::Metrics, partition::commit::SyncJob};

/// Hands jobs to the sync threads; closes them when dropped.
#[derive(Debug)]
pub(super) struct SyncPool {
    jobs: Arc<Inbox<SyncJob>>,
}

impl SyncPool {
    pub(super) fn start(
        count: usize,
        writer: &Arc<Inbox<Command>>,
        metrics: &Arc<Metrics>,
        watch: &Watch,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let jobs = Arc::new(Inbox::<SyncJob>::default());
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (jobs, writer, metrics) =
                (Arc::clone(&jobs), Arc::clone(writer), Arc::clone(metrics));
            let watch = watch.clone();
            threads.push(
                thread::Builder::new()
                    .name(format!("disk-sync-{number}"))
                    .spawn(move || {
                        let _watch = watch;
                        while let Some(job) = jobs.take_one() {
                            // The inbox is closed only after the last sync came back.
                            let _ = writer.push(Command::SyncDone(job.run(&metrics)));
                        }
                    })?,
            );
        }
        Ok((Self { jobs }, threads))
    }

    pub(super) fn push(&self, job: SyncJob) {
        // Only dropping the pool closes it.
        let _ = self.jobs.push(job);
    }
}

impl Drop for SyncPool {
    fn drop(&mut self) {
        self.jobs.close();
    }
}
