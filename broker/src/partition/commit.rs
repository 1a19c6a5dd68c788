//! From written to committed: what is durable here moves the high watermark, or is told to the leader; then whoever waits is answered.

use std::{sync::Arc, time::Instant};

use taffrail_api::WireError;
use taffrail_core::{
    Durability, ErrorCode, Offset,
    replica::{Acks, IsrChange, LeaderEffect, Replica, Role, SyncPoint},
};
use taffrail_log::{LogError, SyncToken};

use super::{
    Fault, Partition,
    append::{CACHED_BY_FOLLOWER_BYTES, OwnedLog},
    replicate::Owner,
};
use crate::metrics::Metrics;

/// What one sync makes durable.
#[derive(Debug)]
pub(crate) struct SyncJob {
    pub(crate) partition: Arc<Partition>,
    token: SyncToken,
    point: SyncPoint,
    pub(crate) bytes: u64,
    /// Nobody reads what a follower stores: it only takes room in the page cache from what is read.
    pub(super) forgets_cached: bool,
}

/// What the log's owner has to know of a finished sync.
#[derive(Debug)]
pub(crate) struct SyncDone {
    pub(crate) partition: Arc<Partition>,
    token: SyncToken,
    point: SyncPoint,
    result: Result<(), LogError>,
}

impl SyncJob {
    /// Syncs. A failed sync takes the partition offline: it is never tried again as if nothing had happened.
    pub(crate) fn run(self, metrics: &Metrics) -> SyncDone {
        let started = Instant::now();
        let result = self.token.sync();
        metrics.synced(started.elapsed(), self.bytes);
        if let Err(error) = &result {
            self.partition.fail(Fault::poisoned(error));
        } else if self.forgets_cached {
            self.token.forget_cached(CACHED_BY_FOLLOWER_BYTES);
        }
        SyncDone {
            partition: self.partition,
            token: self.token,
            point: self.point,
            result,
        }
    }
}

impl OwnedLog {
    /// After a round of writes: answers what need not wait, and says what has to be synced now.
    pub(crate) fn settle(&mut self, owner: &Owner<'_>) -> Option<SyncJob> {
        if self.partition.fault().is_some() {
            self.answer_offline();
            return None;
        }
        self.answer_done();
        match self.durability() {
            Durability::PageCache => {
                if let Some(replica) = &self.replica {
                    let written = replica.log().sync_point();
                    self.is_durable(written, owner);
                }
                self.owes_sync().then(|| self.sync()).flatten()
            }
            Durability::Fsync => self.sync(),
        }
    }

    /// Everything written so far, to be synced on another thread; `None` if there is nothing, or a sync is under way.
    pub(crate) fn sync(&mut self) -> Option<SyncJob> {
        let nothing_new = self.unsynced_bytes == 0 && !self.log.has_rolled();
        if self.syncing || nothing_new || self.partition.fault().is_some() {
            return None;
        }
        self.syncing = true;
        let forgets_cached = self.forgets_cached();
        let point = match &self.replica {
            Some(replica) => replica.log().sync_point(),
            None => self.log.state().sync_point(),
        };
        Some(SyncJob {
            partition: Arc::clone(&self.partition),
            token: self.log.sync_token(),
            point,
            bytes: std::mem::take(&mut self.unsynced_bytes),
            forgets_cached,
        })
    }

    /// Is it a follower's log that has filled the page cache?
    fn forgets_cached(&mut self) -> bool {
        let role = self.replica.as_ref().map(Replica::role);
        let forgets = matches!(role, Some(Role::Follower(_)))
            && self.cached_bytes >= CACHED_BY_FOLLOWER_BYTES;
        if forgets {
            self.cached_bytes = 0;
        }
        forgets
    }

    /// A sync came back: true if there are segments to be sealed.
    pub(crate) fn synced(&mut self, done: &SyncDone, owner: &Owner<'_>) -> bool {
        self.syncing = false;
        let noted = match &done.result {
            Ok(()) => self
                .log
                .synced(&done.token)
                .map_err(|e| Fault::poisoned(&e)),
            Err(error) => Err(Fault::poisoned(error)),
        };
        match noted {
            Ok(()) => self.is_durable(done.point, owner),
            Err(fault) => self.poison(fault),
        }
        self.publish();
        self.log.unsealed_segments() > 0
    }

    /// The log is durable up to `point`, as the topic's durability has it.
    fn is_durable(&mut self, point: SyncPoint, owner: &Owner<'_>) {
        match self.replica.as_mut().map(Replica::role_mut) {
            Some(Role::Leader(leader)) => {
                leader.synced(point, &mut self.effects);
                self.carry_out(owner);
            }
            Some(Role::Follower(follower)) => {
                if follower.synced(point) {
                    self.publish();
                    self.tell_position(owner);
                }
                self.hear_high_watermark();
            }
            None => {}
        }
    }

    /// Carries out what the leader decided, and answers whoever has waited long enough.
    pub(super) fn carry_out(&mut self, owner: &Owner<'_>) {
        let id = self.partition.id;
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                LeaderEffect::HighWatermark(to) => self.partition.commit(to),
                LeaderEffect::TooFewInSync => self.answer_short(),
                LeaderEffect::Ask(request) => {
                    if let IsrChange::Expand { broker, .. } = request.change {
                        let asked_in = request.partition_epoch;
                        self.partition.hearing.may_join(broker, asked_in);
                    }
                    owner.asks.ask(id, request);
                }
                LeaderEffect::Confirm {
                    broker,
                    incarnation,
                } => {
                    if let Some(Role::Leader(leader)) = self.replica.as_ref().map(Replica::role) {
                        let epoch = leader.leader_epoch();
                        owner.asks.confirm(id, epoch, broker, incarnation);
                    }
                }
            }
        }
        self.effects = effects;
        // Coordinators look at it, and only they.
        if self.partition.is_internal()
            && let Some(Role::Leader(leader)) = self.replica.as_ref().map(Replica::role)
        {
            let is_short = leader.check_append(Acks::All).is_err();
            self.partition.set_short(is_short);
        }
        self.answer_done();
    }

    fn answer_done(&mut self) {
        // Who was refused where there is no replica waits for nobody.
        let (durable_end, high_watermark) = match &self.replica {
            Some(replica) => (replica.log().durable_end, replica.log().high_watermark),
            None => (Offset::ZERO, Offset::ZERO),
        };
        self.waiting.answer_done(durable_end, high_watermark);
    }

    /// Too few replicas are in sync: whoever waits for more is told that the outcome is not known.
    fn answer_short(&mut self) {
        self.answer_done();
        let error = WireError::new(
            ErrorCode::TimedOut,
            format!(
                "{}: fewer replicas than minInSync are in sync now; whether the records will be committed is not known",
                self.partition.label()
            ),
        );
        self.waiting.answer_short(&error);
    }

    /// A follower's high watermark is its leader's, as far as its own log is durable.
    pub(super) fn hear_high_watermark(&self) {
        if let Some(replica) = &self.replica {
            self.partition.commit(replica.log().high_watermark);
        }
    }
}

impl Partition {
    /// Everything below `end` is stored on every in-sync replica: consumers may see it.
    pub(crate) fn commit(&self, end: Offset) {
        if self.progress.commit(end) {
            self.wake();
        }
    }
}
