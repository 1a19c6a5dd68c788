//! Which program this is called as, and what it is to do.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use clap::Parser as _;
use taffrail_broker::args::Args;

use crate::{cli::Cli, embedded};

/// With its arguments.
pub(crate) enum Program {
    Broker(Box<Args>),
    Cli(Box<Cli>),
}

impl Program {
    /// Ends the process where the arguments make no sense, or ask for help.
    pub(crate) fn asked_for() -> Self {
        let called = std::env::args_os().next().map(PathBuf::from);
        if called.is_some_and(|path| path.file_name() == Some(OsStr::new(embedded::BROKER))) {
            Self::Broker(Box::new(Args::parse()))
        } else {
            Self::Cli(Box::new(Cli::parse()))
        }
    }

    /// In this process or in others that it starts.
    pub(crate) const fn runs_a_broker(&self) -> bool {
        match self {
            Self::Broker(_) => true,
            Self::Cli(cli) => cli.runs_a_broker(),
        }
    }

    pub(crate) async fn run(self) -> ExitCode {
        match self {
            Self::Broker(args) => taffrail_broker::program(*args).await,
            Self::Cli(cli) => command(*cli).await,
        }
    }
}

async fn command(cli: Cli) -> ExitCode {
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
