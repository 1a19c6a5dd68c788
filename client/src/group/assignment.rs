//! What a member is told to read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use taffrail_api::{WireError, v1};
use taffrail_core::{GroupEpoch, Offset, PartitionIndex, TopicId, TopicPartition};

use super::policy::Policy;

/// Everything that a member is to read from now on.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) epoch: GroupEpoch,
    pub(super) partitions: HashMap<TopicPartition, Share>,
    pub(super) heartbeat_interval: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) policy: Policy,
}

/// One partition of it.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) topic: Arc<str>,
    /// The assignment since which the member has it, or since which its offset counts.
    pub(super) since: GroupEpoch,
    /// The next one to read; `None`: nothing is committed.
    pub(super) committed: Option<Offset>,
}

impl TryFrom<v1::Assigned> for Assignment {
    type Error = WireError;

    fn try_from(wire: v1::Assigned) -> Result<Self, WireError> {
        let mut names: HashMap<TopicId, Arc<str>> = HashMap::new();
        let mut partitions = HashMap::with_capacity(wire.partitions.len());
        for share in wire.partitions {
            let topic = TopicId::try_from(&share.topic_id[..])
                .map_err(|error| WireError::invalid(error.to_string()))?;
            let partition = TopicPartition {
                topic,
                partition: PartitionIndex(share.partition),
            };
            let name = names.entry(topic).or_insert_with(|| share.topic.into());
            let share = Share {
                topic: Arc::clone(name),
                since: GroupEpoch(share.since_epoch),
                committed: u64::try_from(share.offset).ok().map(Offset),
            };
            partitions.insert(partition, share);
        }
        Ok(Self {
            epoch: GroupEpoch(wire.epoch),
            partitions,
            heartbeat_interval: Duration::from_millis(wire.heartbeat_interval_ms.max(1).into()),
            answer_timeout: Duration::from_millis(wire.answer_timeout_ms.max(1).into()),
            policy: wire.policy.unwrap_or_default().try_into()?,
        })
    }
}
