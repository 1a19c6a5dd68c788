//! Processes that crash, stop, hang, or live with another clock.

use taffrail_broker::sim::Input;
use taffrail_log::sim::Loss;

use crate::world::{CONTROLLERS, MS, SECOND, World};

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

    pub(super) fn crash(&mut self, broker: usize, loss: Loss) {
        self.count(match loss {
            Loss::Nothing => "broker crashed, nothing lost",
            _ => "broker crashed, unsynced lost",
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
        for broker in self.all() {
            if self.brokers[broker].process.is_some() && self.may_restart(broker) {
                let loss = self.loss();
                self.crash(broker, loss);
            }
        }
        true
    }

    pub(super) fn pause_one(&mut self) -> bool {
        let Some(broker) = self.running() else {
            return false;
        };
        let paused = self.chance.between(100 * MS, 7 * SECOND);
        self.brokers[broker].paused_until_us = self.now_us + paused;
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
        self.controllers[controller].paused_until_us = self.now_us + paused;
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
