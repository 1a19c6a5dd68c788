//! Who holds a partition.

use taffrail_core::{Assignment, BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch};

use crate::{WireError, convert, v1};

impl From<&Assignment> for v1::Assignment {
    fn from(a: &Assignment) -> Self {
        Self {
            replicas: to_wire(&a.replicas),
            adding: to_wire(&a.adding),
            removing: to_wire(&a.removing),
            isr: to_wire(&a.isr),
            leader: a.leader.map(|b| b.0),
            leader_incarnation: Some(a.leader_incarnation.into()),
            leader_epoch: convert::epoch_to_wire(a.leader_epoch),
            partition_epoch: a.partition_epoch.0,
            unconfirmed: a.unconfirmed.iter().map(run_to_wire).collect(),
            is_unclean: a.is_unclean,
        }
    }
}

impl From<Assignment> for v1::Assignment {
    fn from(a: Assignment) -> Self {
        Self::from(&a)
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = WireError;

    fn try_from(a: v1::Assignment) -> Result<Self, WireError> {
        let leader_epoch = u32::try_from(a.leader_epoch).map_err(|_| {
            WireError::invalid(format!(
                "assignment: leader_epoch {} is negative",
                a.leader_epoch
            ))
        })?;
        let assignment = Self {
            replicas: from_wire(a.replicas),
            adding: from_wire(a.adding),
            removing: from_wire(a.removing),
            isr: from_wire(a.isr),
            leader: a.leader.map(BrokerNumber),
            leader_incarnation: a.leader_incarnation.unwrap_or_default().into(),
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: PartitionEpoch(a.partition_epoch),
            unconfirmed: a
                .unconfirmed
                .into_iter()
                .map(run_from_wire)
                .collect::<Result<_, _>>()?,
            is_unclean: a.is_unclean,
        };
        if let Some(stranger) = assignment
            .isr
            .iter()
            .find(|b| !assignment.replicas.contains(b))
        {
            return Err(WireError::invalid(format!(
                "assignment: broker {stranger} is in isr and not in replicas"
            )));
        }
        if let Some(leader) = assignment.leader
            && !assignment.isr.contains(&leader)
        {
            return Err(WireError::invalid(format!(
                "assignment: leader {leader} is not in isr"
            )));
        }
        Ok(assignment)
    }
}

fn run_to_wire((broker, incarnation): &(BrokerNumber, Incarnation)) -> v1::BrokerRun {
    v1::BrokerRun {
        broker: broker.0,
        incarnation: Some((*incarnation).into()),
    }
}

/// A run that nobody can name could be confirmed by nobody.
fn run_from_wire(run: v1::BrokerRun) -> Result<(BrokerNumber, Incarnation), WireError> {
    let incarnation = run.incarnation.ok_or_else(|| {
        WireError::invalid(format!(
            "assignment: the unconfirmed run of broker {} has no incarnation",
            run.broker
        ))
    })?;
    Ok((BrokerNumber(run.broker), incarnation.into()))
}

fn to_wire(brokers: &[BrokerNumber]) -> Vec<u32> {
    brokers.iter().map(|b| b.0).collect()
}

fn from_wire(brokers: Vec<u32>) -> Vec<BrokerNumber> {
    brokers.into_iter().map(BrokerNumber).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_survives_the_wire() {
        let assignment = Assignment {
            replicas: vec![BrokerNumber(1), BrokerNumber(2)],
            adding: vec![BrokerNumber(2)],
            removing: vec![],
            isr: vec![BrokerNumber(1)],
            leader: Some(BrokerNumber(1)),
            leader_incarnation: Incarnation {
                generation: 3,
                random: 9,
            },
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(8),
            unconfirmed: vec![(
                BrokerNumber(2),
                Incarnation {
                    generation: 4,
                    random: 7,
                },
            )],
            is_unclean: true,
        };
        let wire = v1::Assignment::from(&assignment);
        assert_eq!(Assignment::try_from(wire), Ok(assignment));
    }

    #[test]
    fn an_unconfirmed_run_without_an_incarnation_is_refused() {
        let wire = v1::Assignment {
            replicas: vec![1],
            isr: vec![1],
            unconfirmed: vec![v1::BrokerRun::default()],
            ..v1::Assignment::default()
        };
        let error = Assignment::try_from(wire).expect_err("no run");
        assert!(error.message.contains("has no incarnation"), "{error}");
    }

    #[test]
    fn a_leader_outside_the_isr_is_refused() {
        let wire = v1::Assignment {
            replicas: vec![1, 2],
            isr: vec![1],
            leader: Some(2),
            ..v1::Assignment::default()
        };
        let error = Assignment::try_from(wire).expect_err("contradiction");
        assert!(error.message.contains("leader 2 is not in isr"), "{error}");
    }
}
