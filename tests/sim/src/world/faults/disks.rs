//! Disks that fail, are full, slow, empty, or not the ones that were there before.

use taffrail_broker::sim::partition_dir;
use taffrail_log::{
    Disk as _,
    sim::{Fault, Loss, Operation, damage},
};

use crate::world::{
    MS, SECOND, Step, World,
    brokers::{Older, Volume},
};

impl World {
    /// Now and then a copy of each volume is made, and a backup of the store.
    pub(super) fn keep_copies(&mut self) -> Step {
        let pause = self.chance.between(SECOND, 4 * SECOND);
        self.plan(pause, Self::keep_copies);
        let broker = self.any_broker();
        let seed = self.chance.bits();
        let node = &mut self.brokers[broker];
        if let Some(process) = &node.process {
            node.older = Some(Older {
                disk: node.volume.disk.copy(seed),
                files: process.sim.files(),
                was_struck: node.was_struck,
            });
            self.note(format!("the volume of b{broker} is copied"));
        }
        self.keep_backup();
        Ok(())
    }

    fn restart_later(&mut self, broker: usize) {
        let down = self.chance.between(100 * MS, 5 * SECOND);
        self.plan(down, move |w| w.start_broker(broker));
    }

    pub(super) fn wipe(&mut self) -> bool {
        if !self.may_damage() {
            return false;
        }
        let broker = self.any_broker();
        self.damage(broker, self.now_us);
        self.is_gone(broker);
        self.replace_volume(broker);
        true
    }

    /// The number of its volume will never be heard again.
    fn is_gone(&mut self, broker: usize) {
        let process = self.brokers[broker].process.as_ref();
        let number = process.and_then(|p| p.sim.number());
        self.faults.gone.extend(number);
    }

    fn replace_volume(&mut self, broker: usize) {
        self.crash_broker(broker, Loss::Nothing);
        self.brokers[broker].format(&mut self.chance);
        self.note(format!("the volume of b{broker} is wiped"));
        self.count("volume wiped");
        self.restart_later(broker);
    }

    /// The medium changes a bit within a log. Whoever starts on it says so, and somebody replaces the volume.
    pub(super) fn damage_log(&mut self) -> bool {
        if !self.may_damage() {
            return false;
        }
        let broker = self.any_broker();
        let logs: Vec<_> = self.brokers[broker].kept.keys().copied().collect();
        if logs.is_empty() {
            return false;
        }
        let (log, drawn) = (self.chance.pick(&logs), self.chance.bits());
        let replaced = self.chance.between(3 * SECOND, 6 * SECOND);
        let (number_lost_us, dir) = (self.now_us + replaced, partition_dir(log));
        self.is_gone(broker);
        self.crash_broker(broker, Loss::Nothing);
        let disk = &self.brokers[broker].volume.disk;
        let is_damaged = damage(disk, &dir, drawn).unwrap_or(false);
        self.damage(broker, number_lost_us);
        self.note(format!("b{broker}: {log} is damaged: {is_damaged}"));
        if is_damaged {
            self.brokers[broker].was_struck = true;
            self.count("log damaged");
        }
        self.restart_later(broker);
        self.plan(replaced, move |w| {
            w.replace_volume(broker);
            Ok(())
        });
        true
    }

    pub(super) fn bring_back_older(&mut self) -> bool {
        if !self.may_damage() {
            return false;
        }
        let broker = self.any_broker();
        if !self.bring_back(broker) {
            return false;
        }
        if self.chance.happens(400) {
            let down = self.chance.between(100 * MS, SECOND);
            self.plan(down, move |w| w.start_broker(broker));
            self.leave_alone(broker, down);
        } else {
            self.restart_later(broker);
        }
        true
    }

    /// The process ends, and its volume is an older copy of itself. False: there is none.
    pub(super) fn bring_back(&mut self, broker: usize) -> bool {
        let Some(older) = self.brokers[broker].older.clone() else {
            return false;
        };
        self.damage(broker, self.now_us);
        self.crash_broker(broker, Loss::Nothing);
        let disk = older.disk.copy(self.chance.bits());
        self.brokers[broker].volume = Volume {
            disk,
            files: Some(older.files),
            counted: (0, 0),
        };
        self.brokers[broker].was_struck = older.was_struck;
        self.brokers[broker].kept.clear();
        self.brokers[broker].went_back = true;
        self.note(format!("b{broker} gets an older copy of its volume"));
        self.count("older volume");
        true
    }

    pub(super) fn fail_fsync(&mut self) -> bool {
        if !self.may_damage() {
            return false;
        }
        let broker = self.any_broker();
        let restarts = self.chance.between(2 * SECOND, 8 * SECOND);
        self.damage(broker, self.now_us + restarts);
        let after = self.chance.below(20) as u32;
        let fault = Fault::on(Operation::Sync, ".log").after(after).once();
        self.brokers[broker].volume.disk.inject(fault);
        self.brokers[broker].was_struck = true;
        self.note(format!("b{broker}: the sync after {after} fails"));
        self.plan(restarts, move |w| {
            w.crash_broker(broker, Loss::Nothing);
            w.restart_later(broker);
            Ok(())
        });
        true
    }

    /// What was planned for a disk counts once it happens.
    pub(in crate::world) fn count_failures(&mut self, broker: usize) {
        let volume = &mut self.brokers[broker].volume;
        let failed = volume.disk.failed();
        let before = std::mem::replace(&mut volume.counted, failed);
        if failed.0 > before.0 {
            self.count("fsync failed");
        }
        if failed.1 > before.1 {
            self.count("disk full");
        }
    }

    pub(super) fn fill_disk(&mut self) -> bool {
        let broker = self.any_broker();
        let room = self.chance.between(0, 48 << 10);
        let disk = &self.brokers[broker].volume.disk;
        disk.set_capacity(None);
        let Ok(space) = disk.space(std::path::Path::new("/")) else {
            return false;
        };
        let used = space.total_bytes - space.available_bytes;
        disk.set_capacity(Some(used + room));
        self.note(format!("the disk of b{broker} has {room} bytes left"));
        let heals = self.chance.between(500 * MS, 6 * SECOND);
        self.plan(heals, move |w| {
            w.brokers[broker].volume.disk.set_capacity(None);
            w.note(format!("the disk of b{broker} has room"));
            Ok(())
        });
        true
    }

    pub(super) fn slow_disk(&mut self) -> bool {
        let broker = self.any_broker();
        self.brokers[broker].is_disk_slow = true;
        self.note(format!("the disk of b{broker} is slow"));
        self.count("disk slow");
        let heals = self.chance.between(SECOND, 6 * SECOND);
        self.plan(heals, move |w| {
            w.brokers[broker].is_disk_slow = false;
            Ok(())
        });
        true
    }
}
