//! Taffrail on the command line, and the whole of it on a laptop.
//!
//! ```text
//! cli          what there is to type
//! demo dev     an embedded cluster (embedded.rs) in this process
//! apply get describe delete      topics, read from manifests (manifest.rs), shown by view.rs and table.rs
//! produce consume bench          records in (input.rs) and out
//! log_command  the files of a partition, offline
//! failure      codes, messages, exit codes
//! ```
#![forbid(unsafe_code)]

mod apply;
mod bench;
mod cli;
mod connect;
mod consume;
mod delete;
mod demo;
mod describe;
mod dev;
mod embedded;
mod failure;
mod get;
mod input;
mod log_command;
mod logging;
mod manifest;
mod produce;
mod table;
mod time;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_quiet() {
                eprintln!("{failure}");
            }
            failure.exit_code()
        }
    }
}
