//! What a broker is to a partition, and how that changes: leader, or follower of somebody or nobody.

use super::{
    follower::Follower,
    leader::{Leader, LeaderEffect, LeaderRules},
    log_state::LogState,
    mutant::{Broken, Mutant},
};
use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch},
};

/// One replica, of one run of a broker. Owned by the one who owns the log.
///
/// Invariant: the version of the assignment never goes back.
#[derive(Debug)]
pub struct Replica {
    me: BrokerNumber,
    incarnation: Incarnation,
    rules: LeaderRules,
    version: (LeaderEpoch, PartitionEpoch),
    role: Role,
    broken: Broken,
}

/// Leader or follower.
#[derive(Debug)]
pub enum Role {
    /// By an assignment that names this very run.
    Leader(Leader),
    /// Everything else.
    Follower(Follower),
}

/// What a newer assignment made of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The same as before, and of the same epoch.
    Stays,
    /// It leads a new epoch.
    Leads,
    /// It follows in a new epoch. If it led: whoever waits is refused with [`ErrorCode::NotLeader`], and nothing more is acknowledged.
    Follows,
}

impl Replica {
    /// The replica of a broker that starts: it follows nobody until it is assigned. `seen` is the version of the newest assignment
    /// that it knows.
    pub fn new(
        me: BrokerNumber,
        incarnation: Incarnation,
        rules: LeaderRules,
        seen: (LeaderEpoch, PartitionEpoch),
        log: LogState,
    ) -> Self {
        Self::new_broken(me, incarnation, rules, seen, log, Broken::default())
    }

    pub(super) fn new_broken(
        me: BrokerNumber,
        incarnation: Incarnation,
        rules: LeaderRules,
        seen: (LeaderEpoch, PartitionEpoch),
        log: LogState,
        broken: Broken,
    ) -> Self {
        Self {
            me,
            incarnation,
            rules,
            version: seen,
            role: Role::Follower(Follower::new(me, incarnation, None, seen.0, log, broken)),
            broken,
        }
    }

    /// Leader or follower.
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// Leader or follower, to tell it what happens.
    pub const fn role_mut(&mut self) -> &mut Role {
        &mut self.role
    }

    /// It as the leader of `epoch`.
    ///
    /// # Errors
    /// [`ErrorCode::NotLeader`], [`ErrorCode::StaleLeaderEpoch`] if `epoch` is over, [`ErrorCode::NotYetKnown`] if it is above the own.
    pub fn leader_of(&mut self, epoch: LeaderEpoch) -> Result<&mut Leader, ErrorCode> {
        let Role::Leader(leader) = &mut self.role else {
            return Err(ErrorCode::NotLeader);
        };
        match epoch.cmp(&leader.leader_epoch()) {
            std::cmp::Ordering::Less => Err(ErrorCode::StaleLeaderEpoch),
            std::cmp::Ordering::Equal => Ok(leader),
            std::cmp::Ordering::Greater => Err(ErrorCode::NotYetKnown),
        }
    }

    /// Its log.
    pub const fn log(&self) -> &LogState {
        match &self.role {
            Role::Leader(leader) => leader.log(),
            Role::Follower(follower) => follower.log(),
        }
    }

    /// The version of the newest assignment.
    pub const fn version(&self) -> (LeaderEpoch, PartitionEpoch) {
        self.version
    }

    /// Limits changed.
    pub fn configure(&mut self, rules: LeaderRules, effects: &mut Vec<LeaderEffect>) {
        self.rules = rules;
        if let Role::Leader(leader) = &mut self.role {
            leader.configure(rules, effects);
        }
    }

    /// An assignment came, from the controller or from this broker's own disk. One of the same version may await other runs of members, or
    /// leave one out: see [`invariants::follows`](super::invariants::follows).
    ///
    /// # Errors
    /// [`ErrorCode::StaleLeaderEpoch`]: it is older than the one in force, which stays. [`ErrorCode::NotYetKnown`]: the log has
    /// records of a later epoch, so the store must have gone back: this replica leads nothing until it is assigned a higher one.
    pub fn assign(
        &mut self,
        assignment: &Assignment,
        now_ms: u64,
        effects: &mut Vec<LeaderEffect>,
    ) -> Result<Turn, ErrorCode> {
        let version = assignment.version();
        if version < self.version {
            return Err(ErrorCode::StaleLeaderEpoch);
        }
        let leads = self.may_lead(assignment);
        if let Role::Leader(leader) = &mut self.role
            && leads
            && leader.leader_epoch() == version.0
        {
            self.version = version;
            leader.assigned(self.me, assignment, now_ms, effects);
            return Ok(Turn::Stays);
        }
        self.version = version;
        let is_behind = self.log().epochs.last() > Some(version.0);
        if leads && !is_behind {
            let log = self.take_log();
            let leader = Leader::elected(self.me, assignment, self.rules, log, now_ms, self.broken);
            self.role = Role::Leader(leader);
            return Ok(Turn::Leads);
        }
        let is_replica = assignment.replicas.contains(&self.me);
        let leader = assignment.leader.filter(|l| is_replica && *l != self.me);
        if let Role::Follower(follower) = &self.role
            && (follower.leader(), follower.leader_epoch()) == (leader, version.0)
        {
            return Ok(Turn::Stays);
        }
        let log = self.take_log();
        let (me, incarnation, broken) = (self.me, self.incarnation, self.broken);
        let follower = Follower::new(me, incarnation, leader, version.0, log, broken);
        self.role = Role::Follower(follower);
        if leads {
            Err(ErrorCode::NotYetKnown)
        } else {
            Ok(Turn::Follows)
        }
    }

    /// An epoch belongs to one incarnation of a leader; only a replica that is the whole set may resume by itself.
    fn may_lead(&self, assignment: &Assignment) -> bool {
        let is_named = assignment.leader == Some(self.me);
        assignment.is_led_by(self.me, self.incarnation)
            || is_named && assignment.replicas == [self.me]
            || is_named && self.broken.is(Mutant::LeaderIncarnationNotCompared)
    }

    fn take_log(&mut self) -> LogState {
        let nobody = Follower::new(
            self.me,
            self.incarnation,
            None,
            self.version.0,
            LogState::default(),
            self.broken,
        );
        match std::mem::replace(&mut self.role, Role::Follower(nobody)) {
            Role::Leader(leader) => leader.into_log(),
            Role::Follower(follower) => follower.into_log(),
        }
    }
}
