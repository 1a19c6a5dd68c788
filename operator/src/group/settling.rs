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

/// What was seen and not written yet, by uid.
#[derive(Debug, Default)]
pub(crate) struct Settling(Mutex<HashMap<String, (Picture, Instant)>>);

impl Settling {
    /// Has a resource been seen like this for long enough?
    pub(super) fn has_lasted(&self, uid: &str, conditions: &[Condition]) -> bool {
        let picture = |c: &Condition| (c.status.clone(), c.reason.clone());
        let picture: Picture = conditions.iter().map(picture).collect();
        let mut seen = self.lock();
        match seen.get(uid) {
            Some((before, since)) if *before == picture => since.elapsed() >= LASTING,
            _ => {
                seen.insert(uid.to_owned(), (picture, Instant::now()));
                false
            }
        }
    }

    /// It is as it was written.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Picture, Instant)>> {
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
}
