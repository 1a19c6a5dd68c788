//! The broker process: parse, log, run until a signal, stop cleanly.
#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::Parser as _;
use taffrail_broker::{Environment, args::Args, logging, run_with};
use tokio::signal::unix::{SignalKind, signal};

/// Batches come and go by the megabyte. The C library's allocator gives such memory back to the kernel each time and faults it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let log_control = logging::init(args.log_format, &args.log_level)
        .map_err(anyhow::Error::msg)
        .context("log level")?;
    let config = args.into_config()?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    run_with(config, Environment::real(Some(log_control)), shutdown).await?;
    Ok(())
}
