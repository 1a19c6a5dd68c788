//! `cargo xtask`: everything CI does, callable by hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use taffrail_xtask::{ci, crds, kube, sim};

/// Taffrail's build tasks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every check that CI runs, and builds or installs what they need.
    Ci,
    /// Writes the generated YAML: CRDs and the chart's copies of them.
    Crds,
    /// Simulated clusters with faults: a seed is a run.
    Sim(sim::Seeds),
    /// A real Kubernetes on this machine, for tests and for looking around.
    #[command(subcommand)]
    Kube(kube::Task),
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().task {
        Task::Ci => ci::run(),
        Task::Crds => crds::run().map(|()| ExitCode::SUCCESS),
        Task::Sim(seeds) => sim::run(&seeds),
        Task::Kube(task) => kube::run(task),
    }
}
