//! Topics, partitions, brokers and groups as people and scripts see them.

mod brokers;
mod groups;
pub(crate) mod last_heard;
mod moves;
mod partitions;
mod topics;

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use brokers::{BrokerView, Brokers};
pub(crate) use groups::{GroupView, Groups, Progress, ProgressView, state_name};
pub(crate) use moves::MoveView;
pub(crate) use partitions::{PartitionView, Partitions};
pub(crate) use topics::{TopicView, Topics};

use crate::table::Table;

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// An object with the field items
    Json,
    /// A YAML document for each; those of topics can be applied again
    Yaml,
}

/// A list that can be printed.
pub(crate) trait Listing {
    /// One entry, with stable field names.
    type Item: Serialize;
    /// What to say if there is none.
    const NOTHING: &'static str;

    /// The entries.
    fn items(&self) -> &[Self::Item];

    /// The entries as a table at this time.
    fn table(&self, wide: bool, now_ms: i64) -> Table;
}

#[derive(Serialize)]
struct Items<'a, T> {
    items: &'a [T],
}

/// Prints `list` as `output`.
pub(crate) fn print<L: Listing>(
    list: &L,
    output: Output,
    now_ms: i64,
    out: &mut dyn Write,
) -> io::Result<()> {
    match output {
        Output::Table | Output::Wide => list
            .table(output == Output::Wide, now_ms)
            .print(out, L::NOTHING),
        Output::Json => {
            let items = list.items();
            serde_json::to_writer_pretty(&mut *out, &Items { items })?;
            writeln!(out)
        }
        Output::Yaml => {
            for item in list.items() {
                let text = taffrail_crds::manifest::to_yaml(item).map_err(io::Error::other)?;
                write!(out, "---\n{text}")?;
            }
            Ok(())
        }
    }
}

/// Numbers for a cell: `0,1,2`, or a dash for none.
pub(crate) fn numbers(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "-".to_owned();
    }
    let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
    texts.join(",")
}
