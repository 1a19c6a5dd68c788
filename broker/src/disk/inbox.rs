//! What waits for a thread. Bounded by the permits that each request holds.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// A queue into a thread.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    sleepers: usize,
    closed: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                sleepers: 0,
                closed: false,
            }),
            news: Condvar::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Gives the item back if the inbox is closed.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let wake = state.sleepers > 0;
        drop(state);
        if wake {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Waits for items and moves all of them to `into`. False once closed and empty.
    pub(super) fn take_all(&self, into: &mut VecDeque<T>) -> bool {
        let mut state = self.wait(self.lock());
        std::mem::swap(&mut state.items, into);
        !into.is_empty()
    }

    /// Moves all items to `into` without waiting.
    pub(super) fn try_take_all(&self, into: &mut VecDeque<T>) {
        std::mem::swap(&mut self.lock().items, into);
    }

    /// Waits for one item. `None` once closed and empty.
    pub(super) fn take_one(&self) -> Option<T> {
        self.wait(self.lock()).items.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// No more items come, and what is queued is dropped.
    pub(super) fn abandon(&self) {
        let dropped = {
            let mut state = self.lock();
            // At once: nothing may come in between, which nobody would take.
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        self.news.notify_all();
        drop(dropped);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// No more items come; what is queued is still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        while state.items.is_empty() && !state.closed {
            state.sleepers += 1;
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn an_abandoned_inbox_drops_what_it_has_and_gives_back_what_comes() {
        let (inbox, item) = (Inbox::default(), Arc::new(()));
        assert!(inbox.push(Arc::clone(&item)).is_ok());
        inbox.abandon();
        assert_eq!(Arc::strong_count(&item), 1, "dropped");
        assert!(inbox.push(item).is_err());
        assert!(inbox.take_one().is_none());
    }

    #[test]
    fn what_was_queued_before_the_close_is_handed_out() {
        let inbox = Arc::new(Inbox::default());
        let reader = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || std::iter::from_fn(|| inbox.take_one()).collect::<Vec<i32>>())
        };
        inbox.push(1).expect("open");
        inbox.push(2).expect("open");
        inbox.close();
        assert_eq!(inbox.push(3), Err(3));
        assert_eq!(reader.join().expect("ends"), [1, 2]);
    }
}
