//! Runs seeds: `cargo xtask sim --seed N [--count M]`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::{fs, io, process::ExitCode, thread, time::Instant};

use clap::Parser;
use taffrail_core::replica::Mutant;
use taffrail_sim::{
    Options,
    batch::{self, Plan},
    mutants, run,
};

/// Each rule has to be seen broken by one of so many.
const SEEDS_OF_CI: u64 = 300;
/// Among so many runs each rare path is met.
const RARE_PATHS_RUNS_MIN: u64 = 300;

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
    #[arg(long, conflicts_with = "mutants")]
    mutant: Option<String>,
    /// Breaks every rule, one at a time, until a seed shows it.
    #[arg(long)]
    mutants: bool,
    /// Writes these seeds into the table of `docs/SIMULATION.md`.
    #[arg(long, requires = "mutants")]
    save: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.mutants {
        return break_all(&args).unwrap_or_else(|error| {
            println!("the seeds were not saved: {error}");
            ExitCode::FAILURE
        });
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

/// The one that was named.
fn mutant(args: &Args) -> Option<Mutant> {
    let name = args.mutant.as_ref()?;
    let named = mutants::named(name);
    if named.is_none() {
        let all: Vec<_> = Mutant::ALL.into_iter().map(mutants::name_of).collect();
        println!("there is no {name}; the rules are {}", all.join(", "));
        std::process::exit(2);
    }
    named
}

/// Breaks every rule until a seed shows it.
fn break_all(args: &Args) -> io::Result<ExitCode> {
    let (mut caught, mut missed) = (Vec::new(), 0);
    for mutant in Mutant::ALL {
        let found = batch::run_all(Plan {
            count: args.count.max(SEEDS_OF_CI),
            failures_max: 1,
            shown: 0,
            mutant: Some(mutant),
            ..plan(args)
        });
        let name = mutants::name_of(mutant);
        if let Some(failure) = found.failures.first() {
            let seed = failure.seed;
            println!("caught  {name:<34} seed {seed:>4}: {}", failure.broken);
            caught.push((mutant, seed));
        } else {
            println!("missed  {name}");
            missed += 1;
        }
    }
    println!("{missed} missed");
    if args.save {
        let document = mutants::document();
        let text = fs::read_to_string(&document)?;
        fs::write(&document, mutants::with_seeds(&text, &caught))?;
    }
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
