//! `cargo xtask sim`: seeds of the simulation by hand.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace_root;

/// Which seeds.
#[derive(Debug, Args)]
pub struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from it on; each rare path has to run in a batch of some hundred.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// How many of its last events a failed run shows.
    #[arg(long, default_value_t = 60)]
    shown: usize,
    /// Breaks a rule, such as `fsync-skipped`: a run has to fail.
    #[arg(long, conflicts_with = "mutants")]
    mutant: Option<String>,
    /// Breaks every rule, one at a time, and says which seed shows it.
    #[arg(long)]
    mutants: bool,
    /// Writes these seeds into the table of `docs/SIMULATION.md`.
    #[arg(long, requires = "mutants")]
    save: bool,
}

/// Builds the simulation and runs it.
///
/// # Errors
/// Cargo cannot be started.
pub fn run(seeds: &Seeds) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(workspace_root())
        .args(["run", "--quiet", "-p", "taffrail-sim"])
        .stdin(Stdio::null());
    cargo.arg("--");
    cargo.arg(format!("--seed={}", seeds.seed));
    cargo.arg(format!("--count={}", seeds.count));
    cargo.arg(format!("--shown={}", seeds.shown));
    if let Some(mutant) = &seeds.mutant {
        cargo.arg(format!("--mutant={mutant}"));
    }
    if seeds.mutants {
        cargo.arg("--mutants");
    }
    if seeds.save {
        cargo.arg("--save");
    }
    let status = cargo.status().context("cannot start cargo run")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
