//! One run, or many, and what came of them.

use std::{process::ExitCode, time::Instant};

use taffrail_sim::{batch, run};

use crate::args::Args;

/// Among so many runs each rare path is met.
const RARE_PATHS_RUNS_MIN: u64 = 300;

/// Runs one seed.
pub(crate) fn one(args: &Args) -> ExitCode {
    let started = Instant::now();
    match run(args.options()) {
        Ok(report) => {
            println!("{}", report.counters);
            println!(
                "seed {} is good: {} events, {} operations, {} faults, {} acknowledged, {} s, digest {:016x}, in {} ms",
                args.seed,
                report.events,
                report.operations,
                report.faults,
                report.acknowledged,
                report.seconds,
                report.digest,
                started.elapsed().as_millis()
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the seeds that were asked for.
pub(crate) fn many(args: &Args) -> ExitCode {
    let started = Instant::now();
    let batch = batch::run_all(args.plan());
    println!("{}", batch.counters);
    for failure in &batch.failures {
        println!("{failure}\n");
    }
    println!(
        "{} good, {} failed, {} events, {} acknowledged, at least {} operations, {} faults and {} s each, at most {} actions, in {} s",
        batch.good,
        batch.failures.len(),
        batch.events,
        batch.acknowledged,
        batch.operations_min,
        batch.faults_min,
        batch.seconds_min,
        batch.actions_max,
        started.elapsed().as_secs()
    );
    let missing = batch.counters.missing();
    if !missing.is_empty() {
        println!("never happened: {}", missing.join(", "));
    }
    let short = batch.shortfalls();
    for short in &short {
        println!("{short}");
    }
    let is_whole = short.is_empty() && (missing.is_empty() || batch.good < RARE_PATHS_RUNS_MIN);
    if batch.failures.is_empty() && is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
