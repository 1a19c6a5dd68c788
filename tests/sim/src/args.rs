//! The command line of `cargo xtask sim`.

use std::thread;

use clap::Parser;
use taffrail_core::replica::Mutant;
use taffrail_sim::{Options, batch::Plan, mutants};

/// Simulates clusters with faults. The same seed is the same run.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
pub(crate) struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// So many seeds from it on.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u64,
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
    pub(crate) mutants: bool,
    /// Writes these seeds into the table of `docs/SIMULATION.md`.
    #[arg(long, requires = "mutants")]
    pub(crate) save: bool,
}

impl Args {
    /// One run.
    pub(crate) fn options(&self) -> Options {
        Options {
            shown: self.shown,
            mutant: self.mutant(),
            ..Options::of(self.seed)
        }
    }

    /// Many runs.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            first: self.seed,
            count: self.count,
            threads: thread::available_parallelism().map_or(1, usize::from),
            failures_max: self.failures,
            shown: self.shown,
            mutant: self.mutant(),
        }
    }

    /// The one that was named.
    fn mutant(&self) -> Option<Mutant> {
        let name = self.mutant.as_ref()?;
        let named = mutants::named(name);
        if named.is_none() {
            let all: Vec<_> = Mutant::ALL.into_iter().map(mutants::name_of).collect();
            println!("there is no {name}; the rules are {}", all.join(", "));
            std::process::exit(2);
        }
        named
    }
}
