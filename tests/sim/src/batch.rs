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

/// Client operations of each run: with fewer, it has tested nothing.
const OPERATIONS_MIN: u64 = 300;
/// Faults of each run.
const FAULTS_MIN: u64 = 5;
/// Simulated seconds of each run.
const SECONDS_MIN: u64 = 60;

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
    /// The fewest simulated seconds of a run.
    pub seconds_min: u64,
    /// The most actions of a run.
    pub actions_max: u64,
    /// Of all runs.
    pub events: u64,
    /// Records acknowledged with acks=all.
    pub acknowledged: usize,
}

impl Batch {
    /// What a run that ended well had too little of to mean anything.
    pub fn shortfalls(&self) -> Vec<String> {
        let least = [
            (self.operations_min, OPERATIONS_MIN, "operations"),
            (self.faults_min, FAULTS_MIN, "faults"),
            (self.seconds_min, SECONDS_MIN, "seconds"),
        ];
        let short = least
            .into_iter()
            .filter(|(had, least, _)| self.good > 0 && had < least);
        short
            .map(|(had, least, what)| format!("a run had {had} {what}, {least} are needed"))
            .collect()
    }

    fn add(&mut self, outcome: Result<Report, Box<Failure>>) {
        match outcome {
            Ok(report) => {
                let is_first = self.good == 0;
                let least = |old: u64, new: u64| if is_first { new } else { old.min(new) };
                self.operations_min = least(self.operations_min, report.operations);
                self.faults_min = least(self.faults_min, report.faults);
                self.seconds_min = least(self.seconds_min, report.seconds);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operations: u64, faults: u64, seconds: u64) -> Report {
        Report {
            counters: Counters::default(),
            events: 1,
            operations,
            faults,
            acknowledged: 1,
            seconds,
            actions: 1,
            digest: 0,
        }
    }

    #[test]
    fn one_run_that_did_too_little_is_told_among_many() {
        let mut batch = Batch::default();
        assert!(batch.shortfalls().is_empty(), "no run ended well");
        batch.add(Ok(of(OPERATIONS_MIN, FAULTS_MIN, SECONDS_MIN)));
        assert!(batch.shortfalls().is_empty());
        batch.add(Ok(of(OPERATIONS_MIN - 1, FAULTS_MIN - 1, SECONDS_MIN - 1)));
        batch.add(Ok(of(1_000, 10, 60)));
        assert_eq!(
            batch.shortfalls(),
            [
                "a run had 299 operations, 300 are needed",
                "a run had 4 faults, 5 are needed",
                "a run had 59 seconds, 60 are needed",
            ]
        );
    }
}
