//! Runs seeds: `cargo xtask sim --seed N [--count M]`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a command")]

mod args;
mod broken;
mod runs;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if args.mutants {
        return broken::break_all(&args).unwrap_or_else(|error| {
            println!("the seeds were not saved: {error}");
            ExitCode::FAILURE
        });
    }
    if args.count > 1 {
        runs::many(&args)
    } else {
        runs::one(&args)
    }
}
