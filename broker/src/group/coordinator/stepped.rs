//! A coordinator without a task: whoever drives it says when to look.

use std::sync::Arc;

use taffrail_api::WireError;

use super::{Coordinator, Event, Hosted, Inbox, TICK};

/// What waits is dealt with in fewer rounds than this.
const ROUNDS_MAX: usize = 10_000;

impl Coordinator {
    /// The groups here.
    pub(in crate::group) fn groups(&self) -> impl Iterator<Item = (&str, &Hosted)> {
        self.groups
            .iter()
            .map(|(name, hosted)| (name.as_str(), hosted))
    }

    /// Can nobody else coordinate, for all that is known?
    pub(in crate::group) const fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// How long after it was replaced it may answer still, if it is sure. Without groups it looks only when somebody asks.
    pub(in crate::group) fn answers_on_ms(&self) -> Option<u64> {
        (self.is_sure && !self.groups.is_empty()).then(|| self.silence_ms_max())
    }

    /// Deals with everything that waits. `ticks_at_ms`: when the next look at the clock is due.
    ///
    /// # Errors
    /// It cannot go on, and has told its members.
    pub(in crate::group) fn step(
        &mut self,
        inbox: &mut Inbox,
        ticks_at_ms: &mut u64,
    ) -> Result<(), WireError> {
        let done = self.deal(inbox, ticks_at_ms);
        if let Err(error) = &done {
            self.end(error);
        }
        done
    }

    fn deal(&mut self, inbox: &mut Inbox, ticks_at_ms: &mut u64) -> Result<(), WireError> {
        self.flush()?;
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.broker.uptime_ms();
            if let Some(written) = self.writes.try_next(now_ms) {
                written?;
            } else if let Some(event) = self.next_event(inbox) {
                self.hear(event, inbox)?;
            } else if inbox.known.has_changed().unwrap_or(false) {
                let known = Arc::clone(&inbox.known.borrow_and_update());
                self.learn(&known)?;
            } else if !self.is_idle() && *ticks_at_ms <= now_ms {
                *ticks_at_ms = now_ms + TICK.as_millis() as u64;
                self.tick()?;
            } else {
                return Ok(());
            }
            self.flush()?;
        }
        panic!("a coordinator does not come to rest")
    }

    fn next_event(&self, inbox: &mut Inbox) -> Option<Event> {
        let next = || inbox.events.try_recv().ok();
        self.has_room().then(next).flatten()
    }
}
