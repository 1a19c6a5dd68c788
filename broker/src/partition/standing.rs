//! What this broker is to a partition, by the newest assignment.

use taffrail_core::{
    Assignment, BrokerNumber, Durability, ErrorCode, Incarnation, LeaderEpoch, PartitionEpoch,
    TopicConfig,
};

/// What this broker is to a partition. Replaced whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    pub(crate) max_batch_bytes: usize,
    pub(crate) durability: Durability,
    /// Are replicas being added or taken away?
    pub(crate) is_moving: bool,
}

/// Leader, or what else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Leader,
    /// Another broker leads, or nobody just now.
    Other {
        leader: Option<BrokerNumber>,
    },
    /// No map names this replica: its data is kept, nothing is served.
    Stray,
}

impl Standing {
    pub(crate) const fn stray() -> Self {
        Self {
            role: Role::Stray,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            max_batch_bytes: 0,
            durability: Durability::Fsync,
            is_moving: false,
        }
    }

    /// By `assignment`, for broker `me` that runs as `incarnation`.
    pub(crate) fn of(
        assignment: &Assignment,
        config: &TopicConfig,
        me: BrokerNumber,
        incarnation: Incarnation,
    ) -> Self {
        let role = if !assignment.replicas.contains(&me) {
            Role::Stray
        } else if leads(assignment, me, incarnation) {
            Role::Leader
        } else {
            Role::Other {
                leader: assignment.leader.filter(|l| *l != me),
            }
        };
        Self {
            role,
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            max_batch_bytes: config.max_batch_bytes as usize,
            durability: config.durability,
            is_moving: assignment.is_moving(),
        }
    }

    /// May a request of `epoch` be served as by the leader?
    pub(crate) fn check(&self, epoch: Option<LeaderEpoch>) -> Result<(), (ErrorCode, String)> {
        match self.role {
            Role::Leader => {}
            Role::Other {
                leader: Some(leader),
            } => {
                return Err((
                    ErrorCode::NotLeader,
                    format!("broker {leader} leads it, not this one; refresh the metadata"),
                ));
            }
            Role::Other { leader: None } => {
                return Err((
                    ErrorCode::NotLeader,
                    "it has no leader just now; refresh the metadata and retry".to_owned(),
                ));
            }
            Role::Stray => {
                return Err((
                    ErrorCode::UnknownPartition,
                    "no assignment names this broker's replica; refresh the metadata".to_owned(),
                ));
            }
        }
        let ours = self.leader_epoch;
        match epoch {
            Some(theirs) if theirs < ours => Err((
                ErrorCode::StaleLeaderEpoch,
                format!("leader epoch {theirs} is over, it is {ours} now; refresh the metadata"),
            )),
            Some(theirs) if theirs > ours => Err((
                ErrorCode::NotYetKnown,
                format!("leader epoch {theirs} is not known here yet, only {ours}; retry"),
            )),
            _ => Ok(()),
        }
    }
}

/// An epoch belongs to one incarnation of a leader; only a replica that is the whole set may resume by itself.
fn leads(assignment: &Assignment, me: BrokerNumber, incarnation: Incarnation) -> bool {
    assignment.is_led_by(me, incarnation)
        || (assignment.leader == Some(me) && assignment.replicas == [me])
}

#[cfg(test)]
mod tests {
    use taffrail_core::{TopicDefaults, TopicSpec};

    use super::*;

    const ME: BrokerNumber = BrokerNumber(1);
    const NOW: Incarnation = Incarnation {
        generation: 5,
        random: 50,
    };
    const BEFORE: Incarnation = Incarnation {
        generation: 4,
        random: 40,
    };

    fn standing(replicas: &[u32], leader: u32, incarnation: Incarnation) -> Standing {
        let replicas: Vec<_> = replicas.iter().copied().map(BrokerNumber).collect();
        let assignment = Assignment {
            isr: replicas.clone(),
            replicas,
            leader: Some(BrokerNumber(leader)),
            leader_incarnation: incarnation,
            leader_epoch: LeaderEpoch(3),
            ..Assignment::default()
        };
        let config = TopicSpec::default()
            .effective(&TopicDefaults::default())
            .expect("valid");
        Standing::of(&assignment, &config, ME, NOW)
    }

    #[test]
    fn only_the_named_incarnation_leads_a_replicated_partition() {
        assert_eq!(standing(&[1, 2], 1, NOW).role, Role::Leader);
        assert_eq!(
            standing(&[1, 2], 1, BEFORE).role,
            Role::Other { leader: None }
        );
    }

    #[test]
    fn the_only_replica_resumes_by_itself() {
        assert_eq!(standing(&[1], 1, BEFORE).role, Role::Leader);
    }

    #[test]
    fn a_replica_that_no_map_names_is_a_stray() {
        assert_eq!(standing(&[2], 2, NOW).role, Role::Stray);
    }

    #[test]
    fn lower_epochs_are_refused_and_higher_ones_never_obeyed() {
        let leader = standing(&[1], 1, NOW);
        assert_eq!(leader.check(None), Ok(()));
        assert_eq!(leader.check(Some(LeaderEpoch(3))), Ok(()));
        let code = |epoch| {
            leader
                .check(Some(LeaderEpoch(epoch)))
                .expect_err("refused")
                .0
        };
        assert_eq!(code(2), ErrorCode::StaleLeaderEpoch);
        assert_eq!(code(4), ErrorCode::NotYetKnown);
    }
}
