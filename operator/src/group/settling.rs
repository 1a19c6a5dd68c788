//! Conditions that turned: a group whose members restart, or whose coordinator moves, is as it was a few seconds later. What does not last is not written, and
//! a group that cannot settle costs no more than its numbers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::Instant;

/// What is the same for so long lasts.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// Status and reason of each condition.
type Picture = Vec<(String, String)>;

/// By uid.
#[derive(Debug, Default)]
pub(crate) struct Settling(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// What was seen and not written yet.
    unwritten: HashMap<String, (Picture, Instant)>,
    members: Lasting,
    safety: Lasting,
}

/// Since when something holds.
#[derive(Debug, Default)]
struct Lasting(HashMap<String, Instant>);

impl Lasting {
    /// For how long it has held. `holds`: does it now, if that is known?
    fn note(&mut self, uid: &str, holds: Option<bool>) -> Duration {
        match holds {
            Some(false) => {
                self.0.remove(uid);
            }
            Some(true) => {
                self.0.entry(uid.to_owned()).or_insert_with(Instant::now);
            }
            None => {}
        }
        self.0.get(uid).map(Instant::elapsed).unwrap_or_default()
    }

    fn keep(&mut self, uids: &BTreeSet<String>) {
        self.0.retain(|uid, _| uids.contains(uid));
    }
}

impl Settling {
    /// Has a resource been seen like this for long enough?
    pub(super) fn has_lasted(&self, uid: &str, conditions: &[Condition]) -> bool {
        let picture = |c: &Condition| (c.status.clone(), c.reason.clone());
        let picture: Picture = conditions.iter().map(picture).collect();
        let unwritten = &mut self.lock().unwritten;
        match unwritten.get(uid) {
            Some((before, since)) if *before == picture => since.elapsed() >= LASTING,
            _ => {
                unwritten.insert(uid.to_owned(), (picture, Instant::now()));
                false
            }
        }
    }

    /// It is as it was written.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().unwritten.remove(uid);
    }

    /// For how long a group is known to have members. `members`: how many it has, if that is known.
    pub(super) fn with_members_for(&self, uid: &str, members: Option<u32>) -> Duration {
        let has_members = members.map(|members| members > 0);
        self.lock().members.note(uid, has_members)
    }

    /// For how long nothing of a group has been about to expire. `is_safe`: if that is known.
    pub(super) fn safe_for(&self, uid: &str, is_safe: Option<bool>) -> Duration {
        self.lock().safety.note(uid, is_safe)
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, uids: &BTreeSet<String>) {
        let mut seen = self.lock();
        seen.unwritten.retain(|uid, _| uids.contains(uid));
        seen.members.keep(uids);
        seen.safety.keep(uids);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use taffrail_crds::conditions::{Finding, next};
    use tokio::time::advance;

    use super::*;

    fn seen(reason: &'static str) -> Vec<Condition> {
        let finding = Finding::no("Consuming", reason, "");
        next(&[], &[finding], None, Timestamp::UNIX_EPOCH)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_stays_the_same_lasts() {
        let settling = Settling::default();
        assert!(!settling.has_lasted("a", &seen("NoMembers")));
        advance(LASTING / 2).await;
        assert!(!settling.has_lasted("a", &seen("Stuck")));
        advance(LASTING / 2).await;
        assert!(!settling.has_lasted("a", &seen("Stuck")));
        assert!(!settling.has_lasted("b", &seen("Stuck")), "another one");
        advance(LASTING / 2).await;
        assert!(settling.has_lasted("a", &seen("Stuck")));
        settling.forget("a");
        assert!(!settling.has_lasted("a", &seen("Stuck")));
        settling.keep(&BTreeSet::new());
        advance(LASTING).await;
        assert!(!settling.has_lasted("b", &seen("Stuck")));
    }

    #[tokio::test(start_paused = true)]
    async fn members_count_from_when_the_first_of_them_came() {
        let settling = Settling::default();
        let minute = Duration::from_mins(1);
        assert_eq!(settling.with_members_for("a", Some(1)), Duration::ZERO);
        advance(minute).await;
        assert_eq!(settling.with_members_for("a", Some(2)), minute);
        // Its coordinator says nothing just now.
        assert_eq!(settling.with_members_for("a", None), minute);
        assert_eq!(settling.with_members_for("a", Some(0)), Duration::ZERO);
        advance(minute).await;
        assert_eq!(settling.with_members_for("a", Some(1)), Duration::ZERO);
        advance(minute).await;
        settling.keep(&BTreeSet::new());
        assert_eq!(settling.with_members_for("a", None), Duration::ZERO);
    }
}
