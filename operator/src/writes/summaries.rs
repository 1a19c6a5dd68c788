//! Who may write numbers when: one resource at a time, in the order in which they asked.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::SUMMARY_INTERVAL;

/// A turn that nobody takes is over: the numbers are as they were, or the resource is gone.
const TURN_KEPT: Duration = Duration::from_mins(1);

/// Turns that were given out, by uid. Bounded by the resources that there are.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    turns: HashMap<String, Instant>,
    /// The first turn that is nobody's.
    next: Option<Instant>,
}

impl Summaries {
    /// How long a resource has to wait before its numbers may be written. Zero: it is its turn, which it takes by this.
    ///
    /// Whoever asks again in the meantime keeps its turn, so that those who ask first each time do not get ahead of the others.
    pub(super) fn wait(&mut self, uid: &str, now: Instant) -> Duration {
        self.turns.retain(|_, turn| now < *turn + TURN_KEPT);
        let turn = if let Some(turn) = self.turns.get(uid) {
            *turn
        } else {
            let turn = self.next.map_or(now, |next| next.max(now));
            self.next = Some(turn + SUMMARY_INTERVAL);
            self.turns.insert(uid.to_owned(), turn);
            turn
        };
        if turn <= now {
            self.turns.remove(uid);
        }
        turn.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Ten groups whose numbers change all the time: they are woken together, always in the same order, and each looks again when it was told to.
    #[test]
    fn of_ten_that_ask_together_each_gets_as_many_turns() {
        let mut summaries = Summaries::default();
        let begin = Instant::now();
        let mut writes = BTreeMap::<String, Vec<u32>>::new();
        let mut looks = BTreeMap::<String, Instant>::new();
        for second in 0..600 {
            let now = begin + SECOND * second;
            for group in 0..10 {
                let uid = format!("group-{group}");
                let is_woken = second % 10 == 0 || looks.get(&uid).is_some_and(|at| *at <= now);
                let written = writes.entry(uid.clone()).or_default();
                // As often as numbers of one resource are written.
                let is_due = written.last().is_none_or(|last| second - last >= 30);
                if !(is_woken && is_due) {
                    continue;
                }
                let wait = summaries.wait(&uid, now);
                if wait.is_zero() {
                    written.push(second);
                    looks.remove(&uid);
                } else {
                    looks.insert(uid, now + wait);
                }
            }
        }
        for (uid, written) in &writes {
            let longest = written.windows(2).map(|two| two[1] - two[0]).max();
            assert!(longest <= Some(50), "{uid}: {written:?}");
            assert!(written.len() >= 12, "{uid}: {written:?}");
        }
        let mut all: Vec<_> = writes.into_values().flatten().collect();
        all.sort_unstable();
        assert!(
            all.windows(2).all(|two| two[1] - two[0] >= 2),
            "one in two seconds: {all:?}"
        );
    }

    #[test]
    fn a_turn_that_is_not_taken_keeps_nobody_else_from_theirs() {
        let mut summaries = Summaries::default();
        let now = Instant::now();
        assert_eq!(summaries.wait("a", now), Duration::ZERO);
        assert_eq!(summaries.wait("gone", now), SUMMARY_INTERVAL);
        assert_eq!(summaries.wait("b", now), 2 * SUMMARY_INTERVAL);
        let later = now + 2 * SUMMARY_INTERVAL;
        assert_eq!(summaries.wait("b", later), Duration::ZERO);
        summaries.wait("b", later + SUMMARY_INTERVAL + TURN_KEPT);
        assert!(!summaries.turns.contains_key("gone"));
    }
}
