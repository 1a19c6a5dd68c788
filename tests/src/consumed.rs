//! What `taffrail consume -o json` prints.

use serde::Deserialize;

use crate::{dev::Dev, history::Read};

/// One record. The field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Consumed {
    /// Of which partition.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
    /// Record time, RFC 3339.
    pub timestamp: String,
    /// Absent for a record without a key.
    pub key: Option<String>,
    /// Absent for a tombstone.
    pub value: Option<String>,
}

/// Reads a topic from its start to its end.
///
/// # Panics
/// If the tool fails or prints what is no record.
#[track_caller]
pub fn consume(dev: &Dev, topic: &str) -> Vec<Consumed> {
    parse(
        &dev.taffrail(&["consume", topic, "-o", "json"])
            .expect_success(),
    )
}

/// Reads one partition from its start to its end.
///
/// # Panics
/// If the tool fails or prints what is no record.
#[track_caller]
pub fn consume_partition(dev: &Dev, topic: &str, partition: u32) -> Vec<Consumed> {
    let partition = partition.to_string();
    parse(
        &dev.taffrail(&["consume", topic, "--partition", &partition, "-o", "json"])
            .expect_success(),
    )
}

/// The lines as records.
///
/// # Panics
/// If a line is no record.
pub fn parse(lines: &str) -> Vec<Consumed> {
    lines
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        })
        .collect()
}

/// For a comparison with what was acknowledged.
pub fn as_read(records: &[Consumed]) -> Read {
    let mut read = Read::default();
    for record in records {
        let value = record.value.clone().unwrap_or_default();
        read.note(record.partition, record.offset, value);
    }
    read
}
