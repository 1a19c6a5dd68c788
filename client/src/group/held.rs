//! A partition that the member has, and how far it came.

use std::sync::Arc;

use taffrail_core::{GroupEpoch, Offset};

use super::assignment::Share;

/// Invariant: `begin <= processed <= handed` once it has begun.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) topic: Arc<str>,
    /// The assignment with which it came, or with which its offset was reset.
    pub(super) since: GroupEpoch,
    /// As it was told with that assignment.
    pub(super) committed: Option<Offset>,
    /// `None`: where it begins is being looked up.
    pub(super) progress: Option<Progress>,
    /// The next record is not there (any more), and somebody is to decide.
    pub(super) is_stopped: bool,
    /// The application wants no records of it for now.
    pub(super) is_paused: bool,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    begin: Offset,
    /// The next one to be handed out.
    handed: Offset,
    /// The next one to be committed.
    processed: Offset,
}

impl Held {
    pub(super) fn new(share: &Share) -> Self {
        Self {
            topic: Arc::clone(&share.topic),
            since: share.since,
            committed: share.committed,
            progress: None,
            is_stopped: false,
            is_paused: false,
        }
    }

    /// What is to be committed, `stored` being what was since it came: how far it was processed. At the least that is where the group began, so that the start
    /// policy counts once; with `Manual` only the application moves it.
    pub(super) fn due(&self, stored: Option<Offset>) -> Option<Offset> {
        let processed = self.progress?.processed;
        let known = stored.or(self.committed);
        (known != Some(processed)).then_some(processed)
    }
}

impl Progress {
    pub(super) const fn at(offset: Offset) -> Self {
        Self {
            begin: offset,
            handed: offset,
            processed: offset,
        }
    }

    /// Records below were handed out.
    pub(super) fn hand_out(&mut self, next: Offset) {
        self.handed = next;
    }

    /// Records below are done with, at the least.
    pub(super) fn process_up_to(&mut self, next: Offset) {
        self.processed = self.processed.max(next);
    }

    /// Records below are done with.
    pub(super) fn process(&mut self, next: Offset) {
        self.processed = next;
    }

    /// All that were handed out are.
    pub(super) fn process_all(&mut self) {
        self.processed = self.handed;
    }

    /// Can an application have come so far?
    pub(super) fn may_commit(&self, next: Offset) -> bool {
        (self.begin..=self.handed).contains(&next)
    }

    pub(super) const fn handed(&self) -> Offset {
        self.handed
    }
}
