//! What must hold of a partition whatever happens, each under its name: asserted in the code, checked by the model, the simulation and the tests.

use std::collections::BTreeMap;

use thiserror::Error;

use super::log_state::LogState;
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset},
};

/// A record that was acknowledged is in the log of every leader that serves its epoch or a later one.
pub const ACKNOWLEDGED_IS_ON_EVERY_LEADER: &str = "acknowledged is on every leader";
/// A leader epoch has one owner: one incarnation of one broker.
pub const AN_EPOCH_HAS_ONE_LEADER: &str = "a leader epoch has one owner";
/// What was below a high watermark is never replaced: the same bytes on all replicas, for ever.
pub const EXPOSED_IS_NEVER_REPLACED: &str = "exposed is never replaced";
/// When a record is acknowledged it is durable on `minInSync` replicas.
pub const ACKNOWLEDGED_IS_DURABLE_ON_MIN_IN_SYNC: &str = "acknowledged is durable on minInSync";
/// Within an epoch the high watermark only grows.
pub const THE_HIGH_WATERMARK_NEVER_MOVES_BACK: &str = "the high watermark never moves back";
/// It moves up to what is durable on the leader and every persisted member, if `minInSync` of them are there.
pub const COMMITTED_IS_DURABLE_ON_THE_ISR: &str = "committed is durable on the in-sync set";
/// `start <= durable_end <= end`, `high_watermark <= end`; epochs do not pass the end.
pub const A_LOG_IS_IN_ORDER: &str = "log start, durable end and log end are in order";
/// The in-sync set is a part of the replicas and not empty; the leader is in it.
pub const AN_ASSIGNMENT_IS_WHOLE: &str = "isr is in replicas, the leader in isr";
/// A later assignment has no lower epoch, a changed one a higher partition epoch, and another owner a higher leader epoch. Only a registration that
/// must not hide a newer record changes one under its old epochs: what it awaits, and that a member that lacks data is out of sync.
pub const EPOCHS_ARE_MONOTONE: &str = "epochs are monotone per partition";

/// What was deleted is never served by a later leader.
pub const DELETED_STAYS_DELETED: &str = "what is deleted stays deleted";
/// A loss that is reported, as no candidate is left, loses only what no replica has.
pub const ONLY_WHAT_NOBODY_HAS_IS_LOST: &str = "a reported loss loses only what no replica has";
/// A record that was sent again stands in the log once.
pub const NO_RECORD_STANDS_TWICE: &str = "no record stands in the log twice";

/// An invariant that does not hold, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule}: {what}")]
pub struct Violated {
    /// Its name.
    pub rule: &'static str,
    /// What shows it.
    pub what: String,
}

/// May the leader of `log` move its high watermark to `to`, if its persisted followers in sync have reported `durable_ends`?
///
/// # Errors
/// [`THE_HIGH_WATERMARK_NEVER_MOVES_BACK`], [`COMMITTED_IS_DURABLE_ON_THE_ISR`].
pub fn commit(
    log: &LogState,
    to: Offset,
    durable_ends: impl Iterator<Item = Offset>,
    min_in_sync: usize,
) -> Result<(), Violated> {
    let from = log.high_watermark;
    ensure(THE_HIGH_WATERMARK_NEVER_MOVES_BACK, from <= to, || {
        format!("{from} to {to}")
    })?;
    let mut members = 0;
    for end in durable_ends.chain([log.durable_end]) {
        members += 1;
        ensure(COMMITTED_IS_DURABLE_ON_THE_ISR, to <= end, || {
            format!("{to} is beyond {end}")
        })?;
    }
    ensure(
        COMMITTED_IS_DURABLE_ON_THE_ISR,
        members >= min_in_sync,
        || format!("{members} members"),
    )
}

/// Is `log` possible?
///
/// # Errors
/// [`A_LOG_IS_IN_ORDER`].
pub fn log_state(log: &LogState) -> Result<(), Violated> {
    let in_order = log.start <= log.durable_end
        && log.durable_end <= log.end
        && log.high_watermark <= log.end
        && log
            .epochs
            .as_slice()
            .last()
            .is_none_or(|e| e.start <= log.end);
    ensure(A_LOG_IS_IN_ORDER, in_order, || format!("{log:?}"))
}

/// Is `assignment` possible?
///
/// # Errors
/// [`AN_ASSIGNMENT_IS_WHOLE`].
pub fn assignment(assignment: &Assignment) -> Result<(), Violated> {
    let isr = &assignment.isr;
    let is_whole = !isr.is_empty()
        && isr.iter().all(|m| assignment.replicas.contains(m))
        && assignment.leader.is_none_or(|leader| isr.contains(&leader));
    ensure(AN_ASSIGNMENT_IS_WHOLE, is_whole, || {
        format!("{assignment:?}")
    })
}

/// May `next` be written over `known`?
///
/// # Errors
/// [`EPOCHS_ARE_MONOTONE`], [`AN_EPOCH_HAS_ONE_LEADER`].
pub fn follows(known: &Assignment, next: &Assignment) -> Result<(), Violated> {
    let what = || format!("{known:?} became {next:?}");
    let is_monotone = next.leader_epoch >= known.leader_epoch
        && (next.partition_epoch > known.partition_epoch || is_only_marked(known, next));
    ensure(EPOCHS_ARE_MONOTONE, is_monotone, what)?;
    let is_same_owner = next.leader.is_none()
        || (next.leader, next.leader_incarnation) == (known.leader, known.leader_incarnation);
    let is_raised = next.leader_epoch > known.leader_epoch;
    ensure(AN_EPOCH_HAS_ONE_LEADER, is_same_owner || is_raised, what)
}

/// Is `next` the same as `known` but for runs that it awaits, and members that are out of sync or may lack something?
fn is_only_marked(known: &Assignment, next: &Assignment) -> bool {
    let is_subset = next.isr.iter().all(|member| known.isr.contains(member));
    let marked = Assignment {
        isr: next.isr.clone(),
        unconfirmed: next.unconfirmed.clone(),
        is_unclean: next.is_unclean,
        ..known.clone()
    };
    is_subset && *next == marked
}

/// What the world has seen of one partition, for simulations and tests: records are known by a fingerprint of theirs.
#[derive(Debug, Clone, Default)]
pub struct History {
    owners: BTreeMap<LeaderEpoch, (BrokerNumber, Incarnation)>,
    exposed: Vec<u64>,
    acknowledged: BTreeMap<Offset, (u64, LeaderEpoch)>,
}

impl History {
    /// Somebody appends or acknowledges as the leader of `epoch`.
    ///
    /// # Errors
    /// [`AN_EPOCH_HAS_ONE_LEADER`].
    pub fn leads(
        &mut self,
        epoch: LeaderEpoch,
        broker: BrokerNumber,
        incarnation: Incarnation,
    ) -> Result<(), Violated> {
        let owner = *self.owners.entry(epoch).or_insert((broker, incarnation));
        ensure(
            AN_EPOCH_HAS_ONE_LEADER,
            owner == (broker, incarnation),
            || format!("epoch {epoch} of {owner:?} is led by {broker}, {incarnation}"),
        )
    }

    /// A replica shows `records` (from the first offset of the partition on) to consumers.
    ///
    /// # Errors
    /// [`EXPOSED_IS_NEVER_REPLACED`].
    pub fn exposes(&mut self, records: &[u64]) -> Result<(), Violated> {
        let both = records.len().min(self.exposed.len());
        let same = records[..both] == self.exposed[..both];
        ensure(EXPOSED_IS_NEVER_REPLACED, same, || {
            format!("{:?} became {records:?}", self.exposed)
        })?;
        self.exposed.extend_from_slice(&records[both..]);
        Ok(())
    }

    /// The leader of `epoch` acknowledges `record` at `offset`; `copies` replicas have it durably.
    ///
    /// # Errors
    /// [`ACKNOWLEDGED_IS_DURABLE_ON_MIN_IN_SYNC`].
    pub fn acknowledges(
        &mut self,
        offset: Offset,
        record: u64,
        epoch: LeaderEpoch,
        copies: usize,
        min_in_sync: usize,
    ) -> Result<(), Violated> {
        self.acknowledged.insert(offset, (record, epoch));
        ensure(
            ACKNOWLEDGED_IS_DURABLE_ON_MIN_IN_SYNC,
            copies >= min_in_sync,
            || format!("offset {offset} is on {copies}"),
        )
    }

    /// The leader of `epoch` has `records`.
    ///
    /// # Errors
    /// [`ACKNOWLEDGED_IS_ON_EVERY_LEADER`].
    pub fn serves(&self, epoch: LeaderEpoch, records: &[u64]) -> Result<(), Violated> {
        for (offset, (record, acknowledged)) in &self.acknowledged {
            let has = records.get(offset.0 as usize) == Some(record);
            ensure(
                ACKNOWLEDGED_IS_ON_EVERY_LEADER,
                has || *acknowledged > epoch,
                || {
                    format!(
                        "offset {offset} of epoch {acknowledged} is not on the leader of {epoch}"
                    )
                },
            )?;
        }
        Ok(())
    }

    /// How many records were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }
}

fn ensure(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Violated> {
    if holds {
        return Ok(());
    }
    Err(Violated { rule, what: what() })
}
