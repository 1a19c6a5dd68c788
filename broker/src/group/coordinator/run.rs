//! The task of a coordinator: waits for what happens, and lets it be dealt with.

use std::sync::Arc;

use taffrail_api::WireError;
use tokio::time::{MissedTickBehavior, interval};

use super::{Coordinator, Inbox, TICK};
use crate::broker::Broker;

impl Coordinator {
    /// Until this broker does not lead any more, or a write fails. Returns why.
    pub(in crate::group) async fn run(mut self, inbox: &mut Inbox) -> WireError {
        let ended = self.coordinate(inbox).await;
        self.end(&ended);
        ended
    }

    async fn coordinate(&mut self, inbox: &mut Inbox) -> WireError {
        if let Err(error) = self.flush() {
            return error;
        }
        // One for all rounds: members that talk all the time must not put it off.
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (is_idle, has_room) = (self.is_idle(), self.has_room());
            let now_ms = self.broker.uptime_ms();
            let done = tokio::select! {
                () = self.broker.draining.cancelled() => Err(Broker::shutting_down()),
                written = self.writes.next(now_ms) => written,
                event = inbox.events.recv(), if has_room => match event {
                    Some(event) => self.hear(event, inbox),
                    None => Err(Broker::shutting_down()),
                },
                changed = inbox.known.changed() => match changed {
                    Ok(()) => {
                        let known = Arc::clone(&inbox.known.borrow_and_update());
                        self.learn(&known)
                    }
                    Err(_) => Err(Broker::shutting_down()),
                },
                _ = ticks.tick(), if !is_idle => self.tick(),
            };
            if let Err(error) = done.and_then(|()| self.flush()) {
                return error;
            }
        }
    }
}
