//! Explores one configuration of the model by hand: `cargo run --release -p taffrail-model -- crashes crashes=1`.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use taffrail_model::{Config, Exploration, Found, Limits, Mutant, Mutants, NAMES};

/// Explores every order of events of one configuration and looks at the invariants in each state
#[derive(Parser)]
#[command(after_help = configurations())]
struct Args {
    /// The configuration, see below, and changes of its numbers, such as crashes=1 records=1 (the fields of Config)
    #[arg(required = true)]
    words: Vec<String>,
    /// Break this rule; may be repeated
    #[arg(long = "mutant", value_name = "RULE")]
    mutants: Vec<Mutant>,
    /// Break all rules that were worded wrongly once
    #[arg(long)]
    earlier_wording: bool,
    /// Keep this rule in force although --earlier-wording breaks it; may be repeated
    #[arg(long = "except", value_name = "RULE", requires = "earlier_wording")]
    kept: Vec<Mutant>,
    /// Stop after this many million generated states
    #[arg(long, default_value_t = 25)]
    millions: usize,
    /// Stop after this many seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let config = Config::from_words(args.words.iter().map(String::as_str))?.mutated(args.mutants());
    let limits = Limits {
        states: args.millions * 1_000_000,
        time: Duration::from_secs(args.seconds),
    };
    let exploration = Exploration::of(config, limits);
    writeln!(io::stdout(), "{exploration}")?;
    let is_broken = matches!(exploration.found, Found::Broken(_));
    Ok(ExitCode::from(u8::from(is_broken)))
}

impl Args {
    fn mutants(&self) -> Mutants {
        let earlier = if self.earlier_wording {
            Mutants::earlier_wording()
        } else {
            Mutants::NONE
        };
        let in_force = self
            .kept
            .iter()
            .fold(earlier, |mutants, &kept| mutants.without(kept));
        self.mutants
            .iter()
            .fold(in_force, |mutants, &mutant| mutants.with(mutant))
    }
}

fn configurations() -> String {
    let lines = NAMES
        .iter()
        .map(|(name, about)| format!("  {name:<22}{about}\n"));
    format!("Configurations:\n{}", lines.collect::<String>())
}
