//! Leaders that cannot be heard just now: what tells the controller that one of them may be gone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use taffrail_api::v1;
use taffrail_core::BrokerNumber;

/// A leader says something at least every second. Twice that is worth a word.
const SILENT_MS_MIN: u64 = 2_000;

/// Brokers that this one follows, and when each was last heard.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<BTreeMap<BrokerNumber, Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    at_ms: u64,
    is_refused: bool,
}

impl Doubts {
    /// It said something, or is listened to from now on.
    pub(crate) fn heard(&self, leader: BrokerNumber, at_ms: u64) {
        let heard = Heard {
            at_ms,
            is_refused: false,
        };
        self.lock().insert(leader, heard);
    }

    /// Nobody listens where it should be. True if that is news.
    pub(crate) fn refused(&self, leader: BrokerNumber) -> bool {
        let mut leaders = self.lock();
        let Some(heard) = leaders.get_mut(&leader) else {
            return false;
        };
        !std::mem::replace(&mut heard.is_refused, true)
    }

    /// It is not followed any more.
    pub(crate) fn forget(&self, leader: BrokerNumber) {
        self.lock().remove(&leader);
    }

    /// For a heartbeat.
    pub(crate) fn all(&self, now_ms: u64) -> Vec<v1::PeerDoubt> {
        let leaders = self.lock();
        let doubt = |(leader, heard): (&BrokerNumber, &Heard)| {
            let silent_ms = now_ms.saturating_sub(heard.at_ms);
            (heard.is_refused || silent_ms >= SILENT_MS_MIN).then(|| v1::PeerDoubt {
                broker: leader.0,
                refused: heard.is_refused,
                silent_ms: u32::try_from(silent_ms).unwrap_or(u32::MAX),
            })
        };
        leaders.iter().filter_map(doubt).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BrokerNumber, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: BrokerNumber = BrokerNumber(1);

    #[test]
    fn silence_and_refusal_are_told_until_the_leader_is_heard_or_forgotten() {
        let doubts = Doubts::default();
        doubts.heard(LEADER, 1_000);
        assert_eq!(doubts.all(2_999), []);
        let silent = doubts.all(4_500);
        assert_eq!((silent[0].broker, silent[0].silent_ms), (1, 3_500));
        assert!(!silent[0].refused);
        assert!(doubts.refused(LEADER) && !doubts.refused(LEADER));
        assert!(doubts.all(1_001)[0].refused, "at once");
        doubts.heard(LEADER, 5_000);
        assert_eq!(doubts.all(5_000), []);
        doubts.refused(LEADER);
        doubts.forget(LEADER);
        assert_eq!(doubts.all(99_000), []);
        assert!(!doubts.refused(LEADER), "nobody follows it");
    }
}
