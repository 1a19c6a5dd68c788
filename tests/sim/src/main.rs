//! Runs seeds: `cargo xtask sim --seed N [--count M]`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::{process::ExitCode, thread, time::Instant};

use clap::Parser;
use taffrail_sim::{
    Options,
    batch::{self, Plan},
    run,
};

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
    /// The rule that is broken, such as `fsync-skipped`.
    #[cfg(feature = "mutants")]
    #[arg(long, conflicts_with = "mutants")]
    mutant: Option<String>,
    /// Breaks every rule, one at a time, until a seed shows it.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(feature = "mutants")]
    if args.mutants {
        return mutants::all(&args);
    }
    if args.count > 1 {
        return many(&args);
    }
    let started = Instant::now();
    let options = Options {
        shown: args.shown,
        mutant: mutant(&args),
        ..Options::of(args.seed)
    };
    match run(options) {
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

fn plan(args: &Args) -> Plan {
    Plan {
        first: args.seed,
        count: args.count,
        threads: thread::available_parallelism().map_or(1, usize::from),
        failures_max: args.failures,
        shown: args.shown,
        mutant: mutant(args),
    }
}

fn many(args: &Args) -> ExitCode {
    let started = Instant::now();
    let batch = batch::run_all(plan(args));
    println!("{}", batch.counters);
    for failure in &batch.failures {
        println!("{failure}\n");
    }
    println!(
        "{} good, {} failed, {} events, {} acknowledged, at least {} operations and {} faults each, in {} s",
        batch.good,
        batch.failures.len(),
        batch.events,
        batch.acknowledged,
        batch.operations_min,
        batch.faults_min,
        started.elapsed().as_secs()
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

#[cfg(not(feature = "mutants"))]
const fn mutant(_: &Args) -> Option<taffrail_core::replica::Mutant> {
    None
}

#[cfg(feature = "mutants")]
use mutants::mutant;

#[cfg(feature = "mutants")]
mod mutants {
    use taffrail_core::replica::Mutant;

    use super::{Args, ExitCode, Plan, batch, plan};

    /// The one that was named.
    pub(super) fn mutant(args: &Args) -> Option<Mutant> {
        let name = args.mutant.as_ref()?;
        let named = Mutant::SIMULATED.into_iter().find(|m| name_of(*m) == *name);
        if named.is_none() {
            let all: Vec<_> = Mutant::SIMULATED.into_iter().map(name_of).collect();
            println!("there is no {name}; the rules are {}", all.join(", "));
            std::process::exit(2);
        }
        named
    }

    pub(super) fn all(args: &Args) -> ExitCode {
        let mut missed = 0;
        for mutant in Mutant::SIMULATED {
            let plan = Plan {
                count: args.count.max(300),
                failures_max: 1,
                shown: 0,
                mutant: Some(mutant),
                ..plan(args)
            };
            let found = batch::run_all(plan);
            if let Some(failure) = found.failures.first() {
                let (name, seed) = (name_of(mutant), failure.seed);
                println!("caught  {name:<34} seed {seed:>4}: {}", failure.broken);
            } else {
                missed += 1;
                println!("missed  {}", name_of(mutant));
            }
        }
        println!("{missed} missed");
        if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// `FsyncSkipped` is `fsync-skipped`.
    fn name_of(mutant: Mutant) -> String {
        let mut name = String::new();
        for letter in format!("{mutant:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }
}
