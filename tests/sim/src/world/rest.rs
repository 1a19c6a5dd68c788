//! The end: everything is healed, has to come to rest, and is compared.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use taffrail_controller::sim::StoredPartition;
use taffrail_core::{BrokerNumber, TopicPartition};
use taffrail_log::sim::Loss;

use super::{SECOND, Step, World};

/// All partitions have all replicas by then, or something is stuck.
const REST_MAX: u64 = 90;
/// Producers go on for so long after everything was healed.
const LOAD: u64 = 5;

impl World {
    pub(super) fn come_to_rest(&mut self) -> Step {
        self.heal_all();
        let mut stuck = String::new();
        for second in 0..REST_MAX {
            self.restart_broken(second)?;
            self.clients.is_over = second >= LOAD;
            self.run_until(self.now_us + SECOND)?;
            if second > LOAD {
                match self.at_rest() {
                    Ok(()) => return self.compare(),
                    Err(why) => stuck = why,
                }
            }
        }
        Err(format!(
            "everything comes to rest: {REST_MAX} s after all was healed, {stuck}"
        ))
    }

    /// What a person or Kubernetes does with brokers that are down or have replicas that are offline.
    fn restart_broken(&mut self, second: u64) -> Step {
        for broker in self.all() {
            let process = self.brokers[broker].process.as_ref();
            let is_broken = process.is_some_and(|p| p.seen.values().any(|r| r.fault.is_some()));
            if is_broken && second % 10 == 3 {
                self.crash_broker(broker, Loss::Nothing);
            }
            if second > 1 && self.brokers[broker].process.is_none() {
                self.start_broker(broker)?;
            }
        }
        Ok(())
    }

    /// Why not.
    fn at_rest(&self) -> Step {
        if !self.clients.topics.is_done() {
            return Err("topics are not made".to_owned());
        }
        if !self.clients.moves.are_done() {
            return Err("moves are not ordered".to_owned());
        }
        if !self.is_whole_but(|stored| self.waits_for_a_person(stored)) {
            let active = self.stored.values().filter(|s| s.is_active);
            let why: Vec<_> = active
                .map(|s| {
                    let stored = super::told::assigned(&(&s.assignment).into());
                    format!(
                        "{} {stored} replicas {:?}",
                        s.partition, s.assignment.replicas
                    )
                })
                .collect();
            return Err(format!("not all replicas are in sync: {}", why.join("; ")));
        }
        self.all_is_moved()?;
        self.groups_are_at_rest()?;
        for (partition, leader) in self.leaders() {
            let mut ends = BTreeSet::new();
            for node in self.holders(partition) {
                let node = &self.brokers[node];
                let replica = node.process.as_ref().and_then(|p| p.seen.get(&partition));
                let replica = replica.ok_or_else(|| format!("{partition} is not everywhere"))?;
                ends.insert((replica.log_end, replica.high_watermark));
            }
            if ends.len() > 1 || ends.iter().any(|(end, committed)| end != committed) {
                return Err(format!("{partition} has ends {ends:?}"));
            }
            let node = self.numbers.get(&leader).map(|node| &self.brokers[*node]);
            let replica = node.and_then(|n| n.process.as_ref()?.seen.get(&partition));
            if !replica.is_some_and(|r| r.is_leading) {
                return Err(format!("{partition} is not led by {leader}"));
            }
            let end = replica.map_or(0, |r| r.log_end.0);
            let behind = self
                .clients
                .positions()
                .find(|(id, at)| *id == partition && *at < end);
            if let Some((_, at)) = behind {
                return Err(format!("a consumer of {partition} is at {at} of {end}"));
            }
        }
        Ok(())
    }

    /// The members of a set below `minInSync` restarted, and another replica has more than they: whether that was acknowledged nobody can know, and whether to
    /// go on without it a person says.
    pub(super) fn waits_for_a_person(&self, stored: &StoredPartition) -> bool {
        let assignment = &stored.assignment;
        let tail = |number: &BrokerNumber| {
            let node = &self.brokers[*self.numbers.get(number)?];
            let replica = node.process.as_ref()?.seen.get(&stored.partition)?;
            Some((replica.last_epoch, replica.durable_end))
        };
        let (_, most) = self.clients.topics.min_in_sync(&stored.topic);
        let isr = &assignment.isr;
        let is_below = isr.len() < most.min(assignment.replicas.len());
        let are_awaited = isr.iter().all(|m| assignment.awaits(*m).is_some());
        let of_members = isr.iter().filter_map(tail).max();
        assignment.leader.is_none()
            && is_below
            && are_awaited
            && assignment.replicas.iter().any(|r| tail(r) > of_members)
    }

    fn leaders(&self) -> BTreeMap<TopicPartition, BrokerNumber> {
        let active = self.stored.values().filter(|s| s.is_active);
        active
            .filter_map(|s| Some((s.partition, s.assignment.leader?)))
            .collect()
    }

    /// The same bytes everywhere, and everything that was acknowledged.
    fn compare(&mut self) -> Step {
        for (partition, leader) in self.leaders() {
            let (mut start, mut logs) = (taffrail_core::Offset(0), Vec::new());
            let holders = self.holders(partition);
            for node in holders.iter().map(|holder| &self.brokers[*holder]) {
                let replica = node.process.as_ref().and_then(|p| p.seen.get(&partition));
                start = start.max(replica.map_or(start, |r| r.log_start));
            }
            let mut epoch = taffrail_core::LeaderEpoch(0);
            for broker in holders {
                let process = self.brokers[broker].process.as_ref();
                let (process, replica) = process
                    .and_then(|p| Some((p, p.seen.get(&partition)?)))
                    .ok_or_else(|| format!("b{broker} has no {partition}"))?;
                epoch = epoch.max(replica.leader_epoch);
                let log = process.sim.read(partition, start, replica.log_end);
                logs.push(log.map_err(|e| format!("b{broker} {partition}: {e}"))?);
            }
            let from = |log: &[Bytes]| -> Result<Vec<(u64, u64)>, String> {
                let all = crate::ledger::parse(log)?;
                Ok(all.into_iter().filter(|(at, _)| *at >= start.0).collect())
            };
            for log in &logs[1..] {
                if log.concat() != logs[0].concat() && from(log)? != from(&logs[0])? {
                    return Err(format!("replicas of {partition} have the same records"));
                }
            }
            self.ledger.serves(partition, epoch, start, &logs[0])?;
            self.note(format!(
                "{partition} led by {leader}: {} batches",
                logs[0].len()
            ));
        }
        self.groups_missed_nothing()
    }
}
