//! Partitions of `__offsets` that this broker leads and whose groups it cannot read: what whoever asks for one of them is told, and when it is tried again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use taffrail_api::WireError;
use taffrail_core::{LeaderEpoch, TopicPartition};

use super::coordinators::RETRY_INTERVAL;

/// A log that cannot be read does not get better by itself, a disk that fails now and then does.
const WAIT_MS_MAX: u64 = 30_000;

/// By partition what went wrong.
#[derive(Debug, Default)]
pub(super) struct Unloaded(Mutex<BTreeMap<TopicPartition, Failure>>);

#[derive(Debug)]
struct Failure {
    epoch: LeaderEpoch,
    why: WireError,
    wait_ms: u64,
    /// By the broker's uptime.
    until_ms: u64,
}

impl Unloaded {
    /// Reading failed. Returns how long to wait before it is tried again, each time longer, and whether the reason is new.
    pub(super) fn failed(
        &self,
        id: TopicPartition,
        epoch: LeaderEpoch,
        why: WireError,
        now_ms: u64,
    ) -> (u64, bool) {
        let mut all = self.lock();
        let before = all.remove(&id).filter(|before| before.epoch == epoch);
        let wait_ms = before.as_ref().map_or_else(
            || RETRY_INTERVAL.as_millis() as u64,
            |before| (before.wait_ms * 2).min(WAIT_MS_MAX),
        );
        let is_news = before.is_none_or(|before| before.why != why);
        let failure = Failure {
            epoch,
            why,
            wait_ms,
            until_ms: now_ms + wait_ms,
        };
        all.insert(id, failure);
        (wait_ms, is_news)
    }

    /// It was read, or is another broker's to read.
    pub(super) fn forget(&self, id: TopicPartition) {
        self.lock().remove(&id);
    }

    /// Why its groups are not served.
    pub(super) fn why(&self, id: TopicPartition) -> Option<WireError> {
        self.lock().get(&id).map(|failure| failure.why.clone())
    }

    /// Is it time to try, again or in another epoch, of which nothing is known yet?
    pub(super) fn may_try(&self, id: TopicPartition, epoch: LeaderEpoch, now_ms: u64) -> bool {
        let mut all = self.lock();
        if all.get(&id).is_some_and(|failure| failure.epoch != epoch) {
            all.remove(&id);
        }
        all.get(&id)
            .is_none_or(|failure| now_ms >= failure.until_ms)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{ErrorCode, PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([0x0f; 16]),
        partition: PartitionIndex(3),
    };

    fn unreadable(what: &str) -> WireError {
        WireError::new(ErrorCode::UnreadableGroup, what)
    }

    #[test]
    fn it_is_tried_less_and_less_often_and_said_once() {
        let unloaded = Unloaded::default();
        let fails = |epoch, what| unloaded.failed(ID, LeaderEpoch(epoch), unreadable(what), 1_000);
        assert_eq!(fails(1, "a"), (200, true));
        assert_eq!(fails(1, "a"), (400, false));
        assert_eq!(fails(1, "b"), (800, true));
        for _ in 0..10 {
            fails(1, "b");
        }
        assert_eq!(fails(1, "b"), (WAIT_MS_MAX, false));
        assert_eq!(fails(2, "b"), (200, true), "another leader's time");
    }

    #[test]
    fn only_the_epoch_that_failed_waits_and_what_was_read_is_forgotten() {
        let unloaded = Unloaded::default();
        unloaded.failed(ID, LeaderEpoch(1), unreadable("a"), 1_000);
        assert!(!unloaded.may_try(ID, LeaderEpoch(1), 1_199));
        assert!(unloaded.may_try(ID, LeaderEpoch(1), 1_200));
        assert_eq!(unloaded.why(ID), Some(unreadable("a")));
        assert!(unloaded.may_try(ID, LeaderEpoch(2), 1_000));
        assert_eq!(unloaded.why(ID), None, "it is not known yet");
        unloaded.failed(ID, LeaderEpoch(2), unreadable("a"), 1_000);
        unloaded.forget(ID);
        assert_eq!(unloaded.why(ID), None);
    }
}
