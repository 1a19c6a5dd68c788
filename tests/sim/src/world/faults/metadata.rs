//! The store that conflicts, is away, or is as it was before.

use crate::world::{MS, SECOND, World};

/// Backups that are kept.
const BACKUPS_MAX: usize = 6;
/// Restores of one run.
const RESTORES_MAX: u32 = 2;

impl World {
    pub(super) fn keep_backup(&mut self) {
        if !self.clients.topics.is_done() {
            return;
        }
        let backups = &mut self.faults.backups;
        if backups.len() == BACKUPS_MAX {
            backups.remove(0);
        }
        backups.push((self.now_us, self.store.snapshot()));
    }

    pub(super) fn trouble_store(&mut self) -> bool {
        self.faults.is_store_troubled = true;
        self.note("puts conflict or go astray".to_owned());
        let heals = self.chance.between(SECOND, 8 * SECOND);
        self.plan(heals, |w| {
            w.faults.is_store_troubled = false;
            Ok(())
        });
        true
    }

    pub(super) fn store_goes_down(&mut self) -> bool {
        self.faults.is_store_down = true;
        self.note("the store is down".to_owned());
        self.count("store away");
        let heals = self.chance.between(500 * MS, 6 * SECOND);
        self.plan(heals, |w| {
            w.faults.is_store_down = false;
            w.note("the store is back".to_owned());
            Ok(())
        });
        true
    }

    pub(super) fn restore_backup(&mut self) -> bool {
        let since_us = self.clients.topics.changed_us.max(self.faults.damaged_us);
        let backups = &self.faults.backups;
        let fit: Vec<_> = (0..backups.len())
            .filter(|b| backups[*b].0 > since_us)
            .collect();
        let may_restore = self.faults.damaged.is_none()
            && self.faults.restored < RESTORES_MAX
            && self.clients.topics.is_done();
        if fit.is_empty() || !may_restore {
            return false;
        }
        let (at_us, snapshot) = self.faults.backups[self.chance.pick(&fit)].clone();
        self.faults.restored += 1;
        self.count("store restored");
        self.note(format!("a backup of {} ms is restored", at_us / MS));
        self.plan(0, move |w| w.restore_store(snapshot));
        true
    }
}
