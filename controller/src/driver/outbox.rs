//! Messages on their way to brokers.

use std::collections::HashMap;

use taffrail_api::v1::ControllerMessage;
use tokio::sync::mpsc;

use crate::state::SessionId;

/// One bounded queue for each session.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    next: SessionId,
    open: HashMap<SessionId, mpsc::Sender<ControllerMessage>>,
}

impl Outboxes {
    pub(super) fn open(&mut self, outbox: mpsc::Sender<ControllerMessage>) -> SessionId {
        self.next += 1;
        self.open.insert(self.next, outbox);
        self.next
    }

    /// `false`: the session is open here and its broker does not take the message. To a session that was closed nothing is sent.
    pub(super) fn send(&mut self, session: SessionId, message: ControllerMessage) -> bool {
        let outbox = self.open.get(&session);
        outbox.is_none_or(|outbox| outbox.try_send(message).is_ok())
    }

    /// What was sent before still arrives.
    pub(super) fn close(&mut self, session: SessionId) {
        self.open.remove(&session);
    }
}
