//! Taffrail on the command line, and the whole of it on a laptop.
//!
//! ```text
//! program      which one this is called as
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
mod program;
mod signals;
mod table;
mod time;
mod view;

use std::process::ExitCode;

use tokio::runtime::Runtime;

/// Batches come and go by the megabyte. The C library's allocator gives such memory back to the kernel each time and faults it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = program::Program::asked_for();
    let runtime = if program.runs_a_broker() {
        taffrail_broker::runtime()
    } else {
        Runtime::new()
    };
    let runtime = runtime.expect("threads can be started");
    let code = runtime.block_on(program.run());
    // A thread that still reads, from a terminal or a log, cannot be called off: nobody waits for it.
    runtime.shutdown_background();
    code
}
