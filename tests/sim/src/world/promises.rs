//! What is taken for granted somewhere, compared with what is on the disks and in the store: a promise is seen to be broken where it is, and not only
//! when a record is missing.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::{
    convert,
    v1::{self, controller_message, follower_message},
};
use taffrail_broker::sim::{Input, ReplicaView, partition_dir};
use taffrail_core::{
    BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionFault, TopicPartition,
    replica::invariants,
};
use taffrail_log::sim::{SimDisk, end_on_medium};

use super::{Step, World, network::ConnectionId};

/// A member of the persisted in-sync set has everything that is committed: it may be the next leader.
const MEMBERS_HAVE_WHAT_IS_COMMITTED: &str = "members of the in-sync set have what is committed";
/// A leader counts of a follower what that has on disk.
const WHAT_COUNTS_IS_ON_DISK: &str = "what counts is on the follower's disk";
/// What a follower says under another leader epoch counts for nothing.
const ONLY_ITS_EPOCH_COUNTS: &str = "a leader counts only what is said in its epoch";
/// What a former run of a follower says counts for nothing.
const ONLY_THE_LAST_RUN_COUNTS: &str = "a leader counts only what the last run says";
/// What a broker called durable is there after its restart, or its log says that it is damaged.
const DURABLE_SURVIVES: &str = "what is durable survives a restart";

/// A replica calls durable what its log has synced, and what is on the medium.
const DURABLE_IS_SYNCED: &str = "durable is what was synced";
/// A log calls itself damaged only on a disk that was struck.
const ONLY_WHAT_WAS_STRUCK_IS_DAMAGED: &str = "no log is damaged by itself";
/// A leader commits what enough members have, by the assignment that it goes by.
const ENOUGH_MEMBERS_COMMIT: &str = "nothing is committed by fewer than minInSync members";

/// What a volume has of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// In which it was last.
    pub(super) epoch: LeaderEpoch,
    /// Below it everything was called durable.
    pub(super) durable_end: Offset,
}

/// What a follower said of its replicas, and under which epochs.
#[derive(Debug)]
pub(super) struct Said {
    follower: BrokerNumber,
    run: Incarnation,
    positions: BTreeSet<(TopicPartition, LeaderEpoch)>,
}

/// A log that was opened has what was durable of it.
pub(super) fn keeps(was: Option<&Kept>, now: &ReplicaView, is_new: bool) -> Step {
    match was.filter(|was| is_new && now.durable_end < was.durable_end) {
        Some(was) => Err(format!(
            "{DURABLE_SURVIVES}: {} was durable to {}, and is there to {}",
            now.partition, was.durable_end, now.durable_end
        )),
        None => Ok(()),
    }
}

/// What a replica came to call durable is on the medium of its disk, whatever its log says.
pub(super) fn is_on_medium(
    disk: &SimDisk,
    before: Option<&ReplicaView>,
    now: &ReplicaView,
) -> Step {
    let looked = before.map_or(now.log_start, |before| before.durable_end);
    let from = looked.max(now.log_start);
    if now.fault.is_some() || now.durable_end <= from {
        return Ok(());
    }
    let end = end_on_medium(disk, &partition_dir(now.partition), from);
    match end.map_err(|e| e.to_string())? {
        end if end < now.durable_end => Err(format!(
            "{DURABLE_IS_SYNCED}: the disk has {} to {end}, and it says {}",
            now.partition, now.durable_end
        )),
        _ => Ok(()),
    }
}

/// Whoever calls a log damaged has a reason.
pub(super) fn is_rightly_offline(view: &ReplicaView, was_struck: bool) -> Step {
    let is_damaged = matches!(
        view.fault_kind,
        Some(PartitionFault::Damaged | PartitionFault::Lost)
    );
    match &view.fault {
        Some(fault) if is_damaged && !was_struck => Err(format!(
            "{ONLY_WHAT_WAS_STRUCK_IS_DAMAGED}: {} {fault}",
            view.partition
        )),
        _ => Ok(()),
    }
}

/// What a replica calls durable, its log does as well.
pub(super) fn was_synced(view: &ReplicaView) -> Step {
    match view.synced_end.filter(|end| view.durable_end > *end) {
        Some(end) if view.fault.is_none() => Err(format!(
            "{DURABLE_IS_SYNCED}: {} to {}, and it says {}",
            view.partition, end, view.durable_end
        )),
        _ => Ok(()),
    }
}

/// A leader has moved its high watermark, by an assignment with so many members.
pub(super) fn enough_members(leader: &ReplicaView, members: Option<usize>, least: usize) -> Step {
    match members {
        Some(members) if members >= least => Ok(()),
        _ => Err(format!(
            "{ENOUGH_MEMBERS_COMMIT}: {} to {} by {members:?}, epoch {}.{}",
            leader.partition, leader.high_watermark, leader.leader_epoch, leader.partition_epoch
        )),
    }
}

/// Runs of brokers, of which a controller tells. Leaders know them once the broker has obeyed.
pub(super) fn runs_told(input: &Input) -> Vec<(BrokerNumber, Incarnation)> {
    let Input::ControllerSays(message) = input else {
        return Vec::new();
    };
    let Some(controller_message::Message::Update(update)) = &message.message else {
        return Vec::new();
    };
    let runs = update.brokers.iter();
    runs.filter_map(|b| Some((BrokerNumber(b.number), b.incarnation?.into())))
        .collect()
}

/// Is a run not the one that is known, and none that is yet to register? A later one than that may be: a store that went back names an older one.
fn is_over(run: Incarnation, known: Incarnation) -> bool {
    run != known && run.generation <= known.generation
}

impl World {
    /// Everything before `end` is committed: enough replicas have it on disk, and every member of the in-sync set.
    pub(super) fn check_committed(&self, partition: TopicPartition, end: Offset) -> Step {
        let stored = self.stored.get(&partition).filter(|s| s.is_active);
        let Some(stored) = stored else {
            // A leader that does not know yet: the others may have deleted it.
            return Ok(());
        };
        let (least, _) = self.clients.topics.min_in_sync(&stored.topic);
        // What a damaged volume had and reported counts until its leader hears of the damage.
        let has = |node: &usize| self.is_damaged_node(*node) || self.has(*node, partition, end);
        let copies = (0..self.brokers.len()).filter(has).count();
        if copies < least {
            let rule = invariants::ACKNOWLEDGED_IS_DURABLE_ON_MIN_IN_SYNC;
            return Err(format!("{rule}: {partition} to {end} is on {copies}"));
        }
        self.check_members(partition, end)
    }

    pub(super) fn has(&self, node: usize, partition: TopicPartition, end: Offset) -> bool {
        let kept = self.brokers[node].kept.get(&partition);
        end == Offset(0) || kept.is_some_and(|kept| kept.durable_end >= end)
    }

    pub(super) fn check_members(&self, partition: TopicPartition, end: Offset) -> Step {
        let Some(stored) = self.stored.get(&partition).map(|s| &s.assignment) else {
            return Ok(());
        };
        let above = (partition, stored.version());
        let versions = self.persisted.range(above..);
        let is_newest = versions.take_while(|((id, _), _)| *id == partition).count() <= 1;
        let lacks = |member: &&BrokerNumber| {
            let node = self.numbers.get(member);
            node.is_some_and(|n| !self.is_damaged_node(*n) && !self.has(*n, partition, end))
        };
        match stored.isr.iter().find(lacks).filter(|_| is_newest) {
            Some(member) => Err(format!(
                "{MEMBERS_HAVE_WHAT_IS_COMMITTED}: {partition} to {end} is not on {member}, {}",
                super::told::assigned(&stored.into())
            )),
            None => Ok(()),
        }
    }

    /// What leaders of a partition count of followers that are not in a later epoch already.
    pub(super) fn check_counted(&self, partition: TopicPartition) -> Step {
        let processes = self.brokers.iter().filter_map(|node| node.process.as_ref());
        let views = processes.filter_map(|process| process.seen.get(&partition));
        for leader in views.filter(|view| view.is_leading && view.fault.is_none()) {
            for (follower, end) in &leader.counted {
                let node = self.numbers.get(follower);
                let Some(node) = node.filter(|node| !self.is_damaged_node(**node)) else {
                    continue;
                };
                // What is not there was deleted.
                let kept = self.brokers[*node].kept.get(&partition);
                let in_epoch = kept.is_some_and(|kept| kept.epoch <= leader.leader_epoch);
                if self.is_another_log(partition, *follower, kept) {
                    continue;
                }
                if in_epoch && !self.has(*node, partition, *end) {
                    return Err(format!(
                        "{WHAT_COUNTS_IS_ON_DISK}: the leader of {partition} epoch {} counts {follower} to {end}, {kept:?}",
                        leader.leader_epoch
                    ));
                }
            }
        }
        Ok(())
    }

    /// Is it another log than the one that the leader heard of, on which nobody counts? A replica whose log was damaged begins anew, and is empty until
    /// its new run has asked; one that was moved away may come back with an older volume before its leader has heard of the move's end.
    fn is_another_log(
        &self,
        partition: TopicPartition,
        of: BrokerNumber,
        kept: Option<&Kept>,
    ) -> bool {
        let stored = self.stored.get(&partition);
        stored.is_some_and(|stored| {
            let (assignment, end) = (&stored.assignment, kept.map(|kept| kept.durable_end));
            let is_empty_spare = !assignment.isr.contains(&of) && end == Some(Offset(0));
            is_empty_spare || !assignment.replicas.contains(&of)
        })
    }

    /// Who says what on a connection.
    pub(super) fn said_by(
        &self,
        connection: ConnectionId,
        message: &v1::FollowerMessage,
    ) -> Option<Said> {
        let Some(follower_message::Message::Positions(said)) = &message.message else {
            return None;
        };
        let (follower, run) = self.follower_of(connection)?;
        let positions = said.positions.iter().filter_map(|p| {
            let partition = convert::topic_partition(&p.topic_id, p.partition).ok()?;
            Some((partition, LeaderEpoch(u32::try_from(p.leader_epoch).ok()?)))
        });
        Some(Said {
            follower,
            run,
            positions: positions.collect(),
        })
    }

    /// What counts of a follower has changed by what it said: then it was said in the leader's epoch, by the run that the leader knows.
    pub(super) fn check_heard(
        &self,
        leader: usize,
        before: &BTreeMap<TopicPartition, ReplicaView>,
        said: &Said,
    ) -> Step {
        let Some(process) = &self.brokers[leader].process else {
            return Ok(());
        };
        let of = |view: &ReplicaView| {
            let mut counted = view.counted.iter();
            counted
                .find(|(f, _)| *f == said.follower)
                .map(|(_, end)| *end)
        };
        for (partition, epoch) in &said.positions {
            let Some(now) = process.seen.get(partition).filter(|now| now.is_leading) else {
                continue;
            };
            let was = before.get(partition);
            let was = was.filter(|was| was.leader_epoch == now.leader_epoch);
            if of(now).is_none() || was.is_some_and(|was| of(was) == of(now)) {
                continue;
            }
            let (leads, follower) = (now.leader_epoch, said.follower);
            if !said.positions.contains(&(*partition, leads)) {
                return Err(format!(
                    "{ONLY_ITS_EPOCH_COUNTS}: the leader of {partition} epoch {leads} heeds {follower} of epoch {epoch}"
                ));
            }
            let known = process.runs.get(&follower);
            if let Some(known) = known.filter(|known| is_over(said.run, **known)) {
                return Err(format!(
                    "{ONLY_THE_LAST_RUN_COUNTS}: the leader of {partition} knows run {known} of {follower} and heeds {}",
                    said.run
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_unless_it_is_the_one_that_is_known_or_one_to_come() {
        let run = |generation, random| Incarnation { generation, random };
        let known = run(3, 30);
        assert!(!is_over(run(3, 30), known));
        assert!(!is_over(run(4, 40), known), "it registers later");
        assert!(is_over(run(2, 20), known), "a former run");
        assert!(is_over(run(3, 31), known), "another copy of the volume");
    }
}
