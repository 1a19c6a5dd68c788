//! Identities and positions. Parsed once at the edge, never re-checked.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A text or byte string that is not the identity it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{value:?} is not a {what}")]
pub struct ParseIdError {
    what: &'static str,
    value: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From the 16 bytes of a UUID.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, as on the wire.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, byte) in self.0.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(s: &str) -> Result<Self, ParseIdError> {
                parse_uuid(s).map(Self).ok_or_else(|| ParseIdError { what: $what, value: s.to_owned() })
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError {
                    what: $what,
                    value: format!("{} bytes", bytes.len()),
                })
            }
        }
    };
}

uuid_id! {
    /// A topic's identity, made by the controller. Survives renames of nothing: a new topic of an old name has a new id.
    TopicId, "topic id"
}
uuid_id! {
    /// A volume's identity, made when a broker first used it.
    BrokerUuid, "broker UUID"
}
uuid_id! {
    /// A cluster's identity, made with its root object.
    ClusterId, "cluster id"
}
uuid_id! {
    /// A member of a consumer group, as it named itself when it was made.
    MemberId, "member id"
}

fn parse_uuid(s: &str) -> Option<[u8; 16]> {
    let bytes = s.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&i| bytes[i] != b'-') {
        return None;
    }
    let mut digits = bytes
        .iter()
        .enumerate()
        .filter(|(i, _)| !matches!(i, 8 | 13 | 18 | 23))
        .map(|(_, b)| (*b as char).to_digit(16));
    let mut out = [0; 16];
    for byte in &mut out {
        *byte = (digits.next()?? * 16 + digits.next()??) as u8;
    }
    Some(out)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A partition's index within its topic, from 0.
    PartitionIndex(u32)
}
number! {
    /// Names a broker in maps. Allotted once per UUID, never used again.
    BrokerNumber(u32)
}
number! {
    /// A record's position in its partition. Offsets are consecutive from 0 and never reused.
    Offset(u64)
}
number! {
    /// Raised by every election of a partition. Stored in every batch (as an `i32`, KIP-101).
    LeaderEpoch(u32)
}
number! {
    /// Raised by every change of a partition's assignment.
    PartitionEpoch(u64)
}
number! {
    /// Raised with each change of what a group's members are to read. 0: before the first.
    GroupEpoch(u64)
}

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The offset `records` further on.
    #[must_use]
    pub const fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Whose partition.
    pub topic: TopicId,
    /// Which one.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One run of a broker process (KIP-903): the generation counts the starts of a volume, the random part tells copies of a volume apart.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation {
    /// Grows with each start of the volume.
    pub generation: u64,
    /// Drawn at each start.
    pub random: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.generation, self.random)
    }
}

/// Stamps every write and message of a controller; ordered by epoch, then sequence.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControllerStamp {
    /// Raised by every controller that takes office.
    pub epoch: u64,
    /// Raised by every message within the epoch.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_prints_as_it_is_parsed() {
        let text = "6f1c5c6a-0123-4567-89ab-cdef00112233";
        let id: TopicId = text.parse().expect("valid");
        assert_eq!(id.to_string(), text);
        assert_eq!(TopicId::try_from(&id.as_bytes()[..]).expect("16 bytes"), id);
    }

    #[test]
    fn what_is_no_uuid_is_refused_with_its_text() {
        for bad in [
            "",
            "6f1c5c6a",
            "6f1c5c6a-0123-4567-89ab-cdef0011223g",
            "6f1c5c6a+0123-4567-89ab-cdef00112233",
        ] {
            let error = bad.parse::<TopicId>().expect_err("invalid");
            assert!(error.to_string().contains(bad));
        }
    }

    #[test]
    fn stamps_are_ordered_by_epoch_first() {
        let old = ControllerStamp {
            epoch: 1,
            sequence: 99,
        };
        let new = ControllerStamp {
            epoch: 2,
            sequence: 0,
        };
        assert!(old < new);
    }
}
