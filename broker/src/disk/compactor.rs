//! The thread that compacts: one pass at a time over all partitions, no faster than it may, and at a low priority.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    handle::{Command, Watch},
    inbox::Inbox,
};
use crate::{
    config::DiskSettings, datadir::DataDir, environment::Environment, follower::throttle::Throttle,
    metrics::Metrics, partition::compact::CompactionJob,
};

/// How often the log's owner is asked to take in what a pass has done: so much room is used twice at most.
const TAKE_IN_BYTES: u64 = 64 << 20;
/// How much nicer than the threads that producers wait for.
const NICE: i32 = 10;

/// Hands passes to the thread. When it is dropped, the one under way is told to stop.
#[derive(Debug)]
pub(super) struct Compactor {
    jobs: Arc<Inbox<CompactionJob>>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    is_set: Mutex<bool>,
    set: Condvar,
}

/// How fast a pass may go.
struct Pace {
    throttle: Throttle,
    uptime: Arc<dyn Fn() -> u64 + Send + Sync>,
    stop: Arc<Stop>,
    metrics: Arc<Metrics>,
    /// Of which the log's owner has not heard.
    unheard_bytes: u64,
}

impl Compactor {
    pub(super) fn start(
        settings: &DiskSettings,
        dir: &Arc<DataDir>,
        environment: &Environment,
        writer: &Arc<Inbox<Command>>,
        metrics: &Arc<Metrics>,
        watch: &Watch,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let jobs = Arc::new(Inbox::<CompactionJob>::default());
        let stop = Arc::new(Stop::default());
        let compactor = Self {
            jobs: Arc::clone(&jobs),
            stop: Arc::clone(&stop),
        };
        let uptime = Arc::clone(&environment.uptime);
        let mut pace = Pace {
            throttle: Throttle::new(settings.compaction_bytes_per_s_max, uptime()),
            uptime,
            stop,
            metrics: Arc::clone(metrics),
            unheard_bytes: 0,
        };
        let map_bytes = settings.compaction_map_bytes;
        // The directory stays locked until nobody writes to it any more.
        let (watch, dir, writer) = (watch.clone(), Arc::clone(dir), Arc::clone(writer));
        let thread = thread::Builder::new()
            .name("disk-compaction".into())
            .spawn(move || {
                let _held = (watch, dir);
                // Of this thread alone. It is a wish.
                let _ = rustix::process::nice(NICE);
                while let Some(job) = jobs.take_one() {
                    let partition = Arc::clone(job.partition());
                    let begun_ms = (pace.uptime)();
                    let done = job.run(map_bytes, |bytes| {
                        if pace.is_due_to_be_heard(bytes) {
                            let partition = Arc::clone(&partition);
                            // Closed: the log is being closed too.
                            let _ = writer.push(Command::TakeInCompacted(partition));
                        }
                        pace.goes_on_after(bytes)
                    });
                    let took_ms = (pace.uptime)().saturating_sub(begun_ms);
                    pace.metrics.compaction_took(Duration::from_millis(took_ms));
                    let _ = writer.push(Command::CompactionDone(done));
                }
            })?;
        Ok((compactor, thread))
    }

    pub(super) fn push(&self, job: CompactionJob) {
        // Only dropping this closes it.
        let _ = self.jobs.push(job);
    }

    /// The pass under way ends soon, and so do all later ones.
    pub(super) fn stop(&self) {
        *self.stop.lock() = true;
        self.stop.set.notify_all();
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.stop();
        self.jobs.abandon();
    }
}

impl Stop {
    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True, at once, if it is set.
    fn wait(&self, at_most: Duration) -> bool {
        let waited = self
            .set
            .wait_timeout_while(self.lock(), at_most, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Pace {
    fn is_due_to_be_heard(&mut self, bytes: u64) -> bool {
        self.unheard_bytes += bytes;
        let is_due = self.unheard_bytes >= TAKE_IN_BYTES;
        if is_due {
            self.unheard_bytes = 0;
        }
        is_due
    }

    /// Waits for as long as so many bytes have to last.
    fn goes_on_after(&mut self, bytes: u64) -> bool {
        self.metrics.compaction_bytes(bytes);
        self.throttle.take(bytes as usize, (self.uptime)());
        loop {
            let now_ms = (self.uptime)();
            let wait_ms = match self.throttle.check(now_ms) {
                Ok(()) => return !self.stop.wait(Duration::ZERO),
                Err(at_ms) => at_ms.saturating_sub(now_ms),
            };
            if self.stop.wait(Duration::from_millis(wait_ms)) {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes_per_s: u64, stop: &Arc<Stop>) -> Pace {
        let environment = Environment::real(None);
        Pace {
            throttle: Throttle::new(bytes_per_s, (environment.uptime)()),
            uptime: environment.uptime,
            stop: Arc::clone(stop),
            metrics: Arc::default(),
            unheard_bytes: 0,
        }
    }

    #[test]
    fn a_pass_is_held_back_until_it_is_told_to_stop() {
        let stop = Arc::new(Stop::default());
        let compactor = Compactor {
            jobs: Arc::default(),
            stop: Arc::clone(&stop),
        };
        let mut pace = pace(1_000, &stop);
        assert!(pace.goes_on_after(1_000), "a second's worth comes at once");
        let waiting = thread::spawn(move || pace.goes_on_after(1_000_000_000));
        compactor.stop();
        assert!(!waiting.join().expect("ends"), "not after eleven days");
    }

    #[test]
    fn without_a_limit_nothing_is_held_back_and_the_owner_hears_now_and_then() {
        let mut pace = pace(0, &Arc::default());
        let heard = (0..1_000).filter(|_| {
            assert!(pace.goes_on_after(1 << 20));
            pace.is_due_to_be_heard(1 << 20)
        });
        assert_eq!(heard.count(), 15);
    }
}
