//! Many runs.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use taffrail_core::replica::Mutant;

use crate::{Failure, Options, Report, counters::Counters, run};

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Batch {
    /// Runs that ended well.
    pub good: u64,
    /// Runs that did not, the lowest seed first.
    pub failures: Vec<Failure>,
    /// Of all runs.
    pub counters: Counters,
    /// The fewest client operations of a run.
    pub operations_min: u64,
    /// The fewest faults of a run.
    pub faults_min: u64,
    /// The most actions of a run.
    pub actions_max: u64,
    /// Of all runs.
    pub events: u64,
    /// Records acknowledged with acks=all.
    pub acknowledged: usize,
}

impl Batch {
    fn add(&mut self, outcome: Result<Report, Box<Failure>>) {
        match outcome {
            Ok(report) => {
                let is_first = self.good == 0;
                let least = |old: u64, new: u64| if is_first { new } else { old.min(new) };
                self.operations_min = least(self.operations_min, report.operations);
                self.faults_min = least(self.faults_min, report.faults);
                self.actions_max = self.actions_max.max(report.actions);
                self.good += 1;
                self.counters.add(&report.counters);
                self.events += report.events;
                self.acknowledged += report.acknowledged;
            }
            Err(failure) => self.failures.push(*failure),
        }
    }
}

/// Which seeds, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// So many from it on.
    pub count: u64,
    /// At a time.
    pub threads: usize,
    /// Ends early after so many failures.
    pub failures_max: usize,
    /// Of a failure's last events.
    pub shown: usize,
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
}

/// Runs many seeds.
pub fn run_all(plan: Plan) -> Batch {
    let Plan {
        first,
        count,
        threads,
        failures_max,
        shown,
        mutant,
    } = plan;
    let (next, batch) = (AtomicU64::new(0), Mutex::new(Batch::default()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = lock(&batch).failures.len();
                    if seed >= count || failed >= failures_max {
                        break;
                    }
                    let outcome = run(Options {
                        shown,
                        mutant,
                        ..Options::of(first + seed)
                    });
                    lock(&batch).add(outcome);
                }
            });
        }
    });
    let mut batch = batch.into_inner().unwrap_or_else(PoisonError::into_inner);
    batch.failures.sort_by_key(|failure| failure.seed);
    batch
}

fn lock(batch: &Mutex<Batch>) -> std::sync::MutexGuard<'_, Batch> {
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}
