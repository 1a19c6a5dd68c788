//! The process `taffrail-broker`: its own binary, and `taffrail` under that name.

use std::{io, process::ExitCode, thread};

use taffrail_log::ask_for_short_time_slices;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    args::Args,
    environment::Environment,
    error::BrokerError,
    logging::{self, LogControl},
    open_files,
    start::run_with,
};

/// For a process with a broker in it. Its threads, and those that a broker starts in it, run as soon as they have something to do, and it may have open as many
/// files as the system lets it.
///
/// # Errors
/// The system starts no threads.
pub fn runtime() -> io::Result<Runtime> {
    // It is a wish, which a sandbox may refuse.
    let _ = ask_for_short_time_slices();
    open_files::raise_max();
    Runtime::new()
}

/// Logs, runs a broker until SIGTERM or SIGINT, and stops it cleanly. Why it failed is the last line of its log.
pub async fn program(args: Args) -> ExitCode {
    let log_control = match logging::init(args.log_format, &args.log_level) {
        Ok(log_control) => log_control,
        Err(reason) => {
            // There is no log yet.
            let error = BrokerError::config(format!("log level: {reason}"));
            eprintln!("error[{}]: {error}", error.code());
            return ExitCode::FAILURE;
        }
    };
    match run(args, log_control).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(code = error.code().name(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args, log_control: LogControl) -> Result<(), BrokerError> {
    let parent = args.stop_with_stdin.then(end_of_stdin);
    let config = args.into_config()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| BrokerError::System {
        what: "wait for SIGTERM",
        source,
    })?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            () = ended(parent) => tracing::info!("standard input ended"),
        }
    };
    run_with(config, Environment::real(Some(log_control)), shutdown).await
}

/// Resolves at the end of standard input. Read by a thread that nobody waits for: a read of a terminal or pipe cannot be called off.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, is_over) = oneshot::channel();
    thread::spawn(move || {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Nobody listens any more when the broker stops for another reason.
        let _ = ended.send(());
    });
    is_over
}

async fn ended(stdin: Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(is_over) => {
            // An error means that the reading thread is gone, which leaves nothing to wait for either.
            let _ = is_over.await;
        }
        None => std::future::pending().await,
    }
}
