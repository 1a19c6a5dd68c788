//! Who is told when that a record is stored.

use std::collections::VecDeque;

use crate::ids::Offset;

/// When a producer wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// At once.
    None,
    /// When it is durable on the leader. Lost if the leader is before others have it.
    Leader,
    /// When it is durable on every in-sync replica, `minInSync` of them at least.
    #[default]
    All,
}

/// Producers that wait, each for everything before an offset, with what it takes to answer them.
///
/// Invariant: both queues are in the order of the log.
///
/// ```
/// use taffrail_core::{Offset, replica::{Acks, AckQueue}};
/// let mut queue = AckQueue::default();
/// queue.wait(Acks::Leader, Offset(3), "a");
/// queue.wait(Acks::All, Offset(5), "b");
/// assert_eq!(queue.next_done(Offset(5), Offset(4)), Some("a"));
/// assert_eq!(queue.next_done(Offset(5), Offset(4)), None);
/// assert_eq!(queue.next_done(Offset(5), Offset(5)), Some("b"));
/// ```
#[derive(Debug)]
pub struct AckQueue<T> {
    leader: VecDeque<(Offset, T)>,
    all: VecDeque<(Offset, T)>,
}

impl<T> Default for AckQueue<T> {
    fn default() -> Self {
        Self {
            leader: VecDeque::new(),
            all: VecDeque::new(),
        }
    }
}

impl<T> AckQueue<T> {
    /// Lets `who` wait until everything before `end` is stored as it wants. Gives it back if it does not want to wait. One whose records came before
    /// waits for less than the last one: it is answered after that one nevertheless.
    pub fn wait(&mut self, acks: Acks, end: Offset, who: T) -> Option<T> {
        let queue = match acks {
            Acks::None => return Some(who),
            Acks::Leader => &mut self.leader,
            Acks::All => &mut self.all,
        };
        let last = queue.back().map_or(end, |(last, _)| *last);
        queue.push_back((end.max(last), who));
        None
    }

    /// The next one that has waited long enough. To be asked until there is none.
    pub fn next_done(&mut self, durable_end: Offset, high_watermark: Offset) -> Option<T> {
        let done = |queue: &mut VecDeque<(Offset, T)>, reached: Offset| {
            queue.pop_front_if(|(end, _)| *end <= reached)
        };
        let done =
            done(&mut self.leader, durable_end).or_else(|| done(&mut self.all, high_watermark));
        Some(done?.1)
    }

    /// The next one that waits for in-sync replicas: there are too few now, and it is not known whether its records will be committed.
    pub fn next_short(&mut self) -> Option<T> {
        Some(self.all.pop_front()?.1)
    }

    /// The next one of all: this is not the leader any more.
    pub fn next_deposed(&mut self) -> Option<T> {
        let next = self.leader.pop_front().or_else(|| self.all.pop_front());
        Some(next?.1)
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.leader.is_empty() && self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<T>(mut next: impl FnMut() -> Option<T>) -> Vec<T> {
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn all_waits_for_the_high_watermark_leader_for_the_leaders_disk_none_for_nothing() {
        let mut queue = AckQueue::default();
        assert_eq!(queue.wait(Acks::None, Offset(1), 0), Some(0));
        queue.wait(Acks::All, Offset(2), 1);
        queue.wait(Acks::Leader, Offset(3), 2);
        queue.wait(Acks::All, Offset(4), 3);
        assert_eq!(all(|| queue.next_done(Offset(3), Offset(1))), [2]);
        assert_eq!(all(|| queue.next_done(Offset(9), Offset(3))), [1]);
        assert_eq!(all(|| queue.next_done(Offset(9), Offset(4))), [3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_that_waits_for_less_than_the_last_is_answered_after_it() {
        let mut queue = AckQueue::default();
        queue.wait(Acks::All, Offset(5), 1);
        queue.wait(Acks::All, Offset(2), 2);
        assert_eq!(all(|| queue.next_done(Offset(9), Offset(4))), []);
        assert_eq!(all(|| queue.next_done(Offset(9), Offset(5))), [1, 2]);
    }

    #[test]
    fn too_few_in_sync_replicas_concern_those_who_wait_for_them() {
        let mut queue = AckQueue::default();
        queue.wait(Acks::Leader, Offset(1), 1);
        queue.wait(Acks::All, Offset(2), 2);
        assert_eq!(all(|| queue.next_short()), [2]);
        assert_eq!(all(|| queue.next_deposed()), [1]);
    }
}
