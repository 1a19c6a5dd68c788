//! Runs seeds: `cargo xtask sim --seed N [--count M]`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::{process::ExitCode, thread, time::Instant};

use clap::Parser;
use taffrail_sim::{Options, batch, run};

/// Simulates clusters with faults. The same seed is the same run.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from it on.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Failures after which no other seed is tried.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// How many of its last events a failed run shows.
    #[arg(long, default_value_t = 60)]
    shown: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    if args.count == 1 {
        let options = Options {
            shown: args.shown,
            ..Options::of(args.seed)
        };
        return match run(options) {
            Ok(report) => {
                println!("{}", report.counters);
                println!(
                    "seed {} is good: {} events, {} operations, {} faults, {} acknowledged, {} s, digest {:016x}, in {} ms",
                    args.seed, report.events, report.operations, report.faults, report.acknowledged,
                    report.seconds, report.digest, started.elapsed().as_millis()
                );
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let batch = batch::run_all(args.seed, args.count, threads, args.failures);
    println!("{}", batch.counters);
    for failure in &batch.failures {
        println!("{failure}\n");
    }
    println!(
        "{} good, {} failed, {} events, {} acknowledged, at least {} operations and {} faults each, in {} s",
        batch.good, batch.failures.len(), batch.events, batch.acknowledged,
        batch.operations_min, batch.faults_min, started.elapsed().as_secs()
    );
    let missing = batch.counters.missing();
    if !missing.is_empty() {
        println!("never happened: {}", missing.join(", "));
    }
    if batch.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
