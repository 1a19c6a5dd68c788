//! What this broker knows of its cluster, from whom, and what follows from it.
//!
//! ```text
//! view         the cluster as the newest update says; immutable, watched
//! known        the view and every assignment ever seen here: what the metadata file holds
//! session      dial the controllers, register, heartbeat
//! apply        make an update durable, then obey it: configure, serve, delete by explicit order
//! create       partitions that are new here: made, entered in the roster, served
//! rebuild      replicas whose logs cannot be used: set aside, and made anew
//! asks         what leaders here want of the controller
//! reports      what heartbeats say of partitions
//! ```

pub(crate) mod apply;
pub(crate) mod asks;
pub(crate) mod create;
pub(crate) mod known;
pub(crate) mod rebuild;
pub(crate) mod reports;
pub(crate) mod session;
pub(crate) mod view;

use std::sync::{Mutex, PoisonError};

use taffrail_core::{BrokerNumber, ControllerStamp, Incarnation};
use tokio::sync::watch;
use tonic::transport::Channel;

/// The controller this broker is registered with.
#[derive(Debug, Clone)]
pub(crate) struct ActiveController {
    pub(crate) channel: Channel,
}

/// Who this broker is in the cluster, and how far it has followed.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) incarnation: Incarnation,
    state: Mutex<State>,
    registered: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    number: Option<BrokerNumber>,
    applied: ControllerStamp,
}

impl Membership {
    pub(crate) fn new(
        incarnation: Incarnation,
        number: Option<BrokerNumber>,
        applied: ControllerStamp,
    ) -> Self {
        Self {
            incarnation,
            state: Mutex::new(State { number, applied }),
            registered: watch::Sender::new(false),
        }
    }

    /// `None` before the first registration of the volume.
    pub(crate) fn number(&self) -> Option<BrokerNumber> {
        self.lock().number
    }

    pub(crate) fn set_number(&self, number: BrokerNumber) {
        self.lock().number = Some(number);
    }

    /// The highest stamp that is durable here and was acted on.
    pub(crate) fn applied(&self) -> ControllerStamp {
        self.lock().applied
    }

    pub(crate) fn set_applied(&self, stamp: ControllerStamp) {
        self.lock().applied = stamp;
    }

    /// Has this process been taken in by a controller, and obeyed its first full update?
    pub(crate) fn is_registered(&self) -> bool {
        *self.registered.borrow()
    }

    pub(crate) fn set_registered(&self) {
        self.registered.send_replace(true);
    }

    /// Resolves once [`Self::is_registered`].
    pub(crate) async fn registered(&self) {
        // The sender lives as long as self.
        let _ = self.registered.subscribe().wait_for(|r| *r).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
