//! How a member stands with its group: the one thing that the pull loop and the session share. Every decision about it is made under one lock.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use taffrail_api::v1;
use taffrail_core::{GroupEpoch, MemberId};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{assignment::Assignment, commits::CommitQueue, event::Loss};
use crate::error::ClientError;

/// Invariants: `applied` is 0 while `valid_until` is `None`; `told` is of this life.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) member: MemberId,
    /// Raised whenever everything is lost.
    pub(super) life: u64,
    /// How the life before ended.
    pub(super) loss: Option<Loss>,
    /// The assignment that the pull loop carries out. 0: it processes nothing.
    pub(super) applied: GroupEpoch,
    /// The newest that the coordinator told.
    pub(super) told: Option<Arc<Assignment>>,
    /// The member processes nothing from then on, unless it is answered.
    pub(super) valid_until: Option<Instant>,
    /// There is no way on.
    pub(super) failed: Option<ClientError>,
    /// What kept the session from being a member, the last time.
    pub(super) trouble: Option<ClientError>,
    /// The application is out of the pull loop since then.
    pub(super) out_since: Option<Instant>,
    /// The application wants to leave.
    pub(super) leaving: Option<Leaving>,
}

/// How a member leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Its partitions wait for it.
    pub(super) comes_back: bool,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            member: new_member(),
            life: 0,
            loss: None,
            applied: GroupEpoch(0),
            told: None,
            valid_until: None,
            failed: None,
            trouble: None,
            out_since: None,
            leaving: None,
        }
    }

    /// Everything is given up at once. A member that was forgotten, or that left, is another one from then on.
    pub(super) fn lose(&mut self, why: Loss) {
        self.life += 1;
        self.loss = Some(why);
        self.applied = GroupEpoch(0);
        self.told = None;
        self.valid_until = None;
        if why != Loss::NotAnswered {
            self.member = new_member();
        }
    }

    /// Ends the life of a member that was not answered in time. True: it did.
    fn expire(&mut self, now: Instant) -> bool {
        let is_over = self.valid_until.is_some_and(|until| now >= until);
        if is_over {
            self.lose(Loss::NotAnswered);
        }
        is_over
    }

    /// A new stream replaces the one before: what was told on that one and is not carried out is void.
    pub(super) fn begin_join(&mut self) -> Joining {
        if self.told.as_ref().is_some_and(|t| t.epoch > self.applied) {
            self.told = None;
        }
        Joining {
            life: self.life,
            member: self.member,
            epoch: self.applied,
        }
    }

    fn answered(&mut self, life: u64, sent: Instant, timeout: Duration) {
        if life == self.life {
            self.valid_until = self.valid_until.max(Some(sent + timeout));
        }
    }

    fn apply(&mut self, assignment: &Arc<Assignment>) -> bool {
        let told = self.told.as_ref();
        let is_told = told.is_some_and(|told| Arc::ptr_eq(told, assignment));
        if is_told {
            self.applied = assignment.epoch;
        }
        is_told
    }
}

/// As whom a stream begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joining {
    pub(super) life: u64,
    pub(super) member: MemberId,
    pub(super) epoch: GroupEpoch,
}

/// What the pull loop sees of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) life: u64,
    pub(super) loss: Option<Loss>,
    pub(super) told: Option<Arc<Assignment>>,
    pub(super) failed: Option<ClientError>,
}

/// Shared by pull loop and session.
#[derive(Debug)]
pub(super) struct Shared {
    standing: Mutex<Standing>,
    /// There is something new for the pull loop.
    changed: watch::Sender<()>,
    /// There is something new for the session.
    pub(super) wake: Notify,
    pub(super) commits: CommitQueue,
    /// What the coordinator is to hear of next.
    lost: Mutex<Vec<v1::MemberLoss>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            standing: Mutex::new(Standing::new()),
            changed: watch::Sender::default(),
            wake: Notify::new(),
            commits: CommitQueue::default(),
            lost: Mutex::default(),
        }
    }

    /// Records were gone before they were read.
    pub(super) fn tell_lost(&self, lost: v1::MemberLoss) {
        self.lost_unsaid().push(lost);
        self.wake.notify_one();
    }

    pub(super) fn take_lost(&self) -> Vec<v1::MemberLoss> {
        std::mem::take(&mut *self.lost_unsaid())
    }

    fn lost_unsaid(&self) -> MutexGuard<'_, Vec<v1::MemberLoss>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held for a moment, never while anything is awaited.
    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What the pull loop is to know before it hands anything out.
    pub(super) fn look(&self, now: Instant) -> Seen {
        self.expire(now);
        let standing = self.standing();
        Seen {
            life: standing.life,
            loss: standing.loss,
            told: standing.told.clone(),
            failed: standing.failed.clone(),
        }
    }

    /// Ends a life that is over by now.
    pub(super) fn expire(&self, now: Instant) {
        if self.standing().expire(now) {
            self.announce();
        }
    }

    /// The pull loop carries that out, if it is still what was told last.
    pub(super) fn apply(&self, assignment: &Arc<Assignment>, now: Instant) -> bool {
        self.expire(now);
        let applied = self.standing().apply(assignment);
        self.wake.notify_one();
        applied
    }

    /// The application is in the pull loop until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Inside {
        let mut standing = self.standing();
        standing.out_since = None;
        // Who left because the application was away joins when it is back.
        let is_parked = standing.valid_until.is_none();
        drop(standing);
        if is_parked {
            self.wake.notify_one();
        }
        Inside {
            shared: Arc::clone(self),
        }
    }

    pub(super) fn leave(&self, leaving: Leaving) {
        self.standing().leaving = Some(leaving);
        self.wake.notify_one();
    }

    /// The join, or a heartbeat, that was sent then was answered.
    pub(super) fn answered(&self, life: u64, sent: Instant, timeout: Duration) {
        self.standing().answered(life, sent, timeout);
    }

    /// The coordinator told what to read.
    pub(super) fn told(&self, life: u64, assignment: Assignment, now: Instant) {
        let mut standing = self.standing();
        if life == standing.life {
            // A shorter timeout than before counts at once: soon the coordinator, or the next one, goes by it.
            let at_most = now + assignment.answer_timeout;
            standing.valid_until = standing.valid_until.map(|until| until.min(at_most));
            standing.told = Some(Arc::new(assignment));
            standing.trouble = None;
        }
        drop(standing);
        self.announce();
    }

    /// Everything is lost, unless it was already.
    pub(super) fn lose(&self, life: u64, why: Loss) {
        let mut standing = self.standing();
        if life == standing.life {
            standing.lose(why);
        }
        drop(standing);
        self.announce();
    }

    /// There is no way on.
    pub(super) fn fail(&self, error: ClientError) {
        let mut standing = self.standing();
        standing.lose(Loss::Forgotten);
        standing.failed = Some(error);
        drop(standing);
        self.announce();
    }

    fn announce(&self) {
        self.changed.send_replace(());
        self.wake.notify_one();
    }
}

/// The application is in the pull loop.
#[derive(Debug)]
pub(super) struct Inside {
    shared: Arc<Shared>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.shared.standing().out_since = Some(Instant::now());
    }
}

/// A random UUID (version 4).
fn new_member() -> MemberId {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    MemberId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{super::policy::Policy, *};

    const TIMEOUT: Duration = Duration::from_secs(6);

    fn assignment(epoch: u64) -> Assignment {
        Assignment {
            epoch: GroupEpoch(epoch),
            partitions: HashMap::new(),
            heartbeat_interval: Duration::from_secs(3),
            answer_timeout: TIMEOUT,
            policy: Policy::default(),
        }
    }

    /// A member that carries out assignment 1, and was answered at `now`.
    fn member(now: Instant) -> Shared {
        let shared = Shared::new();
        shared.answered(0, now, TIMEOUT);
        shared.told(0, assignment(1), now);
        let told = shared.look(now).told.expect("told");
        assert!(shared.apply(&told, now));
        shared
    }

    #[test]
    fn what_was_told_on_a_stream_that_is_replaced_is_not_carried_out_any_more() {
        let now = Instant::now();
        let shared = member(now);
        shared.told(0, assignment(2), now);
        let void = shared.look(now).told.expect("told");
        let joining = shared.standing().begin_join();
        assert_eq!(joining.epoch, GroupEpoch(1));
        assert!(!shared.apply(&void, now));
        shared.told(0, assignment(2), now);
        assert!(
            !shared.apply(&void, now),
            "it was told again, with offsets of its own"
        );
        let told = shared.look(now).told.expect("told");
        assert!(shared.apply(&told, now));
        assert_eq!(shared.standing().begin_join().epoch, GroupEpoch(2));
    }

    #[test]
    fn a_members_time_counts_from_when_it_asked_and_not_from_the_answer() {
        let now = Instant::now();
        let shared = member(now);
        let asked = now + TIMEOUT / 2;
        shared.answered(0, asked, TIMEOUT);
        // A late answer to an earlier heartbeat takes nothing back.
        shared.answered(0, now, TIMEOUT);
        let almost = asked + TIMEOUT - Duration::from_millis(1);
        assert_eq!(shared.look(almost).life, 0);
        let seen = shared.look(asked + TIMEOUT);
        assert_eq!((seen.life, seen.loss), (1, Some(Loss::NotAnswered)));
        assert_eq!(shared.standing().begin_join().epoch, GroupEpoch(0));
    }

    #[test]
    fn a_shorter_timeout_counts_from_when_it_is_heard() {
        let now = Instant::now();
        let shared = member(now);
        let short = Assignment {
            answer_timeout: TIMEOUT / 3,
            ..assignment(2)
        };
        shared.told(0, short, now + TIMEOUT / 3);
        let over = now + TIMEOUT * 2 / 3;
        assert_eq!(shared.look(over - Duration::from_millis(1)).life, 0);
        assert_eq!(shared.look(over).life, 1);
    }

    #[test]
    fn nothing_is_carried_out_when_the_time_is_over() {
        let now = Instant::now();
        let shared = member(now);
        shared.told(0, assignment(2), now);
        let told = shared.look(now).told.expect("told");
        assert!(!shared.apply(&told, now + TIMEOUT));
    }

    #[test]
    fn answers_and_assignments_of_a_former_life_count_for_nothing() {
        let now = Instant::now();
        let shared = member(now);
        let before = shared.standing().member;
        shared.lose(0, Loss::Forgotten);
        assert_ne!(shared.standing().member, before);
        shared.answered(0, now, TIMEOUT);
        shared.told(0, assignment(2), now);
        let seen = shared.look(now);
        assert!(seen.told.is_none());
        assert_eq!(shared.standing().valid_until, None);
        shared.lose(0, Loss::NotAnswered);
        assert_eq!(shared.look(now).life, 1, "it was lost already");
    }

    #[test]
    fn who_was_not_answered_keeps_its_name_for_it_may_still_be_a_member() {
        let now = Instant::now();
        let shared = member(now);
        let before = shared.standing().member;
        shared.expire(now + TIMEOUT);
        assert_eq!(shared.standing().member, before);
        assert_eq!(shared.look(now).life, 1);
    }
}
