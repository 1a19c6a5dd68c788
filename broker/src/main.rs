//! The broker process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use taffrail_broker::{args::Args, program, runtime};

/// Batches come and go by the megabyte. The C library's allocator gives such memory back to the kernel each time and faults it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = runtime().expect("threads can be started");
    let code = runtime.block_on(program(Args::parse()));
    // Told to end while it opens its logs, it leaves them as a crash would: nobody waits for a thread that reads.
    runtime.shutdown_background();
    code
}
