//! Identities, positions, stamps.

use taffrail_core::{
    ClusterId, ControllerStamp, Incarnation, LeaderEpoch, Offset, PartitionFault, PartitionIndex,
    TopicId, TopicPartition,
};

use crate::{WireError, v1};

/// The partition that a request names.
///
/// # Errors
/// The topic id does not have 16 bytes.
pub fn topic_partition(topic_id: &[u8], partition: u32) -> Result<TopicPartition, WireError> {
    let topic = TopicId::try_from(topic_id)
        .map_err(|e| WireError::invalid(format!("topic_id: {e}; take it from Metadata")))?;
    Ok(TopicPartition {
        topic,
        partition: PartitionIndex(partition),
    })
}

/// The leader epoch a request carries; `None` for -1, "not known".
///
/// # Errors
/// Below -1.
pub fn known_epoch(epoch: i32) -> Result<Option<LeaderEpoch>, WireError> {
    match epoch {
        -1 => Ok(None),
        _ => u32::try_from(epoch)
            .map(|e| Some(LeaderEpoch(e)))
            .map_err(|_| WireError::invalid(format!("leader_epoch {epoch} is below -1"))),
    }
}

/// A leader epoch as the wire and the batches carry it.
pub const fn epoch_to_wire(epoch: LeaderEpoch) -> i32 {
    epoch.0 as i32
}

/// An offset of a request.
///
/// # Errors
/// Negative.
pub fn offset_from_wire(offset: i64) -> Result<Offset, WireError> {
    u64::try_from(offset).map(Offset).map_err(|_| {
        WireError::invalid(format!(
            "offset {offset} is negative; use ListOffsets for earliest and latest"
        ))
    })
}

/// An offset as the wire and the batches carry it.
pub const fn offset_to_wire(offset: Offset) -> i64 {
    offset.0 as i64
}

/// The acknowledgement a request asks for.
///
/// # Errors
/// A number that is not in the proto.
pub fn acks(acks: i32) -> Result<v1::Acks, WireError> {
    v1::Acks::try_from(acks).map_err(|_| {
        WireError::invalid(format!(
            "acks {acks} is none of ACKS_ALL, ACKS_LEADER, ACKS_NONE"
        ))
    })
}

impl From<Incarnation> for v1::Incarnation {
    fn from(i: Incarnation) -> Self {
        Self {
            generation: i.generation,
            random: i.random,
        }
    }
}

impl From<v1::Incarnation> for Incarnation {
    fn from(i: v1::Incarnation) -> Self {
        Self {
            generation: i.generation,
            random: i.random,
        }
    }
}

impl From<ControllerStamp> for v1::ControllerStamp {
    fn from(s: ControllerStamp) -> Self {
        Self {
            controller_epoch: s.epoch,
            sequence: s.sequence,
        }
    }
}

impl From<v1::ControllerStamp> for ControllerStamp {
    fn from(s: v1::ControllerStamp) -> Self {
        Self {
            epoch: s.controller_epoch,
            sequence: s.sequence,
        }
    }
}

impl v1::PartitionFault {
    /// What a healthy or faulty replica reports.
    pub const fn from_core(fault: Option<PartitionFault>) -> Self {
        match fault {
            None => Self::None,
            Some(PartitionFault::Damaged) => Self::Damaged,
            Some(PartitionFault::Poisoned) => Self::Poisoned,
            Some(PartitionFault::NewerFormat) => Self::NewerFormat,
            Some(PartitionFault::Io) => Self::Io,
            Some(PartitionFault::Lost) => Self::Lost,
        }
    }

    /// Back again.
    pub const fn to_core(self) -> Option<PartitionFault> {
        match self {
            Self::None => None,
            Self::Damaged => Some(PartitionFault::Damaged),
            Self::Poisoned => Some(PartitionFault::Poisoned),
            Self::NewerFormat => Some(PartitionFault::NewerFormat),
            Self::Io => Some(PartitionFault::Io),
            Self::Lost => Some(PartitionFault::Lost),
        }
    }
}

impl v1::Endpoint {
    /// `host:port`, as one dials it.
    pub fn address(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// From `host:port`.
    ///
    /// # Errors
    /// No port, or none that is a number below 65,536.
    pub fn parse(address: &str) -> Result<Self, WireError> {
        address
            .rsplit_once(':')
            .and_then(|(host, port)| {
                let port = port.parse::<u16>().ok()?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                (!host.is_empty()).then(|| Self {
                    host: host.to_owned(),
                    port: u32::from(port),
                })
            })
            .ok_or_else(|| WireError::invalid(format!("{address:?} is not HOST:PORT")))
    }
}

/// The cluster a message names; `None` if it is empty, as from a new volume.
///
/// # Errors
/// The text is no UUID.
pub fn cluster_id(text: &str) -> Result<Option<ClusterId>, WireError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|e| WireError::invalid(format!("cluster_id: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_prints_as_it_is_parsed() {
        for address in [
            "127.0.0.1:9640",
            "[::1]:9640",
            "main-0.main.streams.svc:9640",
        ] {
            assert_eq!(
                v1::Endpoint::parse(address).expect("valid").address(),
                address
            );
        }
        for bad in ["", "host", "host:", ":9640", "host:70000"] {
            assert!(v1::Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minus_one_is_an_epoch_that_is_not_known() {
        assert_eq!(known_epoch(-1), Ok(None));
        assert_eq!(known_epoch(7), Ok(Some(LeaderEpoch(7))));
        assert!(known_epoch(-2).is_err());
    }

    #[test]
    fn a_topic_id_of_the_wrong_length_is_an_invalid_request() {
        let error = topic_partition(b"short", 0).expect_err("5 bytes");
        assert_eq!(error.code, taffrail_core::ErrorCode::InvalidRequest);
        assert!(error.message.contains("5 bytes"), "{error}");
    }
}
