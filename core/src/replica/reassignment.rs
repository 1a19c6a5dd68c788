//! Moving replicas (KIP-455): copy, catch up, swap. The map holds all there is to know of a move, so that any controller can go on with it.

use super::invariants;
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, PartitionEpoch},
};

/// How far a move is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// There is none.
    None,
    /// These replicas still copy, or catch up, or have restarted since and are not confirmed.
    CatchingUp(Vec<BrokerNumber>),
    /// Everything is copied, but fewer than `minInSync` of those that stay are in sync and confirmed.
    TooFewInSync,
    /// It can be finished.
    Ready,
}

impl Assignment {
    /// The replicas that are there when the move under way, if any, is done.
    pub fn target(&self) -> impl Iterator<Item = BrokerNumber> + '_ {
        let stays = |broker: &BrokerNumber| !self.removing.contains(broker);
        self.replicas.iter().copied().filter(stays)
    }

    /// Is a move under way?
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// How many replicas have to be in sync, of a topic that asks for `configured`. A partition that gains its first copies goes on as before
    /// until they are there.
    pub fn min_in_sync(&self, configured: usize) -> usize {
        let settled = self.replicas.iter().filter(|b| !self.adding.contains(b));
        configured.min(settled.count()).max(1)
    }

    /// The replicas that were there before the move under way: what it takes away stands where it is to be replaced.
    pub fn origin(&self) -> Vec<BrokerNumber> {
        let mut removing = self.removing.iter().copied();
        let mut origin = Vec::new();
        for broker in self.target() {
            if self.adding.contains(&broker) {
                origin.extend(removing.next());
            } else {
                origin.push(broker);
            }
        }
        origin.extend(removing);
        origin
    }

    /// The assignment with which a move to `target` begins: everybody who was there stays until it is done. A move that is under way is
    /// bent to the new target; to where it came from, it is taken back. `None`: nothing changes.
    ///
    /// ```
    /// use taffrail_core::{Assignment, BrokerNumber};
    /// let [a, b, c] = [1, 2, 3].map(BrokerNumber);
    /// let now = Assignment { replicas: vec![a, b], isr: vec![a, b], ..Assignment::default() };
    /// let moving = now.begin_move(&[a, c]).expect("something changes");
    /// assert_eq!((moving.replicas, moving.adding, moving.removing), (vec![a, c, b], vec![c], vec![b]));
    /// ```
    #[must_use]
    pub fn begin_move(&self, target: &[BrokerNumber]) -> Option<Self> {
        if target.is_empty() {
            return None;
        }
        let settled = |b: &&BrokerNumber| !self.adding.contains(*b);
        let settled: Vec<_> = self.replicas.iter().filter(settled).copied().collect();
        // One that was being added has to go again, unless it is wanted still: it may hold data.
        let leaves = |b: &&BrokerNumber| !target.contains(*b);
        let removing: Vec<_> = self.replicas.iter().filter(leaves).copied().collect();
        let joins = |b: &&BrokerNumber| !settled.contains(*b);
        let next = Self {
            replicas: target.iter().chain(&removing).copied().collect(),
            adding: target.iter().filter(joins).copied().collect(),
            removing,
            partition_epoch: PartitionEpoch(self.partition_epoch.0 + 1),
            ..self.clone()
        };
        let same = (&next.replicas, &next.adding, &next.removing)
            == (&self.replicas, &self.adding, &self.removing);
        debug_assert_eq!(invariants::assignment(&next), Ok(()));
        (!same).then_some(next)
    }

    /// How far the move is.
    pub fn move_progress(&self, min_in_sync: usize) -> Progress {
        if !self.is_moving() {
            return Progress::None;
        }
        // One that is not confirmed may be an older copy of itself: nobody goes on its account.
        let has_all = |b: &BrokerNumber| self.isr.contains(b) && self.awaits(*b).is_none();
        let missing = self.adding.iter().filter(|b| !has_all(b));
        let missing: Vec<_> = missing.copied().collect();
        if !missing.is_empty() {
            return Progress::CatchingUp(missing);
        }
        let in_sync = self.target().filter(has_all).count();
        if in_sync < min_in_sync.max(1) {
            return Progress::TooFewInSync;
        }
        Progress::Ready
    }

    /// The assignment with which a move that is [`Progress::Ready`] ends. If the leader goes, the first that stays, is in sync and may lead is
    /// elected with it: `run_of` gives the run of a broker that is there and may. `None`: it cannot end yet.
    ///
    /// Whoever goes has to delete what it had. It may be a replica again before it hears of that, and what it said before must not count then: so
    /// its removal begins a new epoch (as with Kafka's KRaft), of which it says nothing before it has heard of all that was ordered until then.
    ///
    /// A member of the in-sync set has everything committed, so that any of them may take over from a leader that is there to hand over.
    /// Without a leader every member may be needed to find the next one: nobody goes.
    #[must_use]
    pub fn finish_move(
        &self,
        min_in_sync: usize,
        run_of: impl Fn(BrokerNumber) -> Option<Incarnation>,
    ) -> Option<Self> {
        if self.leader.is_none() || self.move_progress(min_in_sync) != Progress::Ready {
            return None;
        }
        let mut next = Self {
            replicas: self.target().collect(),
            adding: Vec::new(),
            removing: Vec::new(),
            partition_epoch: PartitionEpoch(self.partition_epoch.0 + 1),
            ..self.clone()
        };
        next.isr.retain(|b| next.replicas.contains(b));
        next.unconfirmed.retain(|(b, _)| next.replicas.contains(b));
        if !self.removing.is_empty() {
            let (heir, run) = self.heir(&next.replicas, run_of)?;
            next.leader = Some(heir);
            next.leader_incarnation = run;
            next.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        debug_assert_eq!(invariants::assignment(&next), Ok(()));
        debug_assert_eq!(invariants::follows(self, &next), Ok(()));
        Some(next)
    }

    /// Who leads the next epoch, of those that stay. Nobody follows a leader that has not heard of it: also the present one has to be there.
    fn heir(
        &self,
        stays: &[BrokerNumber],
        run_of: impl Fn(BrokerNumber) -> Option<Incarnation>,
    ) -> Option<(BrokerNumber, Incarnation)> {
        let leader = self.leader.filter(|leader| stays.contains(leader));
        if let Some(leader) = leader {
            return run_of(leader).map(|_| (leader, self.leader_incarnation));
        }
        let has_all = |b: &&BrokerNumber| self.isr.contains(b) && self.awaits(**b).is_none();
        let mut heirs = stays.iter().filter(has_all);
        heirs.find_map(|b| Some((*b, run_of(*b)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Incarnation = Incarnation {
        generation: 7,
        random: 70,
    };

    fn brokers(numbers: &[u32]) -> Vec<BrokerNumber> {
        numbers.iter().copied().map(BrokerNumber).collect()
    }

    fn led_by_1(replicas: &[u32], isr: &[u32]) -> Assignment {
        Assignment {
            replicas: brokers(replicas),
            isr: brokers(isr),
            leader: Some(BrokerNumber(1)),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(9),
            ..Assignment::default()
        }
    }

    fn joined(mut moving: Assignment, broker: u32) -> Assignment {
        moving.isr.push(BrokerNumber(broker));
        moving
    }

    #[test]
    fn nobody_leaves_before_everybody_who_comes_is_in_sync() {
        let moving = led_by_1(&[1, 2, 3], &[1, 2, 3]).begin_move(&brokers(&[1, 4, 5]));
        let moving = moving.expect("begins");
        assert_eq!(moving.replicas, brokers(&[1, 4, 5, 2, 3]));
        assert_eq!(moving.isr, brokers(&[1, 2, 3]));
        assert_eq!(
            moving.move_progress(2),
            Progress::CatchingUp(brokers(&[4, 5]))
        );
        let half = joined(moving, 4);
        assert_eq!(half.move_progress(2), Progress::CatchingUp(brokers(&[5])));
        assert_eq!(half.finish_move(2, |_| Some(RUN)), None);
        let done = joined(half, 5).finish_move(2, |_| Some(RUN)).expect("done");
        assert_eq!(done.replicas, brokers(&[1, 4, 5]));
        assert_eq!(done.isr, brokers(&[1, 4, 5]));
        assert_eq!(done.leader, Some(BrokerNumber(1)));
    }

    #[test]
    fn whoever_goes_goes_in_a_new_epoch() {
        let now = led_by_1(&[1, 2], &[1, 2]);
        let moving = now.begin_move(&brokers(&[1, 3])).expect("begins");
        assert_eq!(moving.version(), (LeaderEpoch(4), PartitionEpoch(10)));
        let moving = joined(moving, 3);
        assert_eq!(moving.finish_move(1, |_| None), None, "1 is not there");
        let done = moving.finish_move(1, |_| Some(RUN)).expect("done");
        assert_eq!(
            done.version(),
            (LeaderEpoch(5), PartitionEpoch(11)),
            "2 may be wanted again, and what it said is of epoch 4"
        );
        assert_eq!(done.leader_incarnation, now.leader_incarnation);
        let more = now.begin_move(&brokers(&[1, 2, 3])).expect("begins");
        let more = joined(more, 3).finish_move(1, |_| None).expect("done");
        assert_eq!(more.leader_epoch, LeaderEpoch(4), "nobody goes");
    }

    #[test]
    fn a_leader_that_goes_hands_over_to_one_that_may_lead() {
        let moving = led_by_1(&[1, 2], &[1, 2]).begin_move(&brokers(&[3, 2]));
        let moving = joined(moving.expect("begins"), 3);
        let only_2 = |b| (b == BrokerNumber(2)).then_some(RUN);
        let done = moving.finish_move(1, only_2).expect("done");
        assert_eq!(done.leader, Some(BrokerNumber(2)), "3 is not there");
        assert_eq!(done.leader_incarnation, RUN);
        assert_eq!(done.leader_epoch, LeaderEpoch(5));
        assert_eq!(moving.finish_move(1, |_| None), None, "nobody may lead");
        let mut awaited = moving;
        awaited.unconfirmed = vec![(BrokerNumber(2), RUN)];
        assert_eq!(awaited.finish_move(1, only_2), None, "2 is not confirmed");
    }

    #[test]
    fn what_stays_has_to_be_enough() {
        let moving = led_by_1(&[1, 2, 3], &[1, 3]).begin_move(&brokers(&[1, 2]));
        let moving = moving.expect("begins");
        assert_eq!(moving.move_progress(2), Progress::TooFewInSync);
        assert_eq!(moving.move_progress(1), Progress::Ready);
    }

    #[test]
    fn whoever_is_not_confirmed_does_not_let_others_go() {
        let moving = led_by_1(&[1, 2], &[1, 2]).begin_move(&brokers(&[1, 3]));
        let mut moving = joined(moving.expect("begins"), 3);
        moving.unconfirmed = vec![(BrokerNumber(3), RUN)];
        assert_eq!(moving.move_progress(1), Progress::CatchingUp(brokers(&[3])));
        moving.unconfirmed.clear();
        assert_eq!(moving.move_progress(1), Progress::Ready);
    }

    #[test]
    fn while_nobody_leads_nobody_goes() {
        let moving = led_by_1(&[1, 2, 3], &[1, 2, 3]).begin_move(&brokers(&[1, 2]));
        let mut moving = moving.expect("begins");
        assert!(moving.finish_move(1, |_| Some(RUN)).is_some());
        moving.leader = None;
        assert_eq!(moving.finish_move(1, |_| Some(RUN)), None);
    }

    #[test]
    fn a_move_is_bent_and_taken_back() {
        let now = led_by_1(&[1, 2], &[1, 2]);
        assert_eq!(now.begin_move(&brokers(&[1, 2])), None);
        let moving = now.begin_move(&brokers(&[1, 3])).expect("begins");
        let bent = moving.begin_move(&brokers(&[1, 4])).expect("bent");
        assert_eq!(bent.adding, brokers(&[4]));
        assert_eq!(bent.removing, brokers(&[3, 2]), "3 may hold data");
        let back = moving.begin_move(&brokers(&[1, 2])).expect("taken back");
        assert_eq!((back.adding, back.removing), (vec![], brokers(&[3])));
    }

    #[test]
    fn a_partition_that_gains_copies_is_not_held_to_them_before_they_are_there() {
        let alone = led_by_1(&[1], &[1]);
        assert_eq!(alone.min_in_sync(2), 1);
        let moving = alone.begin_move(&brokers(&[1, 2, 3])).expect("begins");
        assert_eq!(moving.min_in_sync(2), 1);
        let moving = joined(joined(moving, 2), 3);
        let done = moving.finish_move(2, |_| None).expect("done");
        assert_eq!(done.min_in_sync(2), 2);
    }

    #[test]
    fn what_a_move_replaces_stood_where_its_successor_stands() {
        let now = led_by_1(&[1, 2, 3], &[1, 2, 3]);
        assert_eq!(now.origin(), now.replicas);
        for target in [[4, 2, 3], [1, 4, 3], [1, 2, 4], [4, 5, 3]] {
            let moving = now.begin_move(&brokers(&target)).expect("begins");
            assert_eq!(moving.origin(), now.replicas, "{target:?}");
        }
        for target in [&[1][..], &[1, 2, 3, 4]] {
            let moving = now.begin_move(&brokers(target)).expect("begins");
            assert_eq!(moving.origin(), now.replicas, "{target:?}");
        }
    }
}
