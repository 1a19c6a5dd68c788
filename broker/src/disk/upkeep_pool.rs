//! Threads for what no producer waits for: seals, checkpoints, removals, deletes. Apart from the sync threads, so that a thousand checkpoints
//! do not stand in the way of one acknowledgement.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use taffrail_log::LogError;
use tokio::sync::oneshot;

use super::{
    handle::{Command, Watch},
    inbox::Inbox,
};
use crate::{
    datadir::DataDir,
    partition::{
        append::{OwnedLog, Removal},
        upkeep::UpkeepJob,
    },
};

/// Two keep the disk's journal busy; more would only compete with the syncs.
const THREADS: usize = 2;

/// What waits for these threads: at most one upkeep of each log, and deletes.
#[derive(Debug)]
pub(super) enum Job {
    Upkeep(UpkeepJob),
    Remove {
        log: Box<OwnedLog>,
        how: Removal,
        reply: oneshot::Sender<Result<(), LogError>>,
    },
}

/// Hands jobs to the threads. When it is dropped, what waits is dropped too: the logs are closed by then, or cut off.
#[derive(Debug)]
pub(super) struct UpkeepPool {
    jobs: Arc<Inbox<Job>>,
}

impl UpkeepPool {
    pub(super) fn start(
        dir: &Arc<DataDir>,
        writer: &Arc<Inbox<Command>>,
        watch: &Watch,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let jobs = Arc::new(Inbox::<Job>::default());
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let (jobs, writer) = (Arc::clone(&jobs), Arc::clone(writer));
            // The directory stays locked until nobody writes to it any more.
            let (watch, dir) = (watch.clone(), Arc::clone(dir));
            threads.push(
                thread::Builder::new()
                    .name(format!("disk-upkeep-{number}"))
                    .spawn(move || {
                        let _held = (watch, dir);
                        while let Some(job) = jobs.take_one() {
                            run(job, &writer);
                        }
                    })?,
            );
        }
        Ok((Self { jobs }, threads))
    }

    pub(super) fn push(&self, job: Job) {
        // Only dropping the pool closes it.
        let _ = self.jobs.push(job);
    }
}

impl Drop for UpkeepPool {
    fn drop(&mut self) {
        self.jobs.abandon();
    }
}

fn run(job: Job, writer: &Inbox<Command>) {
    match job {
        Job::Upkeep(job) => {
            // Closed: the log was closed too, and this counts for nothing.
            let _ = writer.push(Command::UpkeepDone(job.run()));
        }
        Job::Remove { log, how, reply } => {
            // The one who asked may have stopped waiting.
            let _ = reply.send(log.remove(how));
        }
    }
}
