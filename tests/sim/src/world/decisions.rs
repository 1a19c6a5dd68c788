//! What controllers decide, compared with what they were told and with what is in the store.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::{
    convert,
    v1::{self, broker_message, controller_message, isr_request::Change},
};
use taffrail_controller::sim::StoredPartition;
use taffrail_core::{
    Assignment, BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch, TopicPartition,
};

use super::{Step, World, network::ConnectionId};

/// Nobody is elected before enough replicas have reported to this controller.
const ELECTIONS_HEAR_ENOUGH: &str = "nobody is elected before enough replicas have reported";
/// If a broker knows more than the store, every member of the in-sync set that it knows has to report first.
const IN_DOUBT_ALL_MEMBERS_ARE_HEARD: &str = "in doubt every member has to report";
/// Whom a leader asks for has everything that is committed.
const NEWCOMERS_HAVE_WHAT_IS_COMMITTED: &str = "a newcomer has what is committed";
/// A controller that heard nobody claims what it found and changes nothing.
const CLAIMS_CHANGE_NOTHING: &str = "a claim changes no assignment";
/// Brokers hear only of assignments that the store has, or had.
const NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED: &str = "nothing is said before it is persisted";

/// What one run of a controller was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// By brokers on these nodes.
    heard: BTreeSet<usize>,
    /// The newest assignments that they knew.
    newest: BTreeMap<TopicPartition, Assignment>,
}

/// Every version of an assignment that the store ever had, and of how many members.
type Versions = BTreeMap<(TopicPartition, (LeaderEpoch, PartitionEpoch)), usize>;

/// The last epoch of a partition, also if the store went back to before it: whoever leads an earlier one has not heard of it yet.
fn last_epoch(persisted: &Versions, partition: TopicPartition) -> LeaderEpoch {
    let all = (partition, Default::default())
        ..=(partition, (LeaderEpoch(u32::MAX), PartitionEpoch(u64::MAX)));
    let last = persisted.range(all).next_back();
    last.map_or(LeaderEpoch(0), |((_, (epoch, _)), _)| *epoch)
}

impl World {
    /// A broker says something to a controller.
    pub(super) fn hears(
        &mut self,
        controller: usize,
        session: ConnectionId,
        message: &v1::BrokerMessage,
    ) {
        let Some(broker_message::Message::Register(register)) = &message.message else {
            return;
        };
        let node = self.node_of_dialler(session);
        // A standby turns brokers away.
        let Some(node) = node.filter(|_| self.is_active(controller)) else {
            return;
        };
        let told = &mut self.controllers[controller].told;
        told.heard.insert(node);
        for stored in register.stored.iter().filter(|stored| !stored.deleted) {
            let partition = convert::topic_partition(&stored.topic_id, stored.partition);
            let assignment = stored.assignment.clone().unwrap_or_default();
            let (Ok(partition), Ok(assignment)) = (partition, Assignment::try_from(assignment))
            else {
                continue;
            };
            let newest = told
                .newest
                .entry(partition)
                .or_insert_with(|| assignment.clone());
            if newest.version() < assignment.version() {
                *newest = assignment;
            }
        }
    }

    /// A broker asks its controller for newcomers to in-sync sets: they have everything that is committed, in so far as its epoch is the last one.
    pub(super) fn asks(&mut self, broker: usize, message: &v1::BrokerMessage) -> Step {
        let Some(broker_message::Message::IsrRequests(asked)) = &message.message else {
            return Ok(());
        };
        for asked in &asked.requests {
            let partition = convert::topic_partition(&asked.topic_id, asked.partition);
            let (Ok(partition), Some(Change::Expand(run))) = (partition, &asked.change) else {
                continue;
            };
            let Some(node) = self.numbers.get(&BrokerNumber(run.broker)).copied() else {
                continue;
            };
            let epoch = u32::try_from(asked.leader_epoch).map(LeaderEpoch);
            let stored = self.stored.get(&partition).filter(|s| s.is_active);
            let is_last = stored.is_some_and(|s| {
                // One that was moved away meanwhile is refused.
                let is_replica = s.assignment.replicas.contains(&BrokerNumber(run.broker));
                is_replica && epoch == Ok(last_epoch(&self.persisted, partition))
            });
            // One that asks for a run that is over is refused as well.
            let process = self.brokers[node].process.as_ref();
            let asked_for = run.incarnation.map(Incarnation::from);
            let is_run = process.is_none_or(|p| Some(p.sim.incarnation()) == asked_for);
            let end = self.ledger.committed_end(partition);
            if is_last && is_run && !self.is_damaged_node(node) && !self.has(node, partition, end) {
                return Err(format!(
                    "{NEWCOMERS_HAVE_WHAT_IS_COMMITTED}: b{broker} asks for {} in {partition}, which is committed to {end}",
                    run.broker
                ));
            }
            self.newcomer_is_asked_for(broker, node);
        }
        Ok(())
    }

    /// A controller that was told so much changed assignments that were as in `before`.
    pub(super) fn check_put(
        &self,
        told: &Told,
        before: &BTreeMap<TopicPartition, StoredPartition>,
    ) -> Step {
        for (partition, after) in &self.stored {
            let (after, before) = (&after.assignment, before.get(partition));
            let Some(before) = before.map(|b| &b.assignment).filter(|b| *b != after) else {
                continue;
            };
            // A run that is over, as the store says itself, leads no more.
            let is_vacated = after.leader.is_none() && after.isr == before.isr;
            if told.heard.is_empty() && !is_vacated {
                return Err(format!("{CLAIMS_CHANGE_NOTHING}: {partition}"));
            }
            if after.leader_epoch > before.leader_epoch && after.leader.is_some() {
                self.check_election(*partition, before, after, told)?;
            }
            if after.isr.iter().any(|member| !before.isr.contains(member)) {
                self.check_members(*partition, self.ledger.committed_end(*partition))?;
            }
        }
        Ok(())
    }

    fn check_election(
        &self,
        partition: TopicPartition,
        before: &Assignment,
        after: &Assignment,
        told: &Told,
    ) -> Step {
        // A volume that was heard and then lost was heard nevertheless.
        let replicas = before.replicas.iter().chain(&after.replicas);
        let nodes = replicas.filter_map(|number| self.numbers.get(number));
        let nodes: BTreeSet<_> = nodes.collect();
        let heard = told.heard.iter().filter(|node| nodes.contains(node));
        let (_, most) = self
            .clients
            .topics
            .min_in_sync(&self.stored[&partition].topic);
        // Copies that are to come or to go may be in the same put.
        let replicas = before.replicas.len().min(after.replicas.len());
        let (heard, needed) = (heard.count(), replicas + 1 - most.min(replicas));
        if heard < needed {
            return Err(format!(
                "{ELECTIONS_HEAR_ENOUGH}: {partition}, {heard} of {needed}"
            ));
        }
        let newest = told.newest.get(&partition);
        let Some(newest) = newest.filter(|newest| newest.version() > before.version()) else {
            return Ok(());
        };
        let is_unheard = |member: &&BrokerNumber| {
            let node = self.numbers.get(member);
            node.is_none_or(|node| !told.heard.contains(node))
        };
        match newest.isr.iter().find(is_unheard) {
            Some(member) => Err(format!(
                "{IN_DOUBT_ALL_MEMBERS_ARE_HEARD}: {partition}, a broker knows {}, and {member} was not heard",
                super::told::assigned(&newest.into())
            )),
            None => Ok(()),
        }
    }

    /// A controller tells a broker something.
    pub(super) fn check_told(&self, message: &v1::ControllerMessage) -> Step {
        let Some(controller_message::Message::Update(update)) = &message.message else {
            return Ok(());
        };
        for record in &update.partitions {
            let partition = convert::topic_partition(&record.topic_id, record.partition);
            let assignment = record.assignment.clone().map(Assignment::try_from);
            let (Ok(partition), Some(Ok(assignment))) = (partition, assignment) else {
                continue;
            };
            if !self
                .persisted
                .contains_key(&(partition, assignment.version()))
            {
                return Err(format!(
                    "{NOTHING_IS_SAID_BEFORE_IT_IS_PERSISTED}: {partition} {}",
                    super::told::assigned(&(&assignment).into())
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn the_last_epoch_is_the_last_one_that_the_store_ever_had() {
        let of = |partition| TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: PartitionIndex(partition),
        };
        let version = |leader, partition| (LeaderEpoch(leader), PartitionEpoch(partition));
        let put = [
            (of(0), version(3, 12)),
            (of(0), version(4, 16)),
            // Restored, and changed again.
            (of(0), version(3, 13)),
            (of(1), version(9, 9)),
        ];
        let persisted = put.into_iter().map(|key| (key, 2)).collect();
        assert_eq!(last_epoch(&persisted, of(0)), LeaderEpoch(4));
        assert_eq!(last_epoch(&persisted, of(2)), LeaderEpoch(0));
    }
}
