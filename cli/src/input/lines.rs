//! Lines, as they are or as JSON objects.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::{Fields, InputRecord, RECORD_BYTES_MAX, Source, csv::not_a_time};
use crate::{
    failure::{Failure, Outcome},
    time::parse_field_timestamp,
};

/// Each line a value.
pub(super) fn lines(source: Source) -> impl Iterator<Item = Outcome<InputRecord>> + Send {
    Lines::new(source).map(|line| {
        line.map(|line| InputRecord {
            key: None,
            value: line.bytes,
            timestamp_ms: None,
        })
    })
}

/// Each line that is not blank a JSON object.
pub(super) fn objects(
    source: Source,
    fields: Fields,
) -> impl Iterator<Item = Outcome<InputRecord>> + Send {
    let name = source.name.clone();
    let mut failed = false;
    Lines::new(source)
        .filter(|line| !matches!(line, Ok(line) if line.bytes.trim_ascii().is_empty()))
        .map(move |line| line.and_then(|line| object(&name, line, &fields)))
        .take_while(move |item| !std::mem::replace(&mut failed, item.is_err()))
}

fn object(name: &str, line: Line, fields: &Fields) -> Outcome<InputRecord> {
    let parsed: Map<String, Value> = serde_json::from_slice(&line.bytes).map_err(|error| {
        Failure::input(format!(
            "{name}, line {}: not a JSON object: {error}",
            line.number
        ))
    })?;
    let text = |field: &Option<String>| match field.as_ref().and_then(|field| parsed.get(field)) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let timestamp_ms = match text(&fields.timestamp) {
        Some(text) => {
            Some(parse_field_timestamp(&text).ok_or_else(|| not_a_time(name, line.number, &text))?)
        }
        None => None,
    };
    Ok(InputRecord {
        key: text(&fields.key).map(String::into_bytes),
        value: line.bytes,
        timestamp_ms,
    })
}

struct Line {
    /// From 1.
    number: u64,
    /// Without its line end.
    bytes: Vec<u8>,
}

struct Lines {
    name: String,
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    ended: bool,
}

impl Lines {
    fn new(source: Source) -> Self {
        Self {
            name: source.name,
            reader: BufReader::new(source.reader),
            number: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> Outcome<Option<Line>> {
        self.number += 1;
        let number = self.number;
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(RECORD_BYTES_MAX + 1);
        limited
            .read_until(b'\n', &mut bytes)
            .map_err(|error| Failure::input(format!("{}, line {number}: {error}", self.name)))?;
        if bytes.len() as u64 > RECORD_BYTES_MAX {
            return Err(Failure::input(format!(
                "{}, line {number}: longer than 16 MiB; is it a text file?",
                self.name
            )));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Some(Line { number, bytes }))
    }
}

impl Iterator for Lines {
    type Item = Outcome<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}
