//! Whether the files of partitions are what was written.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_log::{
    StdDisk,
    inspect::{self, Verified},
};

use super::{damaged, log_failure};
use crate::{failure::Outcome, table::human_count};

/// Checks all of them, then fails if anything is damaged.
pub(super) fn run(partitions: &[PathBuf]) -> Outcome {
    let mut findings = 0;
    for dir in partitions {
        let verified = inspect::verify(Arc::new(StdDisk::default()), dir)
            .map_err(|error| log_failure(&error))?;
        print(dir, &verified)?;
        findings += verified.findings.len();
    }
    match findings {
        0 => Ok(()),
        1 => Err(damaged("1 thing is wrong, see above")),
        many => Err(damaged(format!("{many} things are wrong, see above"))),
    }
}

fn print(dir: &Path, verified: &Verified) -> Outcome {
    let mut out = std::io::stdout();
    let name = match &verified.identity {
        Some(identity) => format!("{}/{}", identity.topic_name, identity.partition),
        None => dir.display().to_string(),
    };
    let state = if verified.findings.is_empty() {
        "sound"
    } else {
        "DAMAGED"
    };
    writeln!(
        out,
        "{name}: {state}, offsets {} to {}, {} records in {} batches, {} bytes in {} segments ({} sealed)",
        verified.log_start,
        verified.log_end,
        human_count(verified.records),
        human_count(verified.batches),
        human_count(verified.bytes),
        verified.segments,
        verified.sealed
    )?;
    if verified.torn_bytes > 0 {
        writeln!(
            out,
            "  {} bytes behind the last batch: an append that a crash or a running broker has not finished",
            verified.torn_bytes
        )?;
    }
    for finding in &verified.findings {
        writeln!(out, "  {}: {}", finding.path.display(), finding.problem)?;
    }
    Ok(())
}
