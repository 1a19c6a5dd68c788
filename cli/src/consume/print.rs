//! One record as text, JSON or bytes.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;
use taffrail_client::ConsumedRecord;

use super::RecordOutput;
use crate::time::format_timestamp;

/// A record as it is printed.
pub(crate) struct Printed<'a> {
    /// Its topic.
    pub(crate) topic: &'a str,
    /// Is the topic part of the text?
    pub(crate) shows_topic: bool,
    /// Its partition.
    pub(crate) partition: u32,
    /// Its offset.
    pub(crate) offset: u64,
    /// Its time.
    pub(crate) timestamp_ms: i64,
    /// Its key, if it has one.
    pub(crate) key: Option<&'a [u8]>,
    /// Its value; absent for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// Names and values.
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> From<&'a ConsumedRecord> for Printed<'a> {
    fn from(record: &'a ConsumedRecord) -> Self {
        let headers = record.headers.iter();
        Self {
            topic: &record.topic,
            shows_topic: false,
            partition: record.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: headers
                .map(|header| (header.key.as_str(), header.value.as_deref()))
                .collect(),
        }
    }
}

/// Field names are API.
#[derive(Serialize)]
struct RecordJson<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp: String,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderJson<'a>>,
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    key: &'a str,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Printed<'_> {
    /// Writes it.
    pub(crate) fn write(&self, output: RecordOutput, out: &mut dyn Write) -> io::Result<()> {
        match output {
            RecordOutput::Text => self.write_text(out),
            RecordOutput::Json => self.write_json(out),
            RecordOutput::Count => Ok(()),
            RecordOutput::Raw => {
                out.write_all(self.value.unwrap_or_default())?;
                out.write_all(b"\n")
            }
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let text = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "-".to_owned(),
        };
        if self.shows_topic {
            write!(out, "{}/", self.topic)?;
        }
        writeln!(
            out,
            "{}/{}\t{}\t{}\t{}",
            self.partition,
            self.offset,
            format_timestamp(self.timestamp_ms),
            text(self.key),
            text(self.value)
        )
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let (key, key_base64) = text_or_base64(self.key);
        let (value, value_base64) = text_or_base64(self.value);
        let headers = self.headers.iter().map(|(key, value)| {
            let (value, value_base64) = text_or_base64(*value);
            HeaderJson {
                key,
                value,
                value_base64,
            }
        });
        let json = RecordJson {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp: format_timestamp(self.timestamp_ms),
            key,
            key_base64,
            value,
            value_base64,
            headers: headers.collect(),
        };
        serde_json::to_writer(&mut *out, &json)?;
        out.write_all(b"\n")
    }
}

/// JSON has no bytes: what is not UTF-8 is null, and in base64 beside it.
fn text_or_base64(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(BASE64.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Printed<'a> {
        Printed {
            topic: "flights",
            shows_topic: false,
            partition: 2,
            offset: 7,
            timestamp_ms: 1_357_034_400_000,
            key,
            value,
            headers: Vec::new(),
        }
    }

    fn printed(key: Option<&[u8]>, value: Option<&[u8]>, output: RecordOutput) -> String {
        written(&record(key, value), output)
    }

    fn written(record: &Printed<'_>, output: RecordOutput) -> String {
        let mut out = Vec::new();
        record.write(output, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn text_has_place_time_key_and_value() {
        assert_eq!(
            printed(Some(b"N1"), Some(b"{}"), RecordOutput::Text),
            "2/7\t2013-01-01T10:00:00Z\tN1\t{}\n"
        );
        assert_eq!(
            printed(None, None, RecordOutput::Text),
            "2/7\t2013-01-01T10:00:00Z\t-\t-\n"
        );
    }

    #[test]
    fn text_of_several_topics_names_each() {
        let record = Printed {
            shows_topic: true,
            ..record(None, Some(b"{}"))
        };
        assert_eq!(
            written(&record, RecordOutput::Text),
            "flights/2/7\t2013-01-01T10:00:00Z\t-\t{}\n"
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_read() {
        assert_eq!(
            printed(Some(b"N1"), Some(b"{}"), RecordOutput::Json),
            "{\"topic\":\"flights\",\"partition\":2,\"offset\":7,\"timestamp\":\"2013-01-01T10:00:00Z\",\"key\":\"N1\",\"value\":\"{}\"}\n"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_in_json() {
        let json = printed(None, Some(&[0xff, 0x00]), RecordOutput::Json);
        assert!(
            json.contains("\"key\":null,\"value\":null,\"value_base64\":\"/wA=\""),
            "{json}"
        );
    }

    #[test]
    fn raw_is_the_value_and_a_line_feed() {
        assert_eq!(printed(Some(b"k"), Some(b"v"), RecordOutput::Raw), "v\n");
    }
}
