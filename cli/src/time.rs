//! Points in time and positions as people write them.

use std::str::FromStr;

use jiff::{Timestamp, civil, tz::TimeZone};
use taffrail_client::Start;

/// Milliseconds since the epoch of an RFC 3339 time; without a zone it is UTC, a date alone is its midnight.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    let at = text.parse::<civil::DateTime>().ok()?;
    let zoned = at.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// A record's time in a data file: a time as above, or milliseconds since the epoch.
pub(crate) fn parse_field_timestamp(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| parse_timestamp(text))
}

/// RFC 3339 with milliseconds only where there are any.
pub(crate) fn format_timestamp(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{ms}ms"),
    }
}

/// How long ago, in the one unit that matters, as `kubectl get` prints ages.
pub(crate) fn format_age(now_ms: i64, then_ms: i64) -> String {
    let seconds = (now_ms - then_ms).max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The wall clock.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Where to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The first record still there.
    Earliest,
    /// What comes after now.
    Latest,
    /// This offset.
    Offset(u64),
    /// The first record of this time or later, in milliseconds since the epoch.
    Timestamp(i64),
}

impl From {
    /// The same for the client, if it is a position of all partitions.
    pub(crate) const fn start(self) -> Option<Start> {
        match self {
            Self::Earliest => Some(Start::Earliest),
            Self::Latest => Some(Start::Latest),
            Self::Timestamp(ms) => Some(Start::Timestamp(ms)),
            Self::Offset(_) => None,
        }
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        parse_timestamp(text).map(Self::Timestamp).ok_or_else(|| {
            "write earliest, latest, an offset such as 1200, or a time such as 2013-01-15T10:00:00Z"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_YEAR_10H: i64 = 1_357_034_400_000;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in [
            "2013-01-01T10:00:00Z",
            "2013-01-01T05:00:00-05:00",
            "2013-01-01T10:00:00",
            "2013-01-01 10:00",
        ] {
            assert_eq!(parse_timestamp(text), Some(NEW_YEAR_10H), "{text}");
        }
        assert_eq!(
            parse_timestamp("2013-01-01"),
            Some(NEW_YEAR_10H - 36_000_000)
        );
        assert_eq!(parse_timestamp("yesterday"), None);
    }

    #[test]
    fn a_number_is_an_offset_as_a_position_and_milliseconds_as_a_field() {
        assert_eq!("1200".parse(), Ok(From::Offset(1200)));
        assert_eq!(parse_field_timestamp("1357034400000"), Some(NEW_YEAR_10H));
        assert_eq!(
            "2013-01-01T10:00:00Z".parse(),
            Ok(From::Timestamp(NEW_YEAR_10H))
        );
        assert!("-1".parse::<From>().is_err());
    }

    #[test]
    fn ages_have_one_unit() {
        for (ms, age) in [
            (5_000, "5s"),
            (150_000, "2m"),
            (7_200_000, "2h"),
            (259_200_000, "3d"),
            (-5, "0s"),
        ] {
            assert_eq!(format_age(ms, 0), age);
        }
    }
}
