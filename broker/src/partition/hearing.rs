//! Which followers a leader has heard lately. A coordinator of groups must know that nobody else can be one.
//!
//! A leader says its clock with whatever it sends, and a follower repeats the newest one that it has read: so the leader knows that the follower followed
//! when that was sent, or later. When it reads this does not count. What a follower wrote may lie in a buffer for as long as this process stands still, or
//! the network does, while the follower goes over to another leader. What was written in one session says nothing against a later one, for the same reason: the
//! follower dialled anew, and the rest of the former session is read beside the new one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use taffrail_core::{BrokerNumber, LeaderEpoch, PartitionEpoch};

/// Sessions of followers, in the order in which they began. One of the same follower that began later takes the place of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SessionNumber(pub(crate) u64);

/// Until when a follower is known to have followed in a session.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    session: SessionNumber,
    /// By the broker's uptime. 0: not at all, or the session has ended.
    until_ms: Arc<AtomicU64>,
}

/// What a session holds of it.
///
/// Invariant: what was heard is a time at or before the last one that was said.
#[derive(Debug)]
pub(crate) struct Hears {
    heard: Heard,
    /// The newest clock that the follower was sent. 0: none.
    said_ms: u64,
}

impl Hears {
    pub(crate) fn new(session: SessionNumber) -> Self {
        let until_ms = Arc::default();
        Self {
            heard: Heard { session, until_ms },
            said_ms: 0,
        }
    }

    pub(crate) const fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The follower is about to be sent the leader's clock.
    pub(crate) fn says(&mut self, now_ms: u64) -> u64 {
        self.said_ms = now_ms;
        now_ms
    }

    /// The follower repeats a clock. One that it was not sent is no word of this leader's, and says nothing.
    pub(crate) fn repeated(&self, clock_ms: u64) {
        if clock_ms <= self.said_ms {
            self.heard.at(clock_ms);
        }
    }
}

/// After its end a follower may follow somebody else, however lately it was heard.
impl Drop for Hears {
    fn drop(&mut self) {
        self.heard.until_ms.store(0, Ordering::Release);
    }
}

impl Heard {
    /// The follower followed at that time. It never goes back: a word that was overtaken says nothing new.
    pub(crate) fn at(&self, ms: u64) {
        self.until_ms.fetch_max(ms, Ordering::AcqRel);
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
        let mut followers = self.lock();
        let known = followers.get(&follower);
        if known.is_none_or(|(_, known)| known.session <= heard.session) {
            followers.insert(follower, (epoch, heard.clone()));
        }
    }

    /// A follower said in a session that it does not follow any more.
    pub(crate) fn left(&self, follower: BrokerNumber, heard: &Heard) {
        let mut followers = self.lock();
        let known = followers.get(&follower);
        if known.is_some_and(|(_, known)| known.session <= heard.session) {
            followers.remove(&follower);
        }
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

    /// Until when all of `members` are known to have followed in `epoch`: that one's time that has been silent for longest. `None`: one never was heard.
    pub(crate) fn longest_silent_ms(
        &self,
        members: impl IntoIterator<Item = BrokerNumber>,
        epoch: LeaderEpoch,
    ) -> Option<u64> {
        let hearing = self.lock();
        let heard = |member| match hearing.get(&member) {
            Some((in_epoch, heard)) if *in_epoch == epoch => {
                Some(heard.until_ms.load(Ordering::Acquire)).filter(|ms| *ms > 0)
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

    fn heard_in(session: u64) -> Heard {
        Hears::new(SessionNumber(session)).heard().clone()
    }

    #[test]
    fn the_one_that_is_silent_for_longest_counts() {
        let hearing = Hearing::default();
        let silent = || hearing.longest_silent_ms([BrokerNumber(1), BrokerNumber(2)], EPOCH);
        let (one, two) = (heard_in(1), heard_in(2));
        hearing.follows(BrokerNumber(1), EPOCH, &one);
        assert_eq!(silent(), None, "the other one was never heard");
        hearing.follows(BrokerNumber(2), EPOCH, &two);
        one.at(50);
        two.at(70);
        assert_eq!(silent(), Some(50));
        one.at(90);
        assert_eq!(silent(), Some(70));
    }

    #[test]
    fn one_that_left_or_follows_in_another_epoch_is_not_heard() {
        let hearing = Hearing::default();
        let silent = || hearing.longest_silent_ms([BrokerNumber(1)], EPOCH);
        let heard = heard_in(1);
        heard.at(50);
        hearing.follows(BrokerNumber(1), LeaderEpoch(3), &heard);
        assert_eq!(silent(), None);
        hearing.follows(BrokerNumber(1), EPOCH, &heard);
        assert_eq!(silent(), Some(50));
        hearing.left(BrokerNumber(1), &heard);
        assert_eq!(silent(), None);
    }

    /// A session with the only follower.
    struct Session {
        hearing: Hearing,
        hears: Hears,
    }

    impl Session {
        /// The leader has said these clocks.
        fn said(clocks_ms: &[u64]) -> Self {
            let (hearing, mut hears) = (Hearing::default(), Hears::new(SessionNumber(1)));
            hearing.follows(BrokerNumber(1), EPOCH, hears.heard());
            for ms in clocks_ms {
                hears.says(*ms);
            }
            Self { hearing, hears }
        }

        /// Since when the follower is silent, once it has repeated `clock_ms`.
        fn repeated(&self, clock_ms: u64) -> Option<u64> {
            self.hears.repeated(clock_ms);
            self.silent()
        }

        fn silent(&self) -> Option<u64> {
            self.hearing.longest_silent_ms([BrokerNumber(1)], EPOCH)
        }
    }

    #[test]
    fn a_word_counts_as_of_when_its_writer_was_spoken_to() {
        let mut session = Session::said(&[40, 50]);
        assert_eq!(session.repeated(50), Some(50));
        // The leader stands still, and goes on: what it reads then was written before.
        session.hears.says(9_000);
        assert_eq!(session.repeated(50), Some(50));
        assert_eq!(session.repeated(9_000), Some(9_000));
    }

    #[test]
    fn a_word_that_repeats_nothing_is_none() {
        let session = Session::said(&[50]);
        assert_eq!(session.repeated(0), None);
        assert_eq!(session.repeated(50), Some(50));
        assert_eq!(session.repeated(0), Some(50));
    }

    #[test]
    fn a_word_that_was_overtaken_takes_nothing_back() {
        let session = Session::said(&[50, 70]);
        assert_eq!(session.repeated(70), Some(70));
        assert_eq!(session.repeated(50), Some(70));
    }

    #[test]
    fn a_clock_that_the_leader_has_not_said_yet_is_not_believed() {
        let mut session = Session::said(&[]);
        assert_eq!(session.repeated(1), None, "nothing was said");
        session.hears.says(50);
        for not_said in [51, u64::MAX] {
            assert_eq!(session.repeated(not_said), None);
        }
        assert_eq!(session.repeated(50), Some(50));
    }

    #[test]
    fn one_whose_session_has_ended_is_not_heard() {
        let Session { hearing, mut hears } = Session::said(&[50]);
        hears.repeated(hears.said_ms);
        let silent = || hearing.longest_silent_ms([BrokerNumber(1)], EPOCH);
        assert_eq!(silent(), Some(50));
        // What was on its way is read no more.
        hears.says(60);
        drop(hears);
        assert_eq!(silent(), None);
    }

    #[test]
    fn the_rest_of_a_former_session_says_nothing_against_a_later_one() {
        let hearing = Hearing::default();
        let silent = || hearing.longest_silent_ms([BrokerNumber(1)], EPOCH);
        let (former, later) = (heard_in(1), heard_in(2));
        hearing.follows(BrokerNumber(1), EPOCH, &former);
        former.at(50);
        hearing.follows(BrokerNumber(1), EPOCH, &later);
        later.at(70);
        // Written before the follower dialled anew, and read after.
        hearing.follows(BrokerNumber(1), EPOCH, &former);
        assert_eq!(silent(), Some(70));
        hearing.left(BrokerNumber(1), &former);
        assert_eq!(silent(), Some(70));
        hearing.left(BrokerNumber(1), &later);
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
