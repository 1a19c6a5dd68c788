//! CSV: rows under a header become JSON objects. Every value stays text: a tail number or a postcode that looks like a number is none.

use std::io::Read;

use csv::{Reader, ReaderBuilder, StringRecord};
use serde::ser::{SerializeMap, Serializer as _};

use super::{Fields, InputRecord, Source};
use crate::{
    failure::{Failure, Outcome},
    time::parse_field_timestamp,
};

/// The rows of a CSV file.
pub(super) struct Rows {
    name: String,
    reader: Reader<Box<dyn Read + Send>>,
    header: StringRecord,
    row: StringRecord,
    key: Option<usize>,
    timestamp: Option<usize>,
    failed: bool,
}

impl Rows {
    /// Reads the header and finds the columns.
    pub(super) fn new(source: Source, fields: &Fields) -> Outcome<Self> {
        let name = source.name;
        let mut reader = ReaderBuilder::new().from_reader(source.reader);
        let header = reader
            .headers()
            .map_err(|error| row_error(&name, &error))?
            .clone();
        let column = |field: &Option<String>| {
            let find = |field: &String| column_of(&name, &header, field);
            field.as_ref().map(find).transpose()
        };
        let (key, timestamp) = (column(&fields.key)?, column(&fields.timestamp)?);
        Ok(Self {
            name,
            reader,
            header,
            row: StringRecord::new(),
            key,
            timestamp,
            failed: false,
        })
    }

    fn record(&self) -> Outcome<InputRecord> {
        let cell = |column: Option<usize>| {
            let text = column.and_then(|column| self.row.get(column));
            text.filter(|text| !text.is_empty())
        };
        let timestamp_ms = match cell(self.timestamp) {
            Some(text) => Some(parse_field_timestamp(text).ok_or_else(|| {
                let line = self.row.position().map_or(0, csv::Position::line);
                not_a_time(&self.name, line, text)
            })?),
            None => None,
        };
        Ok(InputRecord {
            key: cell(self.key).map(|text| text.as_bytes().to_vec()),
            value: self.object()?,
            timestamp_ms,
        })
    }

    fn object(&self) -> Outcome<Vec<u8>> {
        let mut value = Vec::with_capacity(self.row.as_slice().len() * 2);
        let mut json = serde_json::Serializer::new(&mut value);
        let written = (|| {
            let mut map = json.serialize_map(Some(self.header.len()))?;
            for (column, cell) in self.header.iter().zip(&self.row) {
                map.serialize_entry(column, cell)?;
            }
            map.end()
        })();
        written.map_err(|error| Failure::input(format!("{}: {error}", self.name)))?;
        Ok(value)
    }
}

impl Iterator for Rows {
    type Item = Outcome<InputRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match self.reader.read_record(&mut self.row) {
            Ok(false) => return None,
            Ok(true) => self.record(),
            Err(error) => Err(row_error(&self.name, &error)),
        };
        self.failed = item.is_err();
        Some(item)
    }
}

/// The failure of a field that should hold a time.
pub(super) fn not_a_time(name: &str, line: u64, text: &str) -> Failure {
    Failure::input(format!("{name}, line {line}: {text:?} is not a time"))
        .hint("write RFC 3339 such as 2013-01-15T10:00:00Z, or milliseconds since 1970")
}

fn column_of(name: &str, header: &StringRecord, field: &str) -> Outcome<usize> {
    let found = header.iter().position(|column| column == field);
    found.ok_or_else(|| {
        let columns: Vec<&str> = header.iter().collect();
        Failure::input(format!("{name}: no column {field:?}"))
            .hint(format!("its columns are {}", columns.join(", ")))
    })
}

fn row_error(name: &str, error: &csv::Error) -> Failure {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Failure::input(format!(
            "{name}, line {line}: {len} columns where the header has {expected_len}"
        )),
        csv::ErrorKind::Utf8 { .. } => {
            Failure::input(format!("{name}, line {line}: not UTF-8 text"))
        }
        _ => Failure::input(format!("{name}: {error}")),
    }
}
