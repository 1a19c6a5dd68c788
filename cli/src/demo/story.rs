//! What the demo says.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use super::{
    ReadBack,
    groups::{ARRIVALS, BACK_TO, DELAYS},
};
use crate::{
    embedded::{DEFAULT_ADDRESS, Embedded, data_dir_flag},
    failure::Outcome,
    produce::Sent,
    table::{human_bytes, human_count},
    view::TopicView,
};

/// The cluster runs.
pub(super) fn started(embedded: &Embedded, data_dir: &Path, took: Duration) -> Outcome {
    let mut out = io::stdout();
    writeln!(out, "Taffrail demo: a whole cluster in this process\n")?;
    writeln!(
        out,
        "1. Started    a controller and a broker in {:.2} s; clients: {}, data: {}",
        took.as_secs_f64(),
        embedded.address(),
        data_dir.display()
    )?;
    Ok(())
}

/// The topic is there.
pub(super) fn applied(topics: &[TopicView]) -> Outcome {
    let mut out = io::stdout();
    for topic in topics {
        let effective = &topic.status.effective;
        writeln!(
            out,
            "2. Applied    topic {:?}: {} partitions, retention {}, durability {:?}",
            topic.metadata.name,
            effective.partitions,
            topic.retention(),
            effective.durability
        )?;
    }
    Ok(())
}

/// The flights are in.
pub(super) fn produced(sent: &Sent, there_before: u64) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "3. Produced   {} flights ({}) in {:.2} s, {} records/s, each one acknowledged after fsync",
        human_count(sent.records),
        human_bytes(sent.bytes),
        sent.seconds,
        human_count((sent.records as f64 / sent.seconds.max(1e-9)) as u64)
    )?;
    if there_before > 0 {
        writeln!(
            out,
            "              {} records were there from earlier runs",
            human_count(there_before)
        )?;
    }
    Ok(())
}

/// The flights came back.
pub(super) fn consumed(read: &ReadBack) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "4. Consumed   {} flights back in {:.2} s: all of them",
        human_count(read.records),
        read.seconds
    )?;
    let partitions: Vec<String> = read
        .by_partition
        .iter()
        .map(|(partition, records)| format!("{partition}: {}", human_count(*records)))
        .collect();
    writeln!(
        out,
        "              records by partition, chosen by tail number: {}",
        partitions.join(", ")
    )?;
    if let Some(sample) = &read.sample {
        let start: String = sample.chars().take(100).collect();
        writeln!(out, "              one of them: {start}...")?;
    }
    Ok(())
}

/// A group has read everything.
pub(super) fn read(group: &str, records: u64, found: &str) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "5. Grouped    {group:?} read {} flights and found: {found}",
        human_count(records)
    )?;
    Ok(())
}

/// Another one did so in its own time.
pub(super) fn read_later(group: &str, first: u64, behind: u64, rest: u64, found: &str) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "              {group:?} had read {} by then, was {} behind, read {} more: {found}",
        human_count(first),
        human_count(behind),
        human_count(rest)
    )?;
    Ok(())
}

/// It went back in time.
pub(super) fn reset(again: u64, untouched: u64) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "6. Replayed   {ARRIVALS:?} was reset to {BACK_TO} and read {} flights again; {DELAYS:?} is {} behind",
        human_count(again),
        human_count(untouched)
    )?;
    Ok(())
}

/// What to type, and why.
const NEXT: [(&str, &str); 7] = [
    ("get topics", "what there is"),
    ("describe flights", "all about the topic"),
    (
        "consume flights --from 2013-01-31T12:00:00Z --max 5",
        "records from a time on",
    ),
    (
        "consume flights --from latest --follow",
        "wait for new ones",
    ),
    (
        "groups reset arrivals --to 2013-01-24T00:00:00Z --dry-run",
        "read again, or see what that would be",
    ),
    ("produce flights -", "send the lines that you type"),
    (
        "bench produce flights --records 100000 --size 1000",
        "how fast it is",
    ),
];

/// What to type.
pub(super) fn what_next(embedded: &Embedded, data_dir: &Path, once: bool) -> Outcome {
    let mut out = io::stdout();
    let program = program();
    let address = embedded.address();
    // With --once this address is gone in a moment.
    let server = if once || address == DEFAULT_ADDRESS {
        String::new()
    } else {
        format!(" -s {address}")
    };
    if once {
        let data = data_dir_flag(data_dir);
        writeln!(
            out,
            "\nStart it again with: {program} dev{data}\nThen type:"
        )?;
    } else {
        writeln!(out, "\nIt serves on. Type in another terminal:")?;
    }
    let lines = NEXT.map(|(command, why)| (format!("{program} {command}{server}"), why));
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    for (line, why) in lines {
        writeln!(out, "  {line:<width$}   # {why}")?;
    }
    if !once {
        writeln!(out, "\nMetrics: {}   Ctrl-C stops it.", embedded.metrics())?;
    }
    out.flush()?;
    Ok(())
}

/// The end.
pub(super) fn stopped(data_dir: &Path) -> Outcome {
    writeln!(
        io::stdout(),
        "\nStopped. The data stays in {}: the next start finds it.",
        data_dir.display()
    )?;
    Ok(())
}

/// How this program can be called from here: by its name if it is on the PATH, by its path otherwise.
fn program() -> String {
    let name = "taffrail".to_owned();
    let Ok(exe) = env::current_exe() else {
        return name;
    };
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| Some(dir.as_path()) == exe.parent()) {
        return name;
    }
    let here = env::current_dir().unwrap_or_default();
    exe.strip_prefix(&here)
        .unwrap_or(&exe)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn what_it_says_to_type_can_be_typed() {
        for (command, _) in NEXT {
            let words = ["taffrail"].into_iter().chain(command.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{command}");
        }
    }
}
