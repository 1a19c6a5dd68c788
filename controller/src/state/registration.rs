//! What a broker says when it registers, checked.

use std::ops::RangeInclusive;

use taffrail_api::{WireError, convert, v1};
use taffrail_core::{
    Assignment, BrokerNumber, BrokerUuid, ClusterId, ControllerStamp, Incarnation, Offset,
    TopicPartition,
    replica::{LogTail, Standing},
    rules::PARTITIONS_MAX,
};

use super::heard;

/// Starts that a broker can have tried since the last confirmed one. Each is 16 bytes; more are a broken volume.
const CANDIDATES_MAX: usize = 1 << 16;

/// Elections go one by one: no partition gets here, and garbage must not use up the epochs.
const LEADER_EPOCH_MAX: u32 = 1 << 30;
/// The same for changes.
const PARTITION_EPOCH_MAX: u64 = 1 << 48;

/// A checked `Register`.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) uuid: BrokerUuid,
    /// Never empty; the last is the running process's own.
    pub(crate) candidates: Vec<Incarnation>,
    pub(crate) known_number: Option<BrokerNumber>,
    pub(crate) name: String,
    pub(crate) rack: Option<String>,
    pub(crate) client: v1::Endpoint,
    pub(crate) replication: Option<v1::Endpoint>,
    pub(crate) versions: RangeInclusive<u32>,
    pub(crate) software_version: String,
    pub(crate) process_id: u32,
    pub(crate) highest_stamp: ControllerStamp,
    pub(crate) stored: Vec<Stored>,
}

/// A partition on a volume.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) partition: TopicPartition,
    pub(crate) topic_name: String,
    pub(crate) assignment: Assignment,
    pub(crate) tail: LogTail,
    pub(crate) high_watermark: Offset,
    pub(crate) standing: Standing,
    pub(crate) deleted: bool,
}

impl Registration {
    /// Was `run` the volume's after every one that it knows of? Then this is an older copy of it.
    pub(crate) fn is_older_than(&self, run: Incarnation) -> bool {
        let is_known = self.candidates.contains(&run);
        !is_known
            && self
                .candidates
                .iter()
                .all(|c| c.generation < run.generation)
    }

    /// The running process.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.candidates.last().copied().unwrap_or_default()
    }
}

impl TryFrom<v1::Register> for Registration {
    type Error = WireError;

    fn try_from(register: v1::Register) -> Result<Self, WireError> {
        let uuid = BrokerUuid::try_from(&register.broker_uuid[..])
            .map_err(|e| WireError::invalid(format!("broker_uuid: {e}")))?;
        let candidates: Vec<Incarnation> =
            register.candidates.into_iter().map(Into::into).collect();
        if candidates.is_empty() || candidates.len() > CANDIDATES_MAX {
            return Err(WireError::invalid(format!(
                "there must be 1 to {CANDIDATES_MAX} candidates, not {}",
                candidates.len()
            )));
        }
        if register.name.is_empty() {
            return Err(WireError::invalid("name is missing"));
        }
        let client = register
            .client_endpoint
            .ok_or_else(|| WireError::invalid("client_endpoint is missing"))?;
        let versions = register.versions.unwrap_or_default();
        let stored: Result<Vec<_>, _> = register.stored.into_iter().map(Stored::try_from).collect();
        Ok(Self {
            cluster_id: convert::cluster_id(&register.cluster_id)?,
            uuid,
            candidates,
            known_number: register.broker_number.map(BrokerNumber),
            name: register.name,
            rack: Some(register.rack).filter(|rack| !rack.is_empty()),
            client,
            replication: register.replication_endpoint,
            versions: versions.min..=versions.max,
            software_version: register.software_version,
            process_id: register.process_id,
            highest_stamp: register.highest_stamp.unwrap_or_default().into(),
            stored: stored?,
        })
    }
}

impl TryFrom<v1::StoredPartition> for Stored {
    type Error = WireError;

    fn try_from(stored: v1::StoredPartition) -> Result<Self, WireError> {
        let partition = convert::topic_partition(&stored.topic_id, stored.partition)?;
        let standing = match stored.standing() {
            _ if stored.deleted || stored.fault().to_core().is_some() => Standing::Unusable,
            v1::ReplicaStanding::ReplicaWhole => Standing::Whole,
            v1::ReplicaStanding::ReplicaMayLack => Standing::MayLack,
            v1::ReplicaStanding::ReplicaUnusable => Standing::Unusable,
        };
        let assignment: Assignment = stored.assignment.unwrap_or_default().try_into()?;
        if partition.partition.0 >= PARTITIONS_MAX
            || assignment.leader_epoch.0 > LEADER_EPOCH_MAX
            || assignment.partition_epoch.0 > PARTITION_EPOCH_MAX
            || stored.last_epoch > LEADER_EPOCH_MAX as i32
        {
            return Err(WireError::invalid(format!(
                "stored partition {partition}: its number or epochs cannot be; check the volume"
            )));
        }
        Ok(Self {
            partition,
            assignment,
            tail: heard::tail(stored.last_epoch, stored.durable_end_offset),
            high_watermark: heard::offset(stored.high_watermark),
            standing,
            topic_name: stored.topic_name,
            deleted: stored.deleted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(stored: v1::StoredPartition) -> v1::Register {
        v1::Register {
            broker_uuid: vec![1; 16].into(),
            candidates: vec![v1::Incarnation::default()],
            name: "main-0".to_owned(),
            client_endpoint: Some(v1::Endpoint::default()),
            stored: vec![stored],
            ..v1::Register::default()
        }
    }

    fn stored(partition: u32, leader_epoch: i32, partition_epoch: u64) -> v1::StoredPartition {
        v1::StoredPartition {
            topic_id: vec![2; 16].into(),
            partition,
            assignment: Some(v1::Assignment {
                leader_epoch,
                partition_epoch,
                ..v1::Assignment::default()
            }),
            ..v1::StoredPartition::default()
        }
    }

    #[test]
    fn garbage_from_a_volume_cannot_use_up_epochs_or_partitions() {
        assert!(Registration::try_from(register(stored(7, 3, 4))).is_ok());
        for garbage in [
            stored(u32::MAX, 3, 4),
            stored(7, i32::MAX, 4),
            stored(7, -1, 4),
            stored(7, 3, u64::MAX),
        ] {
            assert!(Registration::try_from(register(garbage)).is_err());
        }
    }
}
