//! Partitions of a map.

use taffrail_api::v1;
use taffrail_core::TopicId;
use taffrail_crds::machine::{BrokerRun, StoredPartition};

use super::{DecodeError, id_text, incarnation, incarnation_text, parse, unsigned};

pub(super) fn to_stored(record: &v1::PartitionRecord) -> StoredPartition {
    let assignment = record.assignment.clone().unwrap_or_default();
    StoredPartition {
        topic_id: id_text::<TopicId>(&record.topic_id),
        partition: record.partition,
        leader_incarnation: assignment
            .leader_incarnation
            .as_ref()
            .map(|i| incarnation_text(Some(i))),
        replicas: assignment.replicas,
        adding: assignment.adding,
        removing: assignment.removing,
        isr: assignment.isr,
        leader: assignment.leader,
        leader_epoch: assignment.leader_epoch,
        partition_epoch: assignment.partition_epoch.cast_signed(),
        unconfirmed: assignment.unconfirmed.iter().map(to_run).collect(),
        is_unclean: assignment.is_unclean,
    }
}

pub(super) fn from_stored(stored: &StoredPartition) -> Result<v1::PartitionRecord, DecodeError> {
    let topic_id: TopicId = parse("partitions.topicId", &stored.topic_id)?;
    let assignment = v1::Assignment {
        replicas: stored.replicas.clone(),
        adding: stored.adding.clone(),
        removing: stored.removing.clone(),
        isr: stored.isr.clone(),
        leader: stored.leader,
        leader_incarnation: stored
            .leader_incarnation
            .as_ref()
            .map(incarnation)
            .transpose()?,
        leader_epoch: stored.leader_epoch,
        partition_epoch: unsigned("partitions.partitionEpoch", stored.partition_epoch)?,
        unconfirmed: stored
            .unconfirmed
            .iter()
            .map(from_run)
            .collect::<Result<_, _>>()?,
        is_unclean: stored.is_unclean,
    };
    Ok(v1::PartitionRecord {
        topic_id: topic_id.as_bytes().to_vec().into(),
        partition: stored.partition,
        assignment: Some(assignment),
    })
}

fn to_run(run: &v1::BrokerRun) -> BrokerRun {
    BrokerRun {
        broker: run.broker,
        incarnation: incarnation_text(run.incarnation.as_ref()),
    }
}

fn from_run(run: &BrokerRun) -> Result<v1::BrokerRun, DecodeError> {
    Ok(v1::BrokerRun {
        broker: run.broker,
        incarnation: Some(incarnation(&run.incarnation)?),
    })
}
