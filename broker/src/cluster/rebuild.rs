//! Replicas whose logs cannot be used begin anew, empty, and catch up, where another replica has everything.
//!
//! None of that is decided here: the controller has taken the replica out of the in-sync set, durably, and another broker leads. Nor may the leader take
//! the new log for the old one: what it knows of a follower is of one epoch and of one run, so this run must not have told it anything in the epoch of the
//! assignment. The former files are moved, never deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_core::{Assignment, BrokerNumber, LeaderEpoch, PartitionFault, TopicPartition};
use taffrail_log::{LogError, set_aside_dir};

use super::{
    apply::{Conductor, blocking},
    known::Known,
};
use crate::{
    broker::Broker,
    datadir::quarantine,
    partition::{Fault, Partition, append::Removal},
};

const NO_ROOM: &str =
    "; there is no room to rebuild it beside that log: make room, or move the log away";

const NOT_MEASURED: &str = "; its files cannot be read, so it is not known whether there is room to rebuild it: look at the disk, or move the log away";

/// What begins anew, and what is kept of it.
#[derive(Debug, Default)]
pub(crate) struct Rebuilds {
    /// A controller has told this run what it is to each partition. What is known before may be older than what the controller has.
    is_told: bool,
    /// Once in each run: a disk that damages what was just written is not given more and more of it.
    begun: BTreeSet<TopicPartition>,
    /// Logs that were set aside, for people.
    kept: BTreeMap<TopicPartition, Arc<str>>,
}

impl Rebuilds {
    /// With what former runs have set aside in `quarantine`. Blocking.
    pub(crate) fn load(quarantine: &Path) -> Self {
        let kept = quarantine::kept(quarantine).into_iter();
        Self {
            kept: kept.map(|(id, note)| (id, note.into())).collect(),
            ..Self::default()
        }
    }

    /// An update of a controller that this run has registered with is durable here.
    pub(crate) fn told(&mut self) {
        self.is_told = true;
    }

    /// Replicas that may begin anew now.
    pub(crate) fn due(
        &self,
        broker: &Broker,
        me: BrokerNumber,
        known: &Known,
    ) -> Vec<(Arc<Partition>, Fault)> {
        let partitions = broker.partitions.all().into_iter();
        let unusable = partitions.filter_map(|partition| {
            let fault = partition.fault().filter(is_of_the_log)?;
            let assignment = known.view.partitions.get(&partition.id)?;
            let is_due = self.may_begin(partition.id, me, assignment, |epoch| {
                partition.is_unheard_in(epoch)
            });
            let is_known = known.view.topics.contains_key(&partition.id.topic);
            (is_due && is_known).then_some((partition, fault))
        });
        unusable.collect()
    }

    /// May the replica that `me` has begin anew? `is_unheard`: could no leader of this epoch know anything of its log?
    fn may_begin(
        &self,
        id: TopicPartition,
        me: BrokerNumber,
        assignment: &Assignment,
        is_unheard: impl FnOnce(LeaderEpoch) -> bool,
    ) -> bool {
        self.is_told
            && !self.begun.contains(&id)
            && replaceable_in(assignment, me).is_some_and(is_unheard)
    }

    /// It does now.
    pub(crate) fn begins(&mut self, id: TopicPartition) {
        self.begun.insert(id);
    }

    /// What was set aside of it last.
    pub(crate) fn kept(&self, id: TopicPartition) -> Option<Arc<str>> {
        self.kept.get(&id).cloned()
    }
}

/// Is it what the disk holds that is wrong, rather than the disk or this release?
fn is_of_the_log(fault: &Fault) -> bool {
    match fault.kind {
        PartitionFault::Damaged | PartitionFault::Lost => true,
        PartitionFault::Poisoned | PartitionFault::NewerFormat | PartitionFault::Io => false,
    }
}

/// The epoch in which another broker leads a partition of which `me` should have a replica, and nobody counts on it.
fn replaceable_in(assignment: &Assignment, me: BrokerNumber) -> Option<LeaderEpoch> {
    let has_leader = assignment.leader.is_some_and(|leader| leader != me);
    let is_wanted = assignment.replicas.contains(&me) && !assignment.removing.contains(&me);
    let is_spare = has_leader && is_wanted && !assignment.isr.contains(&me);
    is_spare.then_some(assignment.leader_epoch)
}

impl Conductor {
    /// Sets the logs aside that cannot be used, where they may go. The replicas are missing then, and are made as new ones are. The number of them.
    pub(super) async fn set_unusable_aside(&mut self, me: BrokerNumber, known: &Known) -> usize {
        let mut moved = 0;
        for (partition, fault) in self.rebuilds.due(&self.broker, me, known) {
            match self.set_aside(&partition, &fault).await {
                Ok(true) => moved += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(partition = %partition.label(), %error, "cannot set a log aside that cannot be used");
                }
            }
        }
        moved
    }

    /// False: there is no room for another log beside it, or nobody knows how much it takes.
    async fn set_aside(&mut self, partition: &Partition, fault: &Fault) -> Result<bool, LogError> {
        let id = partition.id;
        let (dir, all) = (self.dir.partition(id), self.dir.quarantine());
        let measured = blocking(move || (quarantine::size(&dir), quarantine::place(&all, id)));
        let Ok((measured, place)) = measured.await else {
            return Ok(false);
        };
        let bytes = match measured {
            Ok(bytes) => bytes,
            Err(error) => {
                if partition.add_to_fault(NOT_MEASURED) {
                    tracing::error!(partition = %partition.label(), %error, "cannot measure a log that should be rebuilt");
                    self.broker.report_now.notify_one();
                }
                return Ok(false);
            }
        };
        let needed = bytes.saturating_add(self.broker.config.disk.free_bytes_min);
        if bytes > 0 && needed > self.broker.space.free_bytes() {
            if partition.add_to_fault(NO_ROOM) {
                tracing::error!(partition = %partition.label(), needed, "no room to rebuild a partition");
                self.broker.report_now.notify_one();
            }
            return Ok(false);
        }
        self.rebuilds.begins(id);
        self.told.forget(id);
        let how = Removal::SetAside(place.clone());
        self.broker.disk.remove(id, how).await?;
        if self.move_dir(id, place.clone(), fault).await? {
            let note = quarantine::note(&place, &fault.message);
            self.rebuilds.kept.insert(id, note.into());
        }
        self.broker.partitions.remove(id);
        tracing::warn!(partition = %partition.label(), kept = %place.display(), reason = %fault.message,
            "a log that cannot be used is set aside, and the replica begins anew from its leader's");
        Ok(true)
    }

    /// A log that could not be opened has no owner who would have moved it. False: there is nothing to keep.
    async fn move_dir(
        &self,
        id: TopicPartition,
        place: PathBuf,
        fault: &Fault,
    ) -> Result<bool, LogError> {
        let (disk, dir) = (
            Arc::clone(&self.broker.environment.disk),
            self.dir.partition(id),
        );
        let reason = fault.message.clone();
        let moved = blocking(move || {
            set_aside_dir(&*disk, &dir, &place)?;
            if let Err(error) = quarantine::explain(&place, &reason) {
                tracing::warn!(path = %place.display(), %error, "cannot write down why a log was set aside");
            }
            Ok(place.exists())
        });
        moved.await.unwrap_or(Ok(false))
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(0),
    };
    const ME: BrokerNumber = BrokerNumber(2);

    /// Led by broker 1, with a replica here that nobody counts on.
    fn assignment() -> Assignment {
        Assignment {
            replicas: vec![BrokerNumber(1), ME, BrokerNumber(3)],
            isr: vec![BrokerNumber(1), BrokerNumber(3)],
            leader: Some(BrokerNumber(1)),
            leader_epoch: LeaderEpoch(5),
            ..Assignment::default()
        }
    }

    fn told() -> Rebuilds {
        let mut rebuilds = Rebuilds::default();
        rebuilds.told();
        rebuilds
    }

    fn may_begin(rebuilds: &Rebuilds, assignment: &Assignment) -> bool {
        rebuilds.may_begin(ID, ME, assignment, |epoch| epoch == LeaderEpoch(5))
    }

    #[test]
    fn a_replica_that_nobody_counts_on_begins_anew_once_in_a_run() {
        let mut rebuilds = told();
        assert!(may_begin(&rebuilds, &assignment()));
        rebuilds.begins(ID);
        assert!(!may_begin(&rebuilds, &assignment()));
    }

    #[test]
    fn nothing_begins_anew_on_what_is_known_from_before_this_run() {
        assert!(!may_begin(&Rebuilds::default(), &assignment()));
    }

    #[test]
    fn a_log_of_which_the_leader_may_have_heard_is_kept() {
        let is_unheard = |_| false;
        assert!(!told().may_begin(ID, ME, &assignment(), is_unheard));
    }

    #[test]
    fn no_member_no_leader_and_nobody_who_leaves_begins_anew() {
        type Change = fn(&mut Assignment);
        let kept: [Change; 5] = [
            |a| a.isr.push(ME),
            |a| a.leader = None,
            |a| a.leader = Some(ME),
            |a| a.removing = vec![ME],
            |a| a.replicas.retain(|replica| *replica != ME),
        ];
        for (n, change) in kept.into_iter().enumerate() {
            let mut changed = assignment();
            change(&mut changed);
            assert!(!may_begin(&told(), &changed), "change {n}");
        }
    }
}
