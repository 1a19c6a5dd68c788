//! Replication as the owner of a log sees it: what the map makes of its replica, what followers ask, and what a leader answered.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_core::{
    Assignment, BrokerNumber, ErrorCode, Incarnation, Offset,
    producers::ProducerTable,
    replica::{
        BatchSpan, FetchAnswer, FetchOutcome, FetchRequest, FollowerStep, LeaderRules, Replica,
        Role, Turn,
    },
};
use taffrail_log::LogError;
use taffrail_record::BatchHeader;

use super::{
    Fault, Partition,
    append::{OwnedLog, Written},
    standing::{self, Standing},
};
use crate::{
    cluster::{asks::Asks, known::Run},
    follower::positions::Positions,
    repeats::Repeats,
};

/// A newer assignment, or newer limits.
#[derive(Debug)]
pub(crate) struct Assign {
    pub(crate) partition: Arc<Partition>,
    pub(crate) me: BrokerNumber,
    pub(crate) incarnation: Incarnation,
    /// `None`: no map names this replica.
    pub(crate) assignment: Option<Assignment>,
    /// By the map. In force once the replica is what the assignment makes of it.
    pub(crate) standing: Standing,
    pub(crate) rules: LeaderRules,
}

/// A follower asks this broker.
#[derive(Debug)]
pub(crate) struct ReplicaFetch {
    pub(crate) partition: Arc<Partition>,
    pub(crate) request: FetchRequest,
}

/// What a follower is answered. On [`FetchOutcome::Matches`] the session adds batches from the asked end on, now and later, for as
/// long as this broker leads the epoch: a leader's log only grows.
pub(crate) type Fetched = Result<Told, ErrorCode>;

/// An answer before batches are added to it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) answer: FetchAnswer,
    /// On [`FetchOutcome::OutOfRange`]: the producers of batches that this log has no more, encoded.
    pub(crate) producers: Bytes,
}

impl From<FetchAnswer> for Told {
    fn from(answer: FetchAnswer) -> Self {
        let producers = Bytes::new();
        Self { answer, producers }
    }
}

/// A leader answered this broker. Checked: the batches are whole, their checksums are right, the headers are theirs.
#[derive(Debug)]
pub(crate) struct Replicated {
    pub(crate) partition: Arc<Partition>,
    pub(crate) answer: FetchAnswer,
    pub(crate) batches: Vec<Bytes>,
    pub(crate) headers: Vec<BatchHeader>,
    pub(crate) append_time_ms: i64,
    /// Of batches that this log will never have, if it is to begin anew.
    pub(crate) producers: ProducerTable,
}

/// The times of this round, and where decisions go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// Never goes back.
    pub(crate) now_ms: u64,
    /// The wall clock: append times.
    pub(crate) wall_ms: i64,
    pub(crate) positions: &'a Positions,
    pub(crate) asks: &'a Asks,
    pub(crate) stalls: &'a Repeats,
}

impl OwnedLog {
    /// Obeys a newer assignment. On return nothing is written or acknowledged any more under an older epoch.
    pub(crate) fn assign(&mut self, assign: Assign, owner: &Owner<'_>) {
        let Assign {
            me,
            incarnation,
            assignment,
            standing,
            rules,
            ..
        } = assign;
        let followed = self.leader();
        let Some(assignment) = assignment else {
            self.depose();
            self.replica = None;
            self.tell_unfollowed(followed, owner);
            self.stand(&standing);
            return;
        };
        let log = &self.log;
        let replica = self.replica.get_or_insert_with(|| {
            Replica::new(me, incarnation, rules, Default::default(), log.state())
        });
        let turn = replica.assign(&assignment, owner.now_ms, &mut self.effects);
        replica.configure(rules, &mut self.effects);
        match turn {
            Err(ErrorCode::StaleLeaderEpoch) => {
                tracing::warn!(partition = %self.partition.label(), ?assignment, "an assignment older than the one in force does nothing");
                return self.carry_out(owner);
            }
            Ok(Turn::Stays) => {}
            Ok(Turn::Leads | Turn::Follows) => self.depose(),
            Err(code) => {
                tracing::error!(partition = %self.partition.label(), code = code.name(), ?assignment,
                    "the log has records of a later epoch than its assignment: it leads nothing until the controller knows better");
                self.depose();
            }
        }
        let follows = self.leader();
        if follows != followed {
            // Before anybody sees that it leads: then it was not followed any more.
            self.tell_unfollowed(followed, owner);
        }
        self.stand(&standing);
        self.carry_out(owner);
        if turn != Ok(Turn::Stays) || follows != followed {
            self.tell_position(owner);
        }
    }

    /// Says what the replica is now.
    fn stand(&self, by_map: &Standing) {
        let role = match self.replica.as_ref().map(Replica::role) {
            None => standing::Role::Stray,
            Some(Role::Leader(leader)) => {
                self.partition
                    .progress
                    .set_latest_from(leader.epoch_start());
                standing::Role::Leader
            }
            Some(Role::Follower(follower)) => standing::Role::Other {
                leader: follower.leader(),
            },
        };
        if role != standing::Role::Leader {
            self.partition.set_followers(std::iter::empty());
        }
        let standing = Standing { role, ..*by_map };
        if *self.partition.standing() != standing {
            tracing::info!(partition = %self.partition.label(), role = ?standing.role,
                leader_epoch = %standing.leader_epoch, partition_epoch = %standing.partition_epoch, "standing");
            self.partition.set_standing(standing);
            self.partition.growth.tell(self.partition.id);
        }
    }

    /// Whoever waits for this broker as a leader waits in vain.
    fn depose(&mut self) {
        let error = WireError::new(
            ErrorCode::NotLeader,
            format!(
                "{}: this broker does not lead it any more; whether the records were stored is not known; refresh the metadata",
                self.partition.label()
            ),
        );
        self.waiting.answer_all(&error);
    }

    /// Whom it follows.
    fn leader(&self) -> Option<BrokerNumber> {
        match self.replica.as_ref()?.role() {
            Role::Leader(_) => None,
            Role::Follower(follower) => follower.leader(),
        }
    }

    /// Tells the session with the leader where this replica stands.
    pub(crate) fn tell_position(&self, owner: &Owner<'_>) {
        let Some(Role::Follower(follower)) = self.replica.as_ref().map(Replica::role) else {
            return;
        };
        if self.partition.fault().is_some() {
            return;
        }
        if let (Some(leader), Some(request)) = (follower.leader(), follower.request()) {
            owner
                .positions
                .tell(leader, self.partition.id, Some(request));
        }
    }

    fn tell_unfollowed(&self, followed: Option<BrokerNumber>, owner: &Owner<'_>) {
        if let Some(leader) = followed {
            owner.positions.tell(leader, self.partition.id, None);
        }
    }

    /// The same, if it follows `leader`.
    pub(crate) fn tell_position_to(&self, leader: BrokerNumber, owner: &Owner<'_>) {
        if self.leader() == Some(leader) {
            self.tell_position(owner);
        }
    }

    /// A follower asks.
    pub(crate) fn fetched(&mut self, request: &FetchRequest, owner: &Owner<'_>) -> Fetched {
        if self.partition.fault().is_some() {
            return Err(ErrorCode::PartitionOffline);
        }
        let replica = self.replica.as_mut().ok_or(ErrorCode::NotYetKnown)?;
        let answer = match replica.role_mut() {
            Role::Leader(leader) => leader.fetch(request, owner.now_ms, &mut self.effects),
            Role::Follower(follower) if request.leader_epoch > follower.leader_epoch() => {
                Err(ErrorCode::NotYetKnown)
            }
            Role::Follower(_) => Err(ErrorCode::NotLeader),
        };
        self.carry_out(owner);
        let told = Told::from(answer?);
        Ok(match told.answer.outcome {
            FetchOutcome::OutOfRange { .. } => Told {
                producers: self.producers_before(told.answer.log_start),
                ..told
            },
            FetchOutcome::Matches | FetchOutcome::Diverging(_) => told,
        })
    }

    fn producers_before(&self, start: Offset) -> Bytes {
        let mut encoded = Vec::new();
        self.log.producers().before(start).encode(&mut encoded);
        encoded.into()
    }

    /// The leader answered. True: it was written to.
    pub(crate) fn replicated(
        &mut self,
        replicated: &Replicated,
        owner: &Owner<'_>,
        written: &mut Written,
    ) {
        if self.partition.fault().is_some() {
            return;
        }
        let Some(Role::Follower(follower)) = self.replica.as_mut().map(Replica::role_mut) else {
            return;
        };
        let spans: Vec<BatchSpan> = replicated.headers.iter().map(span).collect();
        let done = match follower.answered(&replicated.answer, &spans) {
            Ok(FollowerStep::Ignore) => return,
            Ok(FollowerStep::Wait) => Ok(()),
            Ok(FollowerStep::Append) => self.append_replicated(replicated, &spans, written),
            Ok(FollowerStep::Truncate(to)) => self.cut(to),
            Ok(FollowerStep::Restart {
                start,
                delete_horizon,
            }) => self.begin_anew(start, replicated.producers.clone(), delete_horizon),
            Err(code) => {
                tracing::error!(partition = %self.partition.label(), code = code.name(), answer = ?replicated.answer,
                    "the leader answered what cannot be; it is asked again in a moment");
                self.is_stalled = true;
                return;
            }
        };
        match done {
            Ok(()) => {
                self.publish();
                self.hear_high_watermark();
                self.tell_position(owner);
            }
            // A disk that fills up in the middle of a cut leaves less than this replica says that it has.
            Err(error) if error.fault().is_none() && !self.log.is_poisoned() => {
                if let Some(more) = owner.stalls.happened(owner.now_ms, error.code().name()) {
                    tracing::warn!(partition = %self.partition.label(), %error, more,
                        "cannot follow just now; tried again every moment, as others may be");
                }
                written.disk_full |= matches!(error, LogError::DiskFull { .. });
                self.is_stalled = true;
            }
            Err(error) => self.poison(Fault::poisoned(&error)),
        }
    }

    fn append_replicated(
        &mut self,
        replicated: &Replicated,
        spans: &[BatchSpan],
        written: &mut Written,
    ) -> Result<(), LogError> {
        let appended = self.log.append_replicated(
            &replicated.batches,
            &replicated.headers,
            replicated.append_time_ms,
        )?;
        self.wrote(appended.bytes, written);
        if let Some(Role::Follower(follower)) = self.replica.as_mut().map(Replica::role_mut) {
            follower.appended(spans);
        }
        Ok(())
    }

    fn cut(&mut self, to: Offset) -> Result<(), LogError> {
        let before = self.log.log_end();
        let end = self.log.truncate(to)?;
        tracing::warn!(partition = %self.partition.label(), from = %end, to = %before,
            "records that the leader does not have were cut: they were never committed");
        if let Some(Role::Follower(follower)) = self.replica.as_mut().map(Replica::role_mut) {
            follower.truncated(end);
            // What is left is durable: see `PartitionLog::truncate`.
            follower.synced(follower.log().sync_point());
        }
        self.was_cut();
        Ok(())
    }

    fn begin_anew(
        &mut self,
        at: Offset,
        producers: ProducerTable,
        delete_horizon: Offset,
    ) -> Result<(), LogError> {
        let (had_from, had_to) = (self.log.log_start(), self.log.log_end());
        if had_from < had_to {
            tracing::warn!(partition = %self.partition.label(), %had_from, %had_to, begins_at = %at, %delete_horizon,
                "this log cannot go on as the leader's: what would follow has expired there, or tombstones that this log lacks are gone; it begins anew");
        }
        self.log.restart(at, producers, delete_horizon)?;
        if let Some(Role::Follower(follower)) = self.replica.as_mut().map(Replica::role_mut) {
            follower.restarted(at, delete_horizon);
        }
        self.was_cut();
        Ok(())
    }

    /// What was there may be there no more.
    fn was_cut(&mut self) {
        self.unsynced_bytes = 0;
        if let Some(replica) = &self.replica {
            let progress = &self.partition.progress;
            progress.set_high_watermark(replica.log().high_watermark);
            progress.set_warm_from(self.log.log_end());
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, owner: &Owner<'_>) {
        if self.partition.fault().is_some() {
            // Found by a reader, perhaps. A leader that answers nobody must not have others removed for lagging.
            return self.answer_offline();
        }
        if let Some(Role::Leader(leader)) = self.replica.as_mut().map(Replica::role_mut) {
            leader.tick(owner.now_ms, &mut self.effects);
            self.partition.set_followers(leader.followers(owner.now_ms));
            self.carry_out(owner);
        } else if std::mem::take(&mut self.is_stalled) {
            self.tell_position(owner);
        }
    }

    /// What a leader counts of each follower that has asked in its epoch.
    #[cfg(feature = "sim")]
    pub(crate) fn counted(&self) -> Vec<(BrokerNumber, Offset)> {
        let Some(Role::Leader(leader)) = self.replica.as_ref().map(Replica::role) else {
            return Vec::new();
        };
        let followers = leader.followers(0);
        followers
            .filter_map(|follower| Some((follower.broker, follower.durable_end?)))
            .collect()
    }

    /// Below it everything was synced, whatever the replica makes of that.
    #[cfg(feature = "sim")]
    pub(crate) fn synced_end(&self) -> Offset {
        self.log.durable_end()
    }

    /// The controller registered a run of a broker, or began or ceased to hear it.
    pub(crate) fn registered(&mut self, run: &Run, owner: &Owner<'_>) {
        if let Some(Role::Leader(leader)) = self.replica.as_mut().map(Replica::role_mut) {
            leader.registered(run.broker, run.incarnation, &mut self.effects);
            leader.is_heard(run.broker, run.is_heard, &mut self.effects);
            self.carry_out(owner);
        }
    }

    /// A new session with the controller: it has to be told again which members have caught up.
    pub(crate) fn confirm_again(&self, owner: &Owner<'_>) {
        if let Some(Role::Leader(leader)) = self.replica.as_ref().map(Replica::role) {
            for (broker, incarnation) in leader.confirmed() {
                let epoch = leader.leader_epoch();
                owner
                    .asks
                    .confirm(self.partition.id, epoch, broker, incarnation);
            }
        }
    }

    /// From here on tombstones have to stay, for all that this replica knows.
    pub(super) fn tombstones_from(&self) -> Offset {
        match self.replica.as_ref().map(Replica::role) {
            Some(Role::Leader(leader)) => leader.tombstones_from(),
            // Nobody gets anything from this log. Whoever does when it leads is measured against its delete horizon.
            Some(Role::Follower(_)) | None => self.log.log_end(),
        }
    }

    /// A pass of compaction is planned. Known to everybody before it runs.
    pub(super) fn raise_delete_horizon(&mut self) {
        let horizon = self.log.delete_horizon();
        match self.replica.as_mut().map(Replica::role_mut) {
            Some(Role::Leader(leader)) => leader.raise_delete_horizon(horizon),
            Some(Role::Follower(follower)) => follower.raise_delete_horizon(horizon),
            None => {}
        }
        self.publish();
    }

    /// Old records were removed.
    pub(super) fn expired(&mut self) {
        let start = self.log.log_start();
        match self.replica.as_mut().map(Replica::role_mut) {
            Some(Role::Leader(leader)) => leader.expired(start),
            Some(Role::Follower(follower)) => follower.expired(start),
            None => {}
        }
    }
}

fn span(header: &BatchHeader) -> BatchSpan {
    BatchSpan {
        base: header.base_offset,
        next: header.next_offset(),
        epoch: taffrail_core::LeaderEpoch(header.leader_epoch.cast_unsigned()),
    }
}

#[cfg(test)]
mod tests;
