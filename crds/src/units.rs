//! Sizes and durations as users write them, readable or refused when a manifest is parsed.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use taffrail_core::{
    quantity::{
        ParseDurationError, ParseSizeError, format_duration, format_size, parse_duration,
        parse_size,
    },
    rules::{DURATION_READABLE, Rule, SIZE_READABLE},
};

/// Longest text of a size or duration: bounds the cost of the CEL rules that read it.
const TEXT_CHARS_MAX: u32 = 32;

/// Bytes, written as a Kubernetes quantity: `50Gi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// A duration, written as Kubernetes and Go do: `168h`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GoDuration(pub Duration);

impl Size {
    /// A size for people: rounded down to two to four digits of the unit that fits, so that it does not change with every record.
    #[must_use]
    pub fn rounded(bytes: u64) -> Self {
        let unit_bits = (1..=5)
            .map(|unit| unit * 10)
            .take_while(|bits| bytes >> bits >= 10)
            .last()
            .unwrap_or(0);
        Self(bytes >> unit_bits << unit_bits)
    }
}

impl TryFrom<String> for Size {
    type Error = ParseSizeError;

    fn try_from(text: String) -> Result<Self, ParseSizeError> {
        parse_size(&text).map(Self)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_size(self.0))
    }
}

impl TryFrom<String> for GoDuration {
    type Error = ParseDurationError;

    fn try_from(text: String) -> Result<Self, ParseDurationError> {
        parse_duration(&text).map(Self)
    }
}

impl From<GoDuration> for String {
    fn from(duration: GoDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_with(&SIZE_READABLE)
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_with(&DURATION_READABLE)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A rule rather than a pattern: its message says how to write the value, a pattern's shows the pattern.
fn text_with(rule: &Rule) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": TEXT_CHARS_MAX,
        "x-kubernetes-validations": [{ "rule": rule.cel, "message": rule.message }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_and_prints_as_a_quantity() {
        let size: Size = serde_json::from_str(r#""50Gi""#).expect("valid");
        assert_eq!(size, Size(50 << 30));
        assert_eq!(
            serde_json::to_string(&size).expect("serializes"),
            r#""50Gi""#
        );
    }

    #[test]
    fn a_wrong_unit_says_how_to_write_it() {
        let error = serde_json::from_str::<GoDuration>(r#""7d""#).expect_err("days");
        assert!(error.to_string().contains(DURATION_READABLE.message));
        let error = serde_json::from_str::<Size>(r#""7GB""#).expect_err("GB");
        assert!(error.to_string().contains(SIZE_READABLE.message));
    }

    #[test]
    fn a_rounded_size_keeps_at_least_two_digits() {
        for (bytes, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_240, "10Ki"),
            (442_381_631_488, "412Gi"),
            (10_737_418_239, "10239Mi"),
        ] {
            assert_eq!(Size::rounded(bytes).to_string(), text);
        }
    }
}
