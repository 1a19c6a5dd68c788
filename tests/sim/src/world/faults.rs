//! What goes wrong, and when it is well again. What may not go wrong at the same time, and why: `docs/SIMULATION.md`.

mod disks;
mod metadata;
mod plots;
mod processes;
mod traps;

use std::collections::BTreeSet;

use taffrail_controller::{Snapshot, sim::StoredPartition};
use taffrail_core::{Assignment, BrokerNumber};

use super::{
    BROKERS, CONTROLLERS, MIN_IN_SYNC, MS, NODES, SECOND, Step, World, brokers::BrokerNode,
};

/// What is wrong just now.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// So far.
    pub(super) made: u64,
    /// Nothing goes wrong any more.
    pub(super) are_over: bool,
    is_store_down: bool,
    is_store_troubled: bool,
    /// A broker that lost what it had promised to keep. Until all is whole again, no other one may.
    damaged: Option<usize>,
    damaged_us: u64,
    /// It may still be struck until then.
    damaged_until_us: u64,
    /// Numbers of volumes that were wiped.
    gone: BTreeSet<BrokerNumber>,
    backups: Vec<(u64, Snapshot)>,
    restored: u32,
    /// What waits for its moment.
    trap: Option<traps::Trap>,
}

impl Faults {
    pub(super) const fn store_is_down(&self) -> bool {
        self.is_store_down
    }

    pub(super) const fn store_is_troubled(&self) -> bool {
        self.is_store_troubled
    }

    pub(super) const fn store_may_be_odd(&self) -> bool {
        self.is_store_troubled || self.is_store_down
    }
}

/// Makes something go wrong. False: it may not just now.
type Kind = fn(&mut World) -> bool;

/// How often each is chosen.
const KINDS: [(Kind, u32); 26] = [
    (World::crash_one, 10),
    (World::crash_all, 1),
    (World::pause_one, 5),
    (World::stop_one, 4),
    (World::cut_network, 10),
    (World::slow_network, 3),
    (World::noise, 6),
    (World::break_connections, 3),
    (World::crash_active_controller, 5),
    (World::duel, 5),
    (World::pause_controller, 4),
    (World::trouble_store, 6),
    (World::store_goes_down, 2),
    (World::restore_backup, 3),
    (World::wipe, 4),
    (World::bring_back_older, 6),
    (World::fail_fsync, 4),
    (World::damage_log, 3),
    (World::fill_disk, 4),
    (World::slow_disk, 3),
    (World::jump_clock, 4),
    (World::set_trap, 16),
    (World::isolate_leader, 3),
    (World::hang_leader, 3),
    (World::hear_one, 4),
    (World::outlive_run, 5),
];

/// Lets a process stand still for so long. False: it does already. What comes meanwhile is handled at the end of that, in order; with another end, what
/// comes later would overtake it, and a stream never does that.
pub(super) fn pause(until_us: &mut u64, now_us: u64, for_us: u64) -> bool {
    let runs = *until_us <= now_us;
    if runs {
        *until_us = now_us + for_us;
    }
    runs
}

impl World {
    pub(super) fn begin_faults(&mut self) {
        self.plan(4 * SECOND, Self::next_fault);
        self.plan(5 * SECOND, Self::keep_copies);
    }

    fn next_fault(&mut self) -> Step {
        if self.faults.are_over {
            return Ok(());
        }
        let pause = self.chance.between(200 * MS, 4 * SECOND);
        self.plan(pause, Self::next_fault);
        if self.faults.damaged_until_us < self.now_us && self.is_whole() {
            self.faults.damaged = None;
        }
        let all: u32 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.chance.below(all as usize) as u32;
        for (kind, weight) in KINDS {
            if drawn < weight {
                if kind(self) {
                    self.faults.made += 1;
                }
                break;
            }
            drawn -= weight;
        }
        Ok(())
    }

    /// Does every partition have all its replicas, in sync and confirmed, on brokers that are there? By a store that is as it is: of an older one brokers
    /// know more.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole_but(|_| false)
    }

    /// The same without these partitions.
    pub(super) fn is_whole_but(&self, except: impl Fn(&StoredPartition) -> bool) -> bool {
        let are_there = self.brokers.iter().all(|node| {
            let process = node.process.as_ref();
            node.paused_until_us <= self.now_us
                && process.is_some_and(|p| {
                    p.sim.has_session() && p.seen.values().all(|r| r.fault.is_none())
                })
        });
        let active = self.stored.values().filter(|s| s.is_active);
        are_there
            && !self.brokers.iter().any(|node| self.knows_more(node))
            && active
                .filter(|s| !except(s))
                .map(|s| (&s.assignment, s.wanted))
                .all(|(a, wanted)| {
                    a.leader.is_some()
                        && a.isr.len() == a.replicas.len()
                        && a.replicas.len() == wanted
                        && a.removing.is_empty()
                        && a.unconfirmed.is_empty()
                        && a.adding.is_empty()
                        && a.replicas.iter().all(|r| self.is_node_of(*r))
                })
    }

    /// Has it heard of a newer assignment than the store has?
    fn knows_more(&self, node: &BrokerNode) -> bool {
        let mut seen = node.process.iter().flat_map(|p| p.seen.values());
        seen.any(|replica| {
            let stored = self.stored.get(&replica.partition);
            let version = (replica.leader_epoch, replica.partition_epoch);
            stored.is_some_and(|stored| version > stored.assignment.version())
        })
    }

    pub(super) fn any_broker(&mut self) -> usize {
        let count = self.brokers.len();
        self.chance.below(count)
    }

    fn is_node_of(&self, number: BrokerNumber) -> bool {
        let node = self.numbers.get(&number).map(|node| &self.brokers[*node]);
        let process = node.and_then(|node| node.process.as_ref());
        process.is_some_and(|process| process.sim.number() == Some(number))
    }

    /// May a volume lose something now?
    fn may_damage(&self) -> bool {
        self.faults.damaged.is_none()
            && !self.stored.is_empty()
            && self.clients.topics.do_without_one()
            && self.is_whole()
    }

    /// May the volume of a member go back while others are not in sync? Every partition has `minInSync` members that are there and confirmed: one of them
    /// keeps what is committed, and the store tells who it is.
    pub(super) fn may_damage_a_member(&self) -> bool {
        let is_well = |number: &BrokerNumber| {
            let node = self.numbers.get(number).map(|node| &self.brokers[*node]);
            let process = node.and_then(|node| {
                let process = node.process.as_ref();
                process.filter(|_| node.paused_until_us <= self.now_us)
            });
            process.is_some_and(|p| {
                let is_here = p.sim.number() == Some(*number) && p.sim.has_session();
                is_here && !p.is_stopping && p.seen.values().all(|r| r.fault.is_none())
            })
        };
        let mut active = self.stored.values().filter(|s| s.is_active);
        self.faults.damaged.is_none()
            && self.faults.restored == 0
            && self.clients.topics.do_without_one()
            && active.all(|s| {
                let a = &s.assignment;
                let is_settled = a.leader.is_some() && a.unconfirmed.is_empty();
                is_settled && a.isr.len() >= MIN_IN_SYNC && a.isr.iter().all(is_well)
            })
    }

    fn damage(&mut self, broker: usize, until_us: u64) {
        self.faults.damaged = Some(broker);
        self.faults.damaged_us = self.now_us;
        self.faults.damaged_until_us = until_us;
    }

    pub(super) const fn was_restored(&self) -> bool {
        self.faults.restored > 0
    }

    pub(super) fn is_damaged_node(&self, broker: usize) -> bool {
        self.faults.damaged == Some(broker)
    }

    /// May this broker's process end? Not while the in-sync set has a member whose volume is gone for good: who restarts is electable only if every
    /// other member can be asked, and that one never comes back. Nor while a lost volume left it smaller than `minInSync`, or will once it is found out: then
    /// no other replica may have more.
    fn may_restart(&self, broker: usize) -> bool {
        let is_hurt = |s: &StoredPartition| {
            let isr = &s.assignment.isr;
            let stay = isr.iter().filter(|m| !self.is_to_leave(&s.assignment, **m));
            let (_, most) = self.clients.topics.min_in_sync(&s.topic);
            stay.count() < most || isr.iter().any(|m| !self.is_node_of_volume(*m))
        };
        self.faults.damaged.is_none_or(|damaged| damaged == broker)
            || !self.stored.values().any(is_hurt)
    }

    /// Is it a member on a volume that lost something, which nobody knows yet? Once its broker has registered on it, it has left, or is not confirmed.
    fn is_to_leave(&self, a: &Assignment, member: BrokerNumber) -> bool {
        let node = self.numbers.get(&member).copied();
        let Some(damaged) = node.filter(|node| self.is_damaged_node(*node)) else {
            return false;
        };
        let process = self.brokers[damaged].process.as_ref();
        let is_found_out =
            process.is_some_and(|p| p.started_us >= self.faults.damaged_us && p.sim.has_session());
        !is_found_out || a.awaits(member).is_some()
    }

    /// Is the volume of this number still there?
    fn is_node_of_volume(&self, number: BrokerNumber) -> bool {
        !self.faults.gone.contains(&number)
    }

    fn cut_network(&mut self) -> bool {
        let from = self.chance.below(BROKERS + CONTROLLERS);
        let to = self.chance.below(BROKERS + CONTROLLERS);
        let is_nobody = |node: usize| (self.brokers.len()..BROKERS).contains(&node);
        if from == to || from >= BROKERS && to >= BROKERS || is_nobody(from) || is_nobody(to) {
            return false;
        }
        let both = self.chance.happens(400);
        self.network.cut[from][to] = true;
        self.network.cut[to][from] |= both;
        self.note(format!(
            "network cut from {from} to {to}, both ways: {both}"
        ));
        self.count("network cut");
        let heals = self.chance.between(200 * MS, 9 * SECOND);
        self.plan(heals, move |w| {
            w.network.cut[from][to] = false;
            w.network.cut[to][from] = false;
            w.note(format!("network between {from} and {to} is whole"));
            w.resume_stalled();
            Ok(())
        });
        true
    }

    fn slow_network(&mut self) -> bool {
        self.network.is_slow = true;
        self.note("the network is slow".to_owned());
        self.count("network slow");
        let heals = self.chance.between(SECOND, 6 * SECOND);
        self.plan(heals, |w| {
            w.network.is_slow = false;
            Ok(())
        });
        true
    }

    fn noise(&mut self) -> bool {
        self.network.is_noisy = true;
        self.note("connections between brokers are noisy".to_owned());
        self.break_some();
        let heals = self.chance.between(2 * SECOND, 8 * SECOND);
        self.plan(heals, |w| {
            w.network.is_noisy = false;
            Ok(())
        });
        true
    }

    fn break_connections(&mut self) -> bool {
        self.note("connections break".to_owned());
        self.break_some();
        true
    }

    pub(super) fn heal_all(&mut self) {
        self.faults.are_over = true;
        self.faults.is_store_down = false;
        self.faults.is_store_troubled = false;
        self.network.cut = [[false; NODES]; NODES];
        self.network.is_slow = false;
        self.network.is_noisy = false;
        for node in &mut self.brokers {
            // A pause ends by itself: what came meanwhile stays in order.
            node.is_disk_slow = false;
            node.volume.disk.heal();
            node.volume.disk.set_capacity(None);
        }
        for controller in &mut self.controllers {
            controller.is_up = true;
        }
        self.note("everything is healed".to_owned());
        self.resume_stalled();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_still_goes_on_neither_earlier_nor_later() {
        let mut until_us = 0;
        assert!(pause(&mut until_us, 40, 100));
        for (now_us, for_us) in [(41, 10), (41, 200), (139, 100)] {
            assert!(!pause(&mut until_us, now_us, for_us));
            assert_eq!(until_us, 140);
        }
        assert!(pause(&mut until_us, 140, 10));
        assert_eq!(until_us, 150);
    }
}
