//! From the assignment that is carried out to the one that was told: partitions that go are committed and given up first, then the coordinator is told, then those that
//! came are read.

use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Poll},
};

use futures::FutureExt as _;
use taffrail_core::{GroupEpoch, TopicPartition};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Group,
    assignment::Assignment,
    commits::Commit,
    event::{GroupEvent, GroupPartition, Loss},
    held::Held,
    named,
};

/// What was told and is not carried out yet.
#[derive(Debug)]
pub(super) struct Change {
    to: Arc<Assignment>,
    /// Nothing more of these is handed out.
    going: BTreeSet<TopicPartition>,
    /// Until what was processed of them is committed. `None`: not begun.
    commit: Option<Committing>,
}

#[derive(Debug)]
struct Committing {
    commit: Commit,
    /// Others wait for the partitions.
    patience: std::pin::Pin<Box<Sleep>>,
}

impl Change {
    /// Ready when the partitions that go are committed, or cannot be.
    pub(super) fn poll_committed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(committing) = &mut self.commit else {
            return Poll::Pending;
        };
        match committing.commit.poll_unpin(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::warn!(%error, "what was processed of partitions that go to other members is not committed, they read it again");
                Poll::Ready(())
            }
            Poll::Pending => committing.patience.poll_unpin(cx),
        }
    }
}

impl Group {
    pub(super) fn is_going(&self, at: &TopicPartition) -> bool {
        let change = self.change.as_ref();
        change.is_some_and(|change| change.going.contains(at))
    }

    /// Begins to carry out what was told, if that is new. What was told before and is void now is taken back.
    pub(super) fn follow(&mut self, told: Option<Arc<Assignment>>) {
        let told = told.filter(|told| told.epoch > self.epoch);
        let before = self.change.as_ref().map(|change| &change.to);
        let is_same = match (before, &told) {
            (Some(before), Some(told)) => Arc::ptr_eq(before, told),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        let former = self.change.take().map_or_else(BTreeSet::new, |c| c.going);
        let goes = |to: &Arc<Assignment>| {
            let held = self.held.keys().copied();
            held.filter(|at| !to.partitions.contains_key(at)).collect()
        };
        let going = told.as_ref().map_or_else(BTreeSet::new, goes);
        let stay: Vec<_> = former.difference(&going).copied().collect();
        let go: Vec<_> = going.difference(&former).copied().collect();
        self.announce(&stay, GroupEvent::Assigned);
        self.announce(&go, GroupEvent::Revoked);
        self.change = told.map(|to| Change {
            to,
            going,
            commit: None,
        });
        for at in stay.into_iter().chain(go) {
            self.heed_pause(at);
        }
    }

    fn announce(
        &mut self,
        partitions: &[TopicPartition],
        event: impl Fn(Vec<GroupPartition>) -> GroupEvent,
    ) {
        if !partitions.is_empty() {
            self.events.push_back(event(self.names(partitions)));
        }
    }

    fn names(&self, partitions: &[TopicPartition]) -> Vec<GroupPartition> {
        let held = partitions
            .iter()
            .filter_map(|at| Some(named(*at, self.held.get(at)?)));
        held.collect()
    }

    /// Goes on with the change. The application has come back since it was told what goes.
    pub(super) fn advance(&mut self, now: Instant) {
        let Some(change) = &self.change else {
            return;
        };
        // Its commit counts until the partition is given up.
        if self.ahead.is_some() || change.commit.is_some() {
            return;
        }
        if change.going.is_empty() {
            self.carry_out(now);
            return;
        }
        let commit = self.commit_due(|at| change.going.contains(at));
        let patience = Box::pin(sleep(self.client.config().call_timeout));
        if let Some(change) = &mut self.change {
            change.commit = Some(Committing { commit, patience });
        }
    }

    /// From now on the new assignment is the one that counts, unless it is void.
    pub(super) fn carry_out(&mut self, now: Instant) {
        let Some(Change { to, going, .. }) = self.change.take() else {
            return;
        };
        if !self.shared.apply(&to, now) {
            // What is told now will be looked at next.
            for at in &going {
                self.heed_pause(*at);
            }
            let going: Vec<_> = going.into_iter().collect();
            self.announce(&going, GroupEvent::Assigned);
            return;
        }
        for at in &going {
            self.consumer.remove(*at);
            self.held.remove(at);
        }
        let mut gained = Vec::new();
        for (at, share) in &to.partitions {
            let is_paused = match self.held.get(at) {
                Some(_) if share.since <= self.epoch => continue,
                Some(held) => {
                    self.consumer.remove(*at);
                    held.is_paused
                }
                None => {
                    gained.push(*at);
                    false
                }
            };
            let held = Held {
                is_paused,
                ..Held::new(share)
            };
            self.held.insert(*at, held);
        }
        self.epoch = to.epoch;
        self.out = self.out.filter(|(at, _)| self.held.contains_key(at));
        let held = &self.held;
        self.shared.commits.retain(|at| held.contains_key(at));
        self.starts.seek(held.iter());
        gained.sort_unstable();
        let gained = self.names(&gained);
        tracing::debug!(group = self.settings.group, epoch = %self.epoch, partitions = self.held.len(), "an assignment is carried out");
        self.events.push_back(GroupEvent::Assigned(gained));
    }

    /// Everything is gone.
    pub(super) fn lose(&mut self, life: u64, why: Loss) {
        let partitions = self.partitions();
        for at in self.held.keys() {
            self.consumer.remove(*at);
        }
        self.life = life;
        self.epoch = GroupEpoch(0);
        self.held.clear();
        self.change = None;
        self.out = None;
        self.ahead = None;
        self.starts.seek(self.held.iter());
        if !partitions.is_empty() {
            tracing::warn!(group = self.settings.group, %why, partitions = partitions.len(), "the member lost its partitions; it joins again");
            self.events.push_back(GroupEvent::Lost { partitions, why });
        }
    }
}
