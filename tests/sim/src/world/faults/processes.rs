//! Processes that crash, stop, hang, or live with another clock.

use taffrail_broker::sim::Input;
use taffrail_log::sim::Loss;

use super::pause;
use crate::world::{CONTROLLERS, MIN_IN_SYNC, MS, SECOND, World};

impl World {
    pub(super) fn running(&mut self) -> Option<usize> {
        let running: Vec<_> = self
            .all()
            .filter(|b| self.brokers[*b].process.is_some() && self.may_restart(*b))
            .collect();
        (!running.is_empty()).then(|| self.chance.pick(&running))
    }

    fn loss(&mut self) -> Loss {
        let losses = [Loss::Nothing, Loss::Everything, Loss::Tails, Loss::Anything];
        self.chance.pick(&losses)
    }

    /// A batch that is whole behind one that is torn is a sign of damage: the log is not used, and leaves the in-sync set as a lost volume does. So that is
    /// done only where enough other members are there. Elsewhere what is torn is the last of what survives.
    fn bearable(&self, broker: usize, loss: Loss) -> Loss {
        let may_look_damaged = loss == Loss::Anything && self.has_batches_to_sync(broker);
        if may_look_damaged && !self.is_dispensable(broker) {
            return Loss::Tails;
        }
        loss
    }

    /// More than one of a log, so that one may survive without the one before?
    fn has_batches_to_sync(&self, broker: usize) -> bool {
        let process = self.brokers[broker].process.as_ref();
        process.is_some_and(|process| {
            process.seen.values().any(|replica| {
                let (from, to) = (replica.durable_end, replica.log_end);
                let unsynced = process.sim.read(replica.partition, from, to);
                unsynced.is_ok_and(|batches| batches.len() > 1)
            })
        })
    }

    /// Does every partition of which it is a member have `minInSync` others that are there?
    fn is_dispensable(&self, broker: usize) -> bool {
        let node = |number| self.numbers.get(number).copied();
        self.stored.values().filter(|s| s.is_active).all(|s| {
            let members = s.assignment.isr.iter().filter_map(node);
            let (own, others): (Vec<_>, Vec<_>) = members.partition(|n| *n == broker);
            let is_there = |other: &&usize| {
                let process = self.brokers[**other].process.as_ref();
                let replica = process.and_then(|p| p.seen.get(&s.partition));
                replica.is_some_and(|replica| replica.fault.is_none())
            };
            let (_, most) = self.clients.topics.min_in_sync(&s.topic);
            let there = others.iter().filter(is_there).count();
            own.is_empty() || there >= most.max(MIN_IN_SYNC)
        })
    }

    pub(super) fn crash(&mut self, broker: usize, loss: Loss) {
        let loss = self.bearable(broker, loss);
        self.count(match loss {
            Loss::Nothing => "broker crashed, nothing lost",
            Loss::Everything => "broker crashed, all unsynced lost",
            Loss::Tails => "broker crashed, unsynced tails lost",
            Loss::Anything => "broker crashed, anything unsynced lost",
        });
        self.crash_broker(broker, loss);
        let down = self.chance.between(50 * MS, 8 * SECOND);
        self.plan(down, move |w| w.start_broker(broker));
    }

    pub(super) fn crash_one(&mut self) -> bool {
        let Some(broker) = self.running() else {
            return false;
        };
        let loss = self.loss();
        self.crash(broker, loss);
        true
    }

    /// The power fails.
    pub(super) fn crash_all(&mut self) -> bool {
        let before = self.all().filter(|b| self.brokers[*b].process.is_some());
        let before: Vec<_> = before.collect();
        for broker in &before {
            if self.may_restart(*broker) {
                let loss = self.loss();
                self.crash(*broker, loss);
            }
        }
        let is_nobody_left = self.brokers.iter().all(|node| node.process.is_none());
        if is_nobody_left && before.len() == self.brokers.len() {
            self.count("all brokers crash at once");
        }
        true
    }

    pub(super) fn pause_one(&mut self) -> bool {
        let Some(broker) = self.running() else {
            return false;
        };
        let paused = self.chance.between(100 * MS, 7 * SECOND);
        let until_us = &mut self.brokers[broker].paused_until_us;
        if !pause(until_us, self.now_us, paused) {
            return false;
        }
        self.note(format!("b{broker} is paused for {} ms", paused / MS));
        self.count("broker paused");
        true
    }

    /// As SIGTERM does: leadership is handed over first, for a while.
    pub(super) fn stop_one(&mut self) -> bool {
        let Some(broker) = self.running() else {
            return false;
        };
        self.note(format!("b{broker} is to stop"));
        self.count("broker stopped in order");
        let run = self.brokers[broker].run;
        if let Some(process) = &mut self.brokers[broker].process {
            process.is_stopping = true;
        }
        self.plan(0, move |w| w.broker_input(broker, run, Input::Stopping));
        self.plan(5 * SECOND, move |w| {
            if w.brokers[broker].run == run {
                w.close_broker(broker);
            }
            Ok(())
        });
        let down = 5 * SECOND + self.chance.between(50 * MS, 3 * SECOND);
        self.plan(down, move |w| w.start_broker(broker));
        true
    }

    fn active(&mut self) -> Option<usize> {
        let active: Vec<_> = (0..CONTROLLERS).filter(|c| self.is_active(*c)).collect();
        (!active.is_empty()).then(|| self.chance.pick(&active))
    }

    pub(super) fn crash_active_controller(&mut self) -> bool {
        let Some(controller) = self.active() else {
            return false;
        };
        self.crash_controller(controller);
        self.count("controller crashed");
        let down = self.chance.between(50 * MS, 6 * SECOND);
        self.plan(down, move |w| {
            w.controllers[controller].is_up = true;
            Ok(())
        });
        true
    }

    /// The lease went to another one, and the one before has not noticed.
    pub(super) fn duel(&mut self) -> bool {
        let Some(active) = self.active() else {
            return false;
        };
        let other = (active + 1) % CONTROLLERS;
        if self.is_active(other) {
            return false;
        }
        self.note(format!("c{other} takes office beside c{active}"));
        self.count("controllers duel");
        self.plan(0, move |w| w.take_office(other));
        true
    }

    pub(super) fn pause_controller(&mut self) -> bool {
        let Some(controller) = self.active() else {
            return false;
        };
        let paused = self.chance.between(100 * MS, 8 * SECOND);
        let until_us = &mut self.controllers[controller].paused_until_us;
        if !pause(until_us, self.now_us, paused) {
            return false;
        }
        self.note(format!("c{controller} is paused for {} ms", paused / MS));
        self.count("controller paused");
        if paused > 3 * SECOND {
            let other = (controller + 1) % CONTROLLERS;
            self.plan(2 * SECOND, move |w| w.take_office(other));
        }
        true
    }

    pub(super) fn jump_clock(&mut self) -> bool {
        self.count("clock jumped");
        if self.chance.happens(300) {
            // It never goes back: a controller has a clock that only counts.
            let controller = self.chance.below(CONTROLLERS);
            self.controllers[controller].skew_ms += self.chance.between(100, 10_000);
            return true;
        }
        let broker = self.any_broker();
        let hour_ms = 3_600_000;
        self.brokers[broker].wall_skew_ms =
            self.chance.between(0, 2 * hour_ms) as i64 - hour_ms as i64;
        self.note(format!("the wall clock of b{broker} jumps"));
        true
    }
}
