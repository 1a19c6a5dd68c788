//! Taffrail on the command line, and the whole of it on a laptop.
//!
//! ```text
//! cli          what there is to type
//! demo dev     an embedded cluster (embedded.rs) in this process, or around it
//! apply get describe delete move topics, read from manifests (manifest.rs), shown by view.rs and table.rs
//! produce consume bench          records in (input.rs) and out
//! groups       consumer groups: members, lag, resets
//! log_command  the files of a partition, offline
//! failure      codes, messages, exit codes
//! ```
//! Called `taffrail-broker` it is that program: what `dev` starts when it wants several.
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
mod groups;
mod input;
mod log_command;
mod logging;
mod manifest;
mod move_replicas;
mod plan;
mod produce;
mod signals;
mod table;
mod time;
mod view;

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use clap::Parser as _;
use tokio::runtime::Runtime;

/// Batches come and go by the megabyte. The C library's allocator gives such memory back to the kernel each time and faults it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = Asked::of_arguments();
    let runtime = if asked.runs_a_broker() {
        taffrail_broker::runtime()
    } else {
        Runtime::new()
    };
    let runtime = runtime.expect("threads can be started");
    let code = runtime.block_on(asked.run());
    // A thread that still reads, from a terminal or a log, cannot be called off: nobody waits for it.
    runtime.shutdown_background();
    code
}

/// Which program this is, and what it is to do.
enum Asked {
    Broker(taffrail_broker::args::Args),
    Cli(Box<cli::Cli>),
}

impl Asked {
    fn of_arguments() -> Self {
        let called = std::env::args_os().next().map(PathBuf::from);
        if called.is_some_and(|path| path.file_name() == Some(OsStr::new(embedded::BROKER))) {
            Self::Broker(taffrail_broker::args::Args::parse())
        } else {
            Self::Cli(Box::new(cli::Cli::parse()))
        }
    }

    const fn runs_a_broker(&self) -> bool {
        match self {
            Self::Broker(_) => true,
            Self::Cli(cli) => cli.runs_a_broker(),
        }
    }

    async fn run(self) -> ExitCode {
        match self {
            Self::Broker(args) => broker(args).await,
            Self::Cli(cli) => command(*cli).await,
        }
    }
}

async fn command(cli: cli::Cli) -> ExitCode {
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_quiet() {
                eprintln!("{failure}");
            }
            failure.exit_code()
        }
    }
}

async fn broker(args: taffrail_broker::args::Args) -> ExitCode {
    match taffrail_broker::program(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}
