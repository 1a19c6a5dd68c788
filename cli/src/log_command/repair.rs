//! Giving up what is damaged in the partitions of a stopped broker.

use std::{
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_broker::{BrokerError, offline::StoppedBroker};
use taffrail_core::{ErrorCode, Offset};
use taffrail_log::{
    StdDisk, read_identity,
    repair::{self, Cut},
};

use super::log_failure;
use crate::{
    failure::{Exit, Failure, Outcome},
    table::human_count,
};

/// Looks at all of them, and cuts those that are damaged if that is wanted.
pub(super) fn run(partitions: &[PathBuf], cut: bool) -> Outcome {
    let mut brokers: Vec<StoppedBroker> = Vec::new();
    let mut damaged = 0;
    for dir in partitions {
        let has_it = |broker: &StoppedBroker| dir.starts_with(broker.path());
        if !brokers.iter().any(has_it) {
            brokers.push(stopped(dir)?);
        }
        let disk = Arc::new(StdDisk::default());
        let planned = repair::plan(disk, dir).map_err(|error| log_failure(&error))?;
        if let Some(planned) = planned {
            damaged += 1;
            show(dir, &planned)?;
            if let Some(broker) = brokers.iter().find(|b| has_it(b)).filter(|_| cut) {
                give_up(broker, dir, &planned)?;
            }
        }
    }
    match damaged {
        0 => writeln!(std::io::stdout(), "no partition needs repair")?,
        _ if cut => {}
        _ => {
            let message = format!("{damaged} of {} partitions are damaged", partitions.len());
            return Err(Failure::new(Exit::Damaged, "DAMAGED", message).hint(
                "nothing was changed; where no other replica is in sync, --cut gives the lost offsets up",
            ));
        }
    }
    Ok(())
}

/// The broker that has this partition. None of its partitions changes under us.
fn stopped(dir: &Path) -> Outcome<StoppedBroker> {
    match StoppedBroker::of_partition(dir) {
        Ok(Some(broker)) => Ok(broker),
        Ok(None) => Err(Failure::usage(format!(
            "{} is not a partition in the data directory of a broker; give that directory, or a partition in it",
            dir.display()
        ))),
        Err(error @ BrokerError::DataDirInUse { .. }) => {
            let failure = Failure::of(ErrorCode::DataInUse, error.to_string());
            Err(failure.hint("stop that broker first"))
        }
        Err(error) => Err(Failure::of(error.code(), error.to_string())),
    }
}

fn show(dir: &Path, planned: &Cut) -> Outcome {
    let name = match read_identity(&StdDisk::default(), dir) {
        Ok(identity) => format!("{}/{}", identity.topic_name, identity.partition),
        Err(_) => dir.display().to_string(),
    };
    let (path, at, reason) = (planned.path.display(), planned.position, &planned.reason);
    let lost: u64 = planned.lost.iter().map(|r| r.end.0 - r.start.0).sum();
    let ranges: Vec<_> = planned.lost.iter().map(first_to_last).collect();
    let kept = planned.log_end.0 - planned.log_start.0;
    let mut out = std::io::stdout();
    writeln!(out, "{name}: DAMAGED, {path} at byte {at}: {reason}")?;
    writeln!(
        out,
        "  {} offsets lost: {}; {} kept, the next record gets offset {}",
        human_count(lost),
        ranges.join(", "),
        human_count(kept),
        planned.log_end
    )?;
    Ok(())
}

fn first_to_last(range: &Range<Offset>) -> String {
    format!("{} to {}", range.start, range.end.0.saturating_sub(1))
}

fn give_up(broker: &StoppedBroker, dir: &Path, planned: &Cut) -> Outcome {
    let place = broker.quarantine(dir).unwrap_or_default();
    let disk = Arc::new(StdDisk::default());
    repair::cut(disk, dir, planned, &place).map_err(|error| log_failure(&error))?;
    let lost: Vec<_> = planned.lost.iter().map(first_to_last).collect();
    let reason = format!(
        "{} at byte {}: {}; cut by `taffrail log repair`, lost: {}",
        planned.path.display(),
        planned.position,
        planned.reason,
        lost.join(", ")
    );
    StoppedBroker::explain(&place, &reason)
        .map_err(|error| Failure::file("write", &place, &error))?;
    writeln!(
        std::io::stdout(),
        "  cut; what was damaged is kept in {}",
        place.display()
    )?;
    Ok(())
}
