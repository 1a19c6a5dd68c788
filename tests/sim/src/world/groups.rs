//! Consumer groups: members that join, process, commit and have troubles. What decides on a member's side is a small model of the client's.
//!
//! ```text
//! member     its process, its stream, and what it reads
//! stream     joins, stays, hears
//! work       carries out assignments, processes, commits
//! troubles   crashes, pauses, cuts, resets
//! ```

mod member;
mod stream;
mod troubles;
mod work;

use std::{collections::BTreeSet, ops::Range};

use taffrail_api::v1;
use taffrail_broker::sim::GroupView;
use taffrail_controller::sim::StoredPartition;
use taffrail_core::{MemberId, TopicPartition, internal::OFFSETS};
use taffrail_record::partitioner::partition_for_key;

use super::{
    SECOND, Step, World,
    clients::{CLICKS, ORDERS, OTHERS, PASSING},
    controllers::OFFSETS_PARTITIONS,
    network::ConnectionId,
};
use crate::{
    counters::Counters,
    groups::{News, Promise},
};
use member::Member;

/// What a group reads, and who is in it.
struct Plan {
    name: &'static str,
    promise: Promise,
    session_timeout_ms: u32,
    topics: &'static [&'static str],
    /// Matches the same as `reads`.
    patterns: &'static [&'static str],
    reads: &'static [&'static str],
    /// Instance ids of those that have one.
    members: &'static [Option<&'static str>],
}

const PLANS: [Plan; 2] = [
    Plan {
        name: "billing",
        promise: Promise::AtLeastOnce,
        session_timeout_ms: 6_000,
        topics: &[ORDERS, PASSING],
        patterns: &[],
        reads: &[ORDERS, PASSING],
        members: &[None, None, Some("till-1")],
    },
    Plan {
        name: "alarms",
        promise: Promise::AtMostOnce,
        // The shortest that there may be.
        session_timeout_ms: 3_000,
        topics: &[],
        patterns: &["orders|cl.*"],
        reads: &[ORDERS, CLICKS],
        members: &[None, Some("bell-1")],
    },
];

/// Of each group.
pub(super) const PROMISES: [(&str, Promise); 2] = [
    (PLANS[0].name, PLANS[0].promise),
    (PLANS[1].name, PLANS[1].promise),
];

/// All members of all groups, and whoever resets.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: Vec<Member>,
    /// These said that they leave.
    left: BTreeSet<MemberId>,
    /// These have instance ids: others take their places.
    statics: BTreeSet<MemberId>,
    resets: u64,
}

/// New records of `__offsets` were seen.
pub(super) fn count_groups(counters: &mut Counters, groups: &mut Groups, news: &News) {
    for member in &news.gone {
        let is_static = groups.statics.contains(member);
        if groups.left.contains(member) {
            counters.count("member left");
        } else if !is_static {
            counters.count("member expired");
        }
    }
    for _ in 0..news.live_resets {
        counters.count("live group reset");
    }
}

impl World {
    pub(super) fn begin_groups(&mut self) {
        for (group, plan) in PLANS.iter().enumerate() {
            for instance in plan.members {
                let index = self.clients.groups.members.len();
                let member = Member::new(group, OTHERS + index, *instance);
                self.clients.groups.members.push(member);
                let delay = self.chance.between(2 * SECOND, 8 * SECOND);
                self.plan(delay, move |w| w.start_member(index));
            }
        }
        self.plan(8 * SECOND, Self::next_trouble);
        for _ in 0..self.chance.between(1, 5) {
            let at = self.chance.between(12 * SECOND, 58 * SECOND);
            self.plan(at, Self::reset_somebody);
        }
    }

    /// The partition of `__offsets` whose leader coordinates a group.
    fn coordinated_by(&self, group: usize) -> Option<TopicPartition> {
        let index = partition_for_key(PLANS[group].name.as_bytes(), OFFSETS_PARTITIONS);
        let mut stored = self.stored.values();
        let found = stored.find(|s| s.topic == OFFSETS && s.partition.partition == index);
        found.map(|stored| stored.partition)
    }

    /// A coordinator says something: what it promises counts from now on, whether the member hears of it or not.
    pub(super) fn member_is_told(
        &mut self,
        broker: usize,
        connection: ConnectionId,
        response: &v1::MemberResponse,
    ) -> Step {
        use v1::member_response::Response;
        let members = &self.clients.groups.members;
        let Some(member) = members.iter().find(|m| m.is_on(connection)) else {
            return Ok(());
        };
        let (group, name) = (member.group, PLANS[member.group].name);
        let Some(partition) = self.coordinated_by(group) else {
            return Err(format!(
                "{name} has a coordinator, and no topic for it is stored"
            ));
        };
        let process = self.brokers[broker].process.as_ref();
        let replica = process.and_then(|process| process.seen.get(&partition));
        let Some(epoch) = replica.map(|replica| replica.leader_epoch) else {
            return Ok(());
        };
        match &response.response {
            Some(Response::Commit(answer)) => {
                for (id, offset) in member.acknowledged(answer) {
                    let ledger = &mut self.ledger;
                    let at = ledger.groups.acknowledges((name, id), offset)?;
                    ledger.relies_on(partition, epoch, at);
                }
            }
            Some(Response::Assigned(assigned)) => {
                let told = member::told(assigned)?;
                // Another one is behind, and can commit nothing.
                if self.ledger.newest_epoch(partition) == Some(epoch) {
                    for (id, share) in told.partitions {
                        self.ledger.groups.told((name, id), share.offset)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What a group has to read, and what there is of it.
    fn read_by(&self, group: usize) -> Vec<(TopicPartition, Range<u64>)> {
        let active = self.stored.values().filter(|s| s.is_active);
        let read = active.filter(|s| PLANS[group].reads.contains(&s.topic.as_str()));
        let records = |stored: &StoredPartition| {
            if self.waits_for_a_person(stored) {
                return 0..0;
            }
            let id = stored.partition;
            let processes = self.brokers.iter().filter_map(|node| node.process.as_ref());
            let replicas = processes.filter_map(|process| process.seen.get(&id));
            // Each replica expires its segments by itself.
            replicas.fold(0..0, |all: Range<u64>, replica| Range {
                start: all.start.max(replica.log_start.0),
                end: all.end.max(replica.log_end.0),
            })
        };
        read.map(|s| (s.partition, records(s))).collect()
    }

    /// Every group is stable, all of its partitions have members, and everything was read.
    pub(super) fn groups_are_at_rest(&self) -> Step {
        for (group, plan) in PLANS.iter().enumerate() {
            let processes = self.brokers.iter().filter_map(|node| node.process.as_ref());
            let views = processes.flat_map(|process| process.sim.groups());
            let views: Vec<GroupView> = views.filter(|view| view.group == plan.name).collect();
            let [view] = &views[..] else {
                return Err(format!("{} has {} coordinators", plan.name, views.len()));
            };
            if !view.is_stable || view.members != plan.members.len() {
                return Err(format!("{} is not stable: {view:?}", plan.name));
            }
            let read = self.read_by(group);
            let assigned: BTreeSet<_> = view.assigned.iter().copied().collect();
            if assigned != read.iter().map(|(id, _)| *id).collect() {
                return Err(format!("{} does not read everything: {view:?}", plan.name));
            }
            let is_behind = |(id, records): &&(TopicPartition, Range<u64>)| {
                let committed = view.committed.get(id).map_or(0, |offset| offset.0);
                committed.max(records.start) < records.end
            };
            if let Some((id, records)) = read.iter().find(is_behind) {
                return Err(format!(
                    "{} is behind in {id}, {records:?}: {view:?}",
                    plan.name
                ));
            }
        }
        Ok(())
    }

    /// Every record that is to be processed at least once was.
    pub(super) fn groups_missed_nothing(&self) -> Step {
        for (group, plan) in PLANS.iter().enumerate() {
            if plan.promise != Promise::AtLeastOnce {
                continue;
            }
            for (id, records) in self.read_by(group) {
                let end = records.end;
                if let Some(missed) = self.ledger.groups.first_missed((plan.name, id), 0, end) {
                    return Err(format!(
                        "what is to be processed at least once is processed: {} has read {id} to {end}, and not {missed}",
                        plan.name
                    ));
                }
            }
        }
        Ok(())
    }
}
