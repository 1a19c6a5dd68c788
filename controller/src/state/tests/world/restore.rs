//! The store goes back in time.

use taffrail_core::{Assignment, TopicPartition};

use super::{CONTROLLERS, World};
use crate::{
    state::{Event, live::HEARING_MS},
    store::Snapshot,
};

impl World {
    /// The store as it is.
    pub(in crate::state::tests) fn backup(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// The store is as it was, and the controllers start anew.
    pub(in crate::state::tests) fn restore_store(&mut self, backup: Snapshot) {
        self.store.restore(backup);
        for controller in 0..CONTROLLERS {
            self.crash(controller);
        }
        self.settle_one(0);
        self.reached.clear();
    }

    /// Somebody deletes the brokers' objects, and the controller in office is told that something is missing.
    pub(in crate::state::tests) fn delete_brokers(&mut self) {
        let mut snapshot = self.store.snapshot();
        snapshot.brokers.clear();
        self.store.restore(snapshot);
        self.event(0, Event::StoreChanged);
    }

    /// Somebody deletes the root, and the controller in office reads the store.
    pub(in crate::state::tests) fn delete_root(&mut self) {
        let mut snapshot = self.store.snapshot();
        snapshot.root = None;
        self.store.restore(snapshot);
        self.is_without_root = true;
        self.event(0, Event::StoreChanged);
        self.go_on();
    }

    /// Only these kinds are left; nobody is told.
    pub(in crate::state::tests) fn keep(&mut self, has_maps: bool, has_brokers: bool) {
        let mut snapshot = self.store.snapshot();
        snapshot.maps.retain(|_| has_maps);
        snapshot.brokers.retain(|_| has_brokers);
        self.store.restore(snapshot);
    }

    /// The root is there again, beside everything else as it was.
    pub(in crate::state::tests) fn put_root_back(&mut self, backup: Snapshot) {
        self.is_without_root = false;
        self.restore_store(backup);
    }

    /// These brokers, and nobody else, are there until everybody who was not heard is given up. A controller that hears of a later term takes office
    /// again, and is dialled again.
    pub(in crate::state::tests) fn come(&mut self, brokers: &[usize]) {
        for _ in 0..3 {
            for broker in brokers {
                if self.brokers[*broker].session.is_none() {
                    self.dial(*broker, 0);
                    self.settle_one(0);
                }
            }
            self.go_on();
        }
        for _ in 0..=HEARING_MS / 1_000 + 1 {
            self.wait(1_000);
            self.go_on();
        }
    }

    /// What the volume knows of the partition.
    pub(in crate::state::tests) fn known(
        &self,
        broker: usize,
        partition: TopicPartition,
    ) -> Assignment {
        self.brokers[broker].stored[&partition].clone()
    }
}
