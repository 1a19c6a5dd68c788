//! Data files as records: lines, CSV or NDJSON, plain or gzipped, from a file or standard input.

mod csv;
mod lines;
mod source;

use clap::ValueEnum;

pub(crate) use source::{Progress, Source};

use crate::failure::{Failure, Outcome};

/// Longest line or row, so that a file that is no text does not fill the memory.
pub(crate) const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What a data file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Each line is a record's value
    Lines,
    /// A header and rows; each row becomes a JSON object of its columns, in their order, as text
    Csv,
    /// Each line is a JSON object and becomes the record's value as it is
    Ndjson,
}

/// Which fields of the data mean something to the broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    /// Becomes the record's key.
    pub(crate) key: Option<String>,
    /// Becomes the record's time.
    pub(crate) timestamp: Option<String>,
}

/// One record of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputRecord {
    /// Absent if there is no key field, or it is empty in this row.
    pub(crate) key: Option<Vec<u8>>,
    /// The record's value.
    pub(crate) value: Vec<u8>,
    /// Milliseconds since the epoch.
    pub(crate) timestamp_ms: Option<i64>,
}

/// The records of a data file, in their order; the first error is the last item.
pub(crate) type Records = Box<dyn Iterator<Item = Outcome<InputRecord>> + Send>;

/// Reads `source` as `format`.
///
/// # Errors
/// If a field does not exist, or fields are asked for where there are none.
pub(crate) fn records(source: Source, format: Format, fields: &Fields) -> Outcome<Records> {
    fields.check(format)?;
    match format {
        Format::Lines => Ok(Box::new(lines::lines(source))),
        Format::Csv => Ok(Box::new(csv::Rows::new(source, fields)?)),
        Format::Ndjson => Ok(Box::new(lines::objects(source, fields.clone()))),
    }
}

impl Fields {
    /// Are there fields in data of this format?
    ///
    /// # Errors
    /// Lines have none.
    pub(crate) fn check(&self, format: Format) -> Outcome {
        if format == Format::Lines && (self.key.is_some() || self.timestamp.is_some()) {
            return Err(Failure::usage(
                "--key-field and --timestamp-field need --format csv or ndjson: lines have no fields",
            ));
        }
        Ok(())
    }
}

impl Format {
    /// The format that a file's name suggests.
    pub(crate) fn of_name(name: &str) -> Self {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Self::Csv,
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: Format, fields: &Fields) -> Vec<Outcome<InputRecord>> {
        let source = Source::of_bytes("test data", text.as_bytes().to_vec(), false);
        match records(source, format, fields) {
            Ok(records) => records.collect(),
            Err(failure) => vec![Err(failure)],
        }
    }

    fn fields(key: &str, timestamp: &str) -> Fields {
        Fields {
            key: Some(key.to_owned()),
            timestamp: Some(timestamp.to_owned()),
        }
    }

    fn message_of(outcomes: &[Outcome<InputRecord>]) -> String {
        match outcomes.last() {
            Some(Err(failure)) => failure.to_string(),
            other => format!("no failure but {other:?}"),
        }
    }

    #[test]
    fn the_name_tells_the_format() {
        assert_eq!(Format::of_name("flights.csv.gz"), Format::Csv);
        assert_eq!(Format::of_name("a.jsonl"), Format::Ndjson);
        assert_eq!(Format::of_name("notes.txt"), Format::Lines);
    }

    #[test]
    fn a_csv_row_becomes_an_object_with_its_key_and_time() {
        let text = "tail,at,note\nN1,2013-01-01T10:00:00Z,\"a \"\"b\"\"\"\n,,x\n";
        let rows: Vec<InputRecord> = read(text, Format::Csv, &fields("tail", "at"))
            .into_iter()
            .map(|row| row.expect("valid"))
            .collect();
        assert_eq!(rows[0].key.as_deref(), Some(&b"N1"[..]));
        assert_eq!(rows[0].timestamp_ms, Some(1_357_034_400_000));
        assert_eq!(
            rows[0].value,
            br#"{"tail":"N1","at":"2013-01-01T10:00:00Z","note":"a \"b\""}"#
        );
        assert_eq!((rows[1].key.clone(), rows[1].timestamp_ms), (None, None));
    }

    #[test]
    fn a_column_that_is_not_there_lists_those_that_are() {
        let failures = read("a,b\n1,2\n", Format::Csv, &fields("c", "b"));
        let message = message_of(&failures);
        assert!(
            message.contains("no column \"c\"") && message.contains("a, b"),
            "{message}"
        );
    }

    #[test]
    fn a_time_that_is_none_names_its_line() {
        let failures = read(
            "k,t\nx,2013-01-01\ny,noon\n",
            Format::Csv,
            &fields("k", "t"),
        );
        assert_eq!(failures.len(), 2, "the first row is read");
        assert!(
            message_of(&failures).contains("line 3"),
            "{}",
            message_of(&failures)
        );
    }

    #[test]
    fn a_short_row_names_its_line() {
        let failures = read("k,t\nx\n", Format::Csv, &Fields::default());
        assert!(
            message_of(&failures).contains("line 2"),
            "{}",
            message_of(&failures)
        );
    }

    #[test]
    fn ndjson_keeps_its_lines_as_they_are() {
        let text = "{\"k\": 7, \"t\": 1357034400000}\n\n{\"k\": null}\n";
        let rows: Vec<InputRecord> = read(text, Format::Ndjson, &fields("k", "t"))
            .into_iter()
            .map(|row| row.expect("valid"))
            .collect();
        assert_eq!(rows.len(), 2, "blank lines are nothing");
        assert_eq!(rows[0].value, b"{\"k\": 7, \"t\": 1357034400000}");
        assert_eq!(rows[0].key.as_deref(), Some(&b"7"[..]));
        assert_eq!(rows[0].timestamp_ms, Some(1_357_034_400_000));
        assert_eq!((rows[1].key.clone(), rows[1].timestamp_ms), (None, None));
    }

    #[test]
    fn a_line_that_is_no_json_object_is_refused() {
        for text in ["{\"k\": \n", "[1]\n"] {
            let failures = read(text, Format::Ndjson, &Fields::default());
            assert!(message_of(&failures).contains("line 1"), "{text}");
        }
    }

    #[test]
    fn lines_are_values_and_have_no_fields() {
        let rows = read("a\r\n\nb", Format::Lines, &Fields::default());
        let values: Vec<_> = rows.into_iter().map(|r| r.expect("valid").value).collect();
        assert_eq!(values, [&b"a"[..], b"", b"b"]);
        let failures = read("a\n", Format::Lines, &fields("k", "t"));
        assert!(message_of(&failures).contains("lines have no fields"));
    }

    #[test]
    fn gzipped_data_is_unpacked() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\ntwo\n").expect("memory");
        let packed = gzip.finish().expect("memory");
        let source = Source::of_bytes("two.txt.gz", packed, true);
        let rows = records(source, Format::Lines, &Fields::default()).expect("valid");
        assert_eq!(rows.count(), 2);
    }
}
