//! The sessions that are open: one for each follower.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::metrics::gauge::Gauge;
use taffrail_api::WireError;
use taffrail_core::{BrokerNumber, Incarnation};
use tokio_util::sync::CancellationToken;

use super::hello::fenced;
use crate::partition::hearing::SessionNumber;

/// Who follows this broker just now.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<BTreeMap<BrokerNumber, Open>>,
    opened: AtomicU64,
    gauge: Gauge,
}

#[derive(Debug)]
struct Open {
    incarnation: Incarnation,
    ended: CancellationToken,
}

/// A place among the sessions, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sessions: Arc<Sessions>,
    broker: BrokerNumber,
    pub(super) number: SessionNumber,
    /// Another session took its place.
    pub(super) ended: CancellationToken,
}

impl Sessions {
    /// Counted by `gauge`.
    pub(super) fn new(gauge: Gauge) -> Self {
        Self {
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            gauge,
        }
    }

    /// Opens a session. One of the same follower that is still open ends: it dialled anew because it got nothing more from that one.
    ///
    /// # Errors
    /// A later run of the follower has a session.
    pub(super) fn open(
        self: &Arc<Self>,
        broker: BrokerNumber,
        incarnation: Incarnation,
    ) -> Result<Seat, WireError> {
        let open = Open {
            incarnation,
            ended: CancellationToken::new(),
        };
        let ended = open.ended.clone();
        let mut sessions = self.lock();
        // Under the lock: in the order in which they take each other's place.
        let number = SessionNumber(self.opened.fetch_add(1, Ordering::Relaxed));
        match sessions.entry(broker) {
            Entry::Vacant(entry) => {
                entry.insert(open);
            }
            Entry::Occupied(mut entry) => {
                let newest = entry.get().incarnation;
                if incarnation.generation < newest.generation {
                    return Err(fenced(broker, incarnation, newest));
                }
                entry.insert(open).ended.cancel();
            }
        }
        self.gauge.inc();
        Ok(Seat {
            sessions: Arc::clone(self),
            broker,
            number,
            ended,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BrokerNumber, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.gauge.dec();
        let mut open = self.sessions.lock();
        // Under the lock: whoever takes the seat says so there.
        if !self.ended.is_cancelled() {
            open.remove(&self.broker);
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::ErrorCode;

    use super::*;

    const FOLLOWER: BrokerNumber = BrokerNumber(2);

    fn run(generation: u64) -> Incarnation {
        Incarnation {
            generation,
            random: 1,
        }
    }

    #[test]
    fn a_later_session_of_a_follower_takes_the_place_of_an_earlier_one() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.open(FOLLOWER, run(3)).expect("room");
        let again = sessions.open(FOLLOWER, run(3)).expect("dialled anew");
        assert!(first.ended.is_cancelled());
        let newer = sessions.open(FOLLOWER, run(4)).expect("restarted");
        assert!(again.ended.is_cancelled());
        assert!(first.number < again.number && again.number < newer.number);
        let older = sessions.open(FOLLOWER, run(3)).expect_err("over");
        assert_eq!(older.code, ErrorCode::BrokerFenced);
        drop((first, again));
        assert!(!newer.ended.is_cancelled());
        assert_eq!((sessions.lock().len(), sessions.gauge.get()), (1, 1));
        drop(newer);
        assert_eq!((sessions.lock().len(), sessions.gauge.get()), (0, 0));
    }
}
