//! Changes that are no elections: under higher epochs, so that brokers take them, but never under those of a record that is in force and that
//! nobody has told of yet. The store may have gone back in time before this controller took office.

use taffrail_core::{
    Assignment, LeaderEpoch, PartitionEpoch, TopicPartition,
    replica::{Certainty, Election},
};

use super::{
    cluster::{Cluster, Topic},
    heard::Heard,
    live::Live,
};

/// The version for a change of `record`; `None`: it has to wait until more brokers have come.
pub(crate) fn version(
    cluster: &Cluster,
    heard: Heard<'_>,
    topic: &Topic,
    partition: TopicPartition,
    record: &Assignment,
) -> Option<(LeaderEpoch, PartitionEpoch)> {
    let reports = heard.reports(cluster, partition, Some(record));
    let election = heard.election(topic, partition, Some(record), &reports);
    let is_sure = is_sure(heard.live, &election);
    election.next_change().filter(|_| is_sure)
}

/// May epochs be raised? Those who are on their way are here in a moment: without them, new epochs would have to leap.
pub(crate) fn is_sure(live: &Live, election: &Election<'_>) -> bool {
    match election.certainty() {
        Certainty::Everything => true,
        Certainty::Acknowledged => !live.is_early(),
        Certainty::Nothing => false,
    }
}

/// `next`, a change of `record`, under `version`.
pub(crate) fn lift(
    next: Assignment,
    record: &Assignment,
    version: (LeaderEpoch, PartitionEpoch),
) -> Assignment {
    let leap = version.0.0 - record.leader_epoch.0;
    Assignment {
        leader_epoch: LeaderEpoch(next.leader_epoch.0 + leap),
        partition_epoch: version.1,
        ..next
    }
}
