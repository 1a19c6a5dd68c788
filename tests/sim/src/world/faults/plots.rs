//! Faults that go together.

use taffrail_log::sim::Loss;

use crate::world::{BROKERS, CONTROLLERS, MS, SECOND, World};

impl World {
    fn cut_from_controllers(&mut self, broker: usize, for_us: u64) {
        for controller in BROKERS..BROKERS + CONTROLLERS {
            self.cut_for(broker, controller, for_us);
            self.cut_for(controller, broker, for_us);
        }
    }

    fn pick_leader(&mut self) -> Option<usize> {
        let leaders = self.stored.values().filter_map(|s| s.assignment.leader);
        let nodes: Vec<_> = leaders
            .filter_map(|l| self.numbers.get(&l).copied())
            .collect();
        (!nodes.is_empty()).then(|| self.chance.pick(&nodes))
    }

    /// Its followers hear it, and no controller does: another one is elected beside it.
    pub(super) fn isolate_leader(&mut self) -> bool {
        let Some(leader) = self.pick_leader() else {
            return false;
        };
        let for_us = self.chance.between(3 * SECOND, 9 * SECOND);
        self.note(format!("b{leader} leads, and no controller hears it"));
        self.count("leader not heard by controllers");
        self.cut_from_controllers(leader, for_us);
        true
    }

    /// Nobody hears it any more, and its disk hangs: a sync of what it alone has ends when that was cut long since.
    pub(super) fn hang_leader(&mut self) -> bool {
        let Some(leader) = self.pick_leader() else {
            return false;
        };
        let for_us = self.chance.between(4 * SECOND, 6 * SECOND);
        let hangs = for_us + self.chance.between(SECOND, 4 * SECOND);
        self.note(format!("b{leader} is alone, and its disk hangs"));
        self.count("leader alone while its disk hangs");
        self.cut_from_controllers(leader, for_us);
        for other in self.all().filter(|other| *other != leader) {
            self.cut_for(leader, other, for_us);
            self.cut_for(other, leader, for_us);
        }
        self.brokers[leader].disk_hangs_until_us = self.now_us + hangs;
        true
    }

    /// A controller takes office, and hears one broker only.
    pub(super) fn hear_one(&mut self) -> bool {
        if !self.crash_active_controller() {
            return false;
        }
        let heard = self.any_broker();
        let for_us = self.chance.between(4 * SECOND, 9 * SECOND);
        self.note(format!("controllers hear b{heard} only"));
        self.count("one broker heard only");
        for other in self.all().filter(|other| *other != heard) {
            self.cut_from_controllers(other, for_us);
        }
        true
    }

    /// What a run said is on its way still when the next one has begun.
    pub(super) fn outlive_run(&mut self) -> bool {
        let Some(broker) = self.running() else {
            return false;
        };
        let others: Vec<_> = self.all().filter(|other| *other != broker).collect();
        let other = self.chance.pick(&others);
        let for_us = self.chance.between(400 * MS, 2 * SECOND);
        self.note(format!(
            "what b{broker} says reaches b{other} after its end"
        ));
        self.count("said by a former run");
        self.cut_for(broker, other, for_us);
        let (run, goes) = (
            self.brokers[broker].run,
            self.chance.between(5 * MS, 100 * MS),
        );
        self.plan(goes, move |w| {
            if w.brokers[broker].run == run && w.may_restart(broker) {
                w.crash_broker(broker, Loss::Nothing);
                let down = w.chance.between(10 * MS, 100 * MS);
                w.plan(down, move |w| w.start_broker(broker));
            }
            Ok(())
        });
        true
    }

    /// All others go when this one comes back.
    pub(super) fn leave_alone(&mut self, broker: usize, after: u64) {
        self.count("alone with an older volume");
        for other in self.all().filter(|other| *other != broker) {
            let goes = after + self.chance.between(0, 100 * MS);
            let run = self.brokers[other].run;
            self.plan(goes, move |w| {
                if w.brokers[other].run == run {
                    w.crash_broker(other, Loss::Nothing);
                    let down = w.chance.between(SECOND, 6 * SECOND);
                    w.plan(down, move |w| w.start_broker(other));
                }
                Ok(())
            });
        }
    }
}
