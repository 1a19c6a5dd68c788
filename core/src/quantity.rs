//! Sizes as Kubernetes quantities (`50Gi`, `1M`) and durations as Kubernetes and Go write them (`168h`, `1h30m`).

use std::{fmt::Write as _, time::Duration};

use thiserror::Error;

use crate::rules::{DURATION_READABLE, SIZE_MAX, SIZE_READABLE};

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} {message}", message = SIZE_READABLE.message)]
pub struct ParseSizeError(pub String);

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} {message}", message = DURATION_READABLE.message)]
pub struct ParseDurationError(pub String);

const SIZE_UNITS: &[(&str, u64)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// Bytes of a quantity. A fraction needs a unit (`1.5Gi`); what is no whole number of bytes is rounded up, as Kubernetes does.
///
/// # Errors
/// If `text` is no number with a known unit, is negative, is a fraction of bytes or exceeds `SIZE_MAX`.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let error = || ParseSizeError(text.to_owned());
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(error)?
        .1;
    let (whole, fraction) = match number.split_once('.') {
        Some(_) if unit.is_empty() => return Err(error()),
        Some((_, "")) => return Err(error()),
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(error());
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let parts: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
    let bytes = parts.checked_mul(u128::from(factor)).ok_or_else(error)?;
    u64::try_from(bytes.div_ceil(scale))
        .ok()
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or_else(error)
}

/// The shortest exact way to write a size with a binary unit.
pub fn format_size(bytes: u64) -> String {
    let unit = SIZE_UNITS[..6]
        .iter()
        .rev()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// A duration of one or more numbers with units, the larger units first.
///
/// # Errors
/// If `text` has no unit, an unknown one, a sign or a fraction, or does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let error = || ParseDurationError(text.to_owned());
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    if text.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let number: u64 = rest[..unit_at].parse().map_err(|_| error())?;
        rest = &rest[unit_at..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit_ms = match &rest[..unit_end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(error()),
        };
        if unit_ms >= last_unit {
            return Err(error());
        }
        last_unit = unit_ms;
        let part = number.checked_mul(unit_ms).ok_or_else(error)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(error)?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

/// The way `parse_duration` reads back: `168h`, `1h30m`, `500ms`.
pub fn format_duration(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if ms >= size {
            let _ = write!(out, "{}{unit}", ms / size);
            ms %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1500000", 1_500_000),
            ("1k", 1_000),
            ("1Ki", 1_024),
            ("1.5Gi", 1_610_612_736),
            ("50Gi", 50 << 30),
            ("0.5Ki", 512),
            ("0.1Ki", 103),
            ("1.0005k", 1_001),
            ("4Ei", SIZE_MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_how_to_write_one() {
        for text in [
            "",
            "Gi",
            "1GB",
            "-1Gi",
            "1.3",
            "1.0",
            "1048577.5",
            "1.Gi",
            "4611686018427387905",
            "100E",
            "1 Gi",
            "99999999Ei",
            "1e3",
            "1K",
        ] {
            let error = parse_size(text).expect_err(text);
            assert!(error.to_string().contains("512Mi"));
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ms) in [
            ("168h", 604_800_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            ("1m1s1ms", 61_001),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_says_how_to_write_one() {
        for text in [
            "",
            "7d",
            "168",
            "h",
            "1m1h",
            "-1h",
            "1.5h",
            "99999999999999999999h",
            "1hh",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.to_string().contains("168h"));
        }
    }

    #[test]
    fn formatting_reads_back() {
        for text in ["168h", "1h30m", "500ms", "0s"] {
            assert_eq!(format_duration(parse_duration(text).expect("valid")), text);
        }
        for text in ["50Gi", "1536Mi", "7", "0"] {
            assert_eq!(format_size(parse_size(text).expect("valid")), text);
        }
    }
}
