//! `taffrail log`: a look into the files of partitions, offline. Nothing is written, unless somebody says that damaged records are to be given up.

mod dump;
mod repair;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use taffrail_log::LogError;

use crate::failure::{Exit, Failure, Outcome};

/// Look into the files of a partition, offline
#[derive(Args, Debug)]
pub(crate) struct LogCommandArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the batches of a partition, and their records
    Dump {
        #[command(flatten)]
        place: Place,
        /// Print the records too: partition/offset, time, key and value, a tab between them
        #[arg(long)]
        records: bool,
    },
    /// Check every batch, seal, index and checkpoint; exit code 7 if anything is damaged
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Show what damage costs a stopped broker's partitions, and with --cut give that up
    ///
    /// For partitions of which no other replica is in sync: where there is one, start the broker, and it
    /// replaces a damaged log by itself. Offsets have no gaps: all records from the damage on are lost,
    /// and their offsets are given out again.
    Repair {
        #[command(flatten)]
        place: Place,
        /// End damaged logs where their damage begins; the damaged files are kept in the broker's quarantine
        #[arg(long)]
        cut: bool,
    },
}

/// Which files.
#[derive(Args, Debug)]
struct Place {
    /// The directory of a partition, of a broker, or of taffrail dev
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Looks.
pub(crate) fn run(args: LogCommandArgs) -> Outcome {
    match args.what {
        What::Dump { place, records } => dump::run(&partitions(&place.dir)?, records),
        What::Verify { place } => verify::run(&partitions(&place.dir)?),
        What::Repair { place, cut } => repair::run(&partitions(&place.dir)?, cut),
    }
}

/// The partition directories at `dir`, by name.
fn partitions(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut parents = vec![dir.join("partitions")];
    parents.extend(
        directories(dir)?
            .iter()
            .map(|volume| volume.join("partitions")),
    );
    parents.retain(|parent| parent.is_dir());
    if parents.is_empty() {
        return Ok(vec![dir.to_owned()]);
    }
    let mut partitions = Vec::new();
    for parent in parents {
        partitions.extend(directories(&parent)?);
    }
    Ok(partitions)
}

/// The directories in `dir`, by name.
fn directories(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error: &std::io::Error| Failure::file("read", dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
        found.push(entry.map_err(|error| failed(&error))?.path());
    }
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

fn log_failure(error: &LogError) -> Failure {
    match error {
        LogError::Io { .. } => Failure::new(Exit::Failed, "IO", error.to_string()),
        LogError::Damaged { .. } | LogError::Unreadable { .. } => damaged(error.to_string()),
        error => Failure::of(error.code(), error.to_string()),
    }
}

fn damaged(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Damaged, "DAMAGED", message).hint(
        "nothing was changed; docs/OPERATIONS.md says what can be done about a damaged partition",
    )
}
