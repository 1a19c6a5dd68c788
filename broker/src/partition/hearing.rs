//! Which followers a leader has heard lately. A coordinator of groups must know that nobody else can be one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use taffrail_core::{BrokerNumber, LeaderEpoch, PartitionEpoch};

/// When a session last heard of its follower, by the broker's uptime in milliseconds. 0: never, or the session has ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

/// What a session holds of it.
#[derive(Debug, Default)]
pub(crate) struct Hears(Heard);

impl Hears {
    pub(crate) fn heard(&self) -> &Heard {
        &self.0
    }
}

/// After its end a follower may follow somebody else, however lately it was heard.
impl Drop for Hears {
    fn drop(&mut self) {
        self.0.now(0);
    }
}

impl Heard {
    pub(crate) fn now(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Release);
    }
}

/// The followers of one partition, each in the epoch in which it follows and with the session in which it does.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    followers: Mutex<BTreeMap<BrokerNumber, (LeaderEpoch, Heard)>>,
    /// Whom the controller was asked to take into the in-sync set, and of which version of the assignment: for all that is known it is in it.
    joining: Mutex<Option<(BrokerNumber, PartitionEpoch)>>,
}

impl Hearing {
    /// A follower asks in `epoch`, and goes on following for as long as its session says something and not that it ceased to.
    pub(crate) fn follows(&self, follower: BrokerNumber, epoch: LeaderEpoch, heard: &Heard) {
        self.lock().insert(follower, (epoch, heard.clone()));
    }

    /// A follower said that it does not follow any more.
    pub(crate) fn left(&self, follower: BrokerNumber) {
        self.lock().remove(&follower);
    }

    /// The controller is about to be asked to take `follower` into the in-sync set.
    pub(crate) fn may_join(&self, follower: BrokerNumber, asked_in: PartitionEpoch) {
        *self.joining() = Some((follower, asked_in));
    }

    /// Who may be in the in-sync set besides those of the assignment, which is of that version.
    pub(crate) fn newcomer(&self, version: PartitionEpoch) -> Option<BrokerNumber> {
        let joining = *self.joining();
        joining
            .filter(|(_, asked_in)| version <= *asked_in)
            .map(|(follower, _)| follower)
    }

    fn joining(&self) -> MutexGuard<'_, Option<(BrokerNumber, PartitionEpoch)>> {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When that one of `members` was heard in `epoch` that has been silent for longest. `None`: one never was.
    pub(crate) fn longest_silent_ms(
        &self,
        members: impl IntoIterator<Item = BrokerNumber>,
        epoch: LeaderEpoch,
    ) -> Option<u64> {
        let hearing = self.lock();
        let heard = |member| match hearing.get(&member) {
            Some((in_epoch, heard)) if *in_epoch == epoch => {
                Some(heard.0.load(Ordering::Acquire)).filter(|ms| *ms > 0)
            }
            _ => None,
        };
        let mut members = members.into_iter().map(heard);
        members.try_fold(u64::MAX, |longest, heard| Some(longest.min(heard?)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BrokerNumber, (LeaderEpoch, Heard)>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: LeaderEpoch = LeaderEpoch(4);

    #[test]
    fn the_one_that_is_silent_for_longest_counts() {
        let hearing = Hearing::default();
        let silent = || hearing.longest_silent_ms([BrokerNumber(1), BrokerNumber(2)], EPOCH);
        let (one, two) = (Heard::default(), Heard::default());
        hearing.follows(BrokerNumber(1), EPOCH, &one);
        assert_eq!(silent(), None, "the other one was never heard");
        hearing.follows(BrokerNumber(2), EPOCH, &two);
        one.now(50);
        two.now(70);
        assert_eq!(silent(), Some(50));
        one.now(90);
        assert_eq!(silent(), Some(70));
    }

    #[test]
    fn one_that_left_or_follows_in_another_epoch_is_not_heard() {
        let hearing = Hearing::default();
        let silent = || hearing.longest_silent_ms([BrokerNumber(1)], EPOCH);
        let heard = Heard::default();
        heard.now(50);
        hearing.follows(BrokerNumber(1), LeaderEpoch(3), &heard);
        assert_eq!(silent(), None);
        hearing.follows(BrokerNumber(1), EPOCH, &heard);
        assert_eq!(silent(), Some(50));
        hearing.left(BrokerNumber(1));
        assert_eq!(silent(), None);
    }

    #[test]
    fn one_whose_session_has_ended_is_not_heard() {
        let hearing = Hearing::default();
        let hears = Hears::default();
        hears.heard().now(50);
        hearing.follows(BrokerNumber(1), EPOCH, hears.heard());
        let silent = || hearing.longest_silent_ms([BrokerNumber(1)], EPOCH);
        assert_eq!(silent(), Some(50));
        drop(hears);
        assert_eq!(silent(), None);
    }

    #[test]
    fn one_that_was_asked_for_counts_until_a_later_assignment_comes() {
        let hearing = Hearing::default();
        assert_eq!(hearing.newcomer(PartitionEpoch(7)), None);
        hearing.may_join(BrokerNumber(2), PartitionEpoch(7));
        assert_eq!(hearing.newcomer(PartitionEpoch(7)), Some(BrokerNumber(2)));
        assert_eq!(hearing.newcomer(PartitionEpoch(8)), None);
    }

    #[test]
    fn without_followers_nobody_is_missed() {
        assert_eq!(
            Hearing::default().longest_silent_ms([], EPOCH),
            Some(u64::MAX)
        );
    }
}
