//! Whoever moves replicas: orders, and where everything has to be in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taffrail_controller::{
    MoveRequest,
    sim::{Input, Refusal},
};
use taffrail_core::{BrokerNumber, TopicPartition};

use crate::world::{BROKERS, CONTROLLERS, SECOND, Step, World};

/// Answers to topics have ids below.
const FIRST_ID: u64 = 1 << 32;

#[derive(Debug, Clone)]
enum Order {
    /// To these brokers, the preferred leader first.
    To(TopicPartition, Vec<usize>),
    Off(usize),
    Balance,
    Cancel,
}

/// What is to be ordered, and what was.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    wanted: VecDeque<Order>,
    asked: Option<u64>,
    made: u64,
    /// On which brokers partitions have to be in the end.
    ordered: BTreeMap<TopicPartition, BTreeSet<usize>>,
    /// An order was given of which nobody knows what became, or will: where anything is in the end, is not known.
    is_uncertain: bool,
}

impl Moves {
    /// Nobody knows what became of the order.
    pub(super) fn unanswered(&mut self) {
        if self.asked.take().is_none() {
            return;
        }
        if let Some(Order::To(partition, _)) = self.wanted.front() {
            // Asked again, it comes to the same. Until then the partition may be here or there.
            self.ordered.remove(partition);
            return;
        }
        self.wanted.pop_front();
        self.is_uncertain = true;
    }

    /// The store does not know of the orders any more.
    pub(crate) fn are_forgotten(&mut self) {
        self.ordered.clear();
    }

    /// Nor where these partitions were ordered to be.
    pub(super) fn are_forgotten_of(&mut self, partitions: &[TopicPartition]) {
        self.ordered.retain(|of, _| !partitions.contains(of));
    }

    /// Nothing is wanted any more.
    pub(crate) fn are_done(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl World {
    pub(in crate::world) fn begin_moves(&mut self) {
        if self.brokers.len() < BROKERS {
            return;
        }
        for _ in 0..self.chance.between(1, 6) {
            let at = self.chance.between(8 * SECOND, 56 * SECOND);
            self.plan(at, |w| {
                let order = w.order();
                w.clients.moves.wanted.extend(order);
                Ok(())
            });
        }
        self.plan(5 * SECOND, Self::ask_for_move);
    }

    fn order(&mut self) -> Option<Order> {
        let active = self.stored.values().filter(|s| s.is_active);
        let active: Vec<_> = active.map(|s| (s.partition, s.wanted)).collect();
        if active.is_empty() {
            return None;
        }
        Some(match self.chance.below(10) {
            0 => Order::Off(self.any_broker()),
            1 => Order::Balance,
            2 => Order::Cancel,
            _ => {
                let (partition, wanted) = self.chance.pick(&active);
                let mut brokers: Vec<_> = self.all().collect();
                while brokers.len() > wanted {
                    brokers.remove(self.chance.below(brokers.len()));
                }
                let first = self.chance.below(wanted);
                brokers.swap(0, first);
                Order::To(partition, brokers)
            }
        })
    }

    fn ask_for_move(&mut self) -> Step {
        self.plan(SECOND, Self::ask_for_move);
        let in_office = (0..CONTROLLERS).find(|c| self.controllers[*c].in_office);
        let moves = &mut self.clients.moves;
        let (Some(order), Some(controller), None) = (moves.wanted.front(), in_office, moves.asked)
        else {
            return Ok(());
        };
        let order = order.clone();
        moves.made += 1;
        let id = FIRST_ID + moves.made;
        let Some(what) = self.request(&order) else {
            self.clients.moves.wanted.pop_front();
            return Ok(());
        };
        self.note(format!("somebody orders {order:?}"));
        self.clients.moves.asked = Some(id);
        let run = self.controllers[controller].run;
        self.controller_input(controller, run, Input::Move { id, what })
    }

    /// As controllers understand it; `None`: there is no such broker or topic (any more).
    fn request(&self, order: &Order) -> Option<MoveRequest> {
        Some(match order {
            Order::To(partition, brokers) => {
                let stored = self.stored.get(partition).filter(|s| s.is_active)?;
                let numbers = brokers.iter().map(|broker| self.number_of(*broker));
                MoveRequest::To {
                    topic: stored.topic.clone(),
                    partition: Some(partition.partition.0),
                    brokers: numbers.collect::<Option<_>>()?,
                }
            }
            Order::Off(broker) => MoveRequest::Off(self.number_of(*broker)?),
            Order::Balance => MoveRequest::Balance,
            Order::Cancel => MoveRequest::Cancel { topics: Vec::new() },
        })
    }

    /// The number that the volume there has, or had last.
    fn number_of(&self, broker: usize) -> Option<BrokerNumber> {
        let mut numbers = self.numbers.iter().rev();
        numbers
            .find(|(_, node)| **node == broker)
            .map(|(number, _)| *number)
    }

    pub(in crate::world) fn move_answered(&mut self, id: u64, outcome: &Result<(), Refusal>) {
        if self.clients.moves.asked != Some(id) {
            return;
        }
        if let Err(Refusal { why, is_unsure }) = outcome {
            let moves = &mut self.clients.moves;
            if *is_unsure {
                moves.unanswered();
            } else {
                moves.asked = None;
                moves.wanted.pop_front();
            }
            let what = if *is_unsure {
                "it may move"
            } else {
                "nothing moves"
            };
            self.note(format!("{what}: {why}"));
            return self.count("move refused");
        }
        let moves = &mut self.clients.moves;
        moves.asked = None;
        let order = moves.wanted.pop_front();
        match order {
            Some(Order::To(partition, brokers)) => {
                let brokers = brokers.into_iter().collect();
                moves.ordered.insert(partition, brokers);
            }
            // Anything may go anywhere: an order whose write had no answer is planned again, from where it led to.
            _ => moves.ordered.clear(),
        }
        self.count("move ordered");
    }

    /// Is everything where it was ordered to be, and nowhere else?
    pub(in crate::world) fn all_is_moved(&self) -> Step {
        for stored in self.stored.values().filter(|s| s.is_active) {
            let partition = stored.partition;
            let holders: BTreeSet<_> = self.holders(partition).into_iter().collect();
            let moves = &self.clients.moves;
            let ordered = moves
                .ordered
                .get(&partition)
                .filter(|_| !moves.is_uncertain);
            if let Some(ordered) = ordered.filter(|ordered| **ordered != holders) {
                return Err(format!(
                    "{partition} is on {holders:?}, and was ordered to {ordered:?}"
                ));
            }
            // What an older store or an older volume brings back is nobody's to delete.
            let has = |broker: &usize| {
                let node = &self.brokers[*broker];
                let process = node.process.as_ref().filter(|_| !node.went_back);
                process.is_some_and(|process| process.seen.contains_key(&partition))
            };
            let left = self.all().filter(has).find(|b| !holders.contains(b));
            if let Some(left) = left.filter(|_| !self.was_restored()) {
                return Err(format!(
                    "{partition} is still on b{left}, beside {holders:?}"
                ));
            }
        }
        Ok(())
    }

    /// Where the replicas are, by the store.
    pub(in crate::world) fn holders(&self, partition: TopicPartition) -> Vec<usize> {
        let stored = self.stored.get(&partition);
        let replicas = stored.iter().flat_map(|s| &s.assignment.replicas);
        let nodes = replicas.filter_map(|number| self.numbers.get(number).copied());
        nodes.collect()
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn an_order_that_nobody_answered_is_given_again_and_holds_from_then_on() {
        let partition = TopicPartition {
            topic: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(0),
        };
        let mut moves = Moves {
            wanted: VecDeque::from([Order::To(partition, vec![2, 1, 3]), Order::Balance]),
            asked: Some(FIRST_ID),
            ordered: BTreeMap::from([(partition, BTreeSet::from([0, 2, 3]))]),
            ..Moves::default()
        };
        moves.unanswered();
        assert!(moves.ordered.is_empty(), "it may have left there");
        assert_eq!(moves.wanted.len(), 2);
        assert!(!moves.is_uncertain);
        moves.wanted.pop_front();
        moves.unanswered();
        assert!(!moves.are_done(), "nothing was asked");
        moves.asked = Some(FIRST_ID + 1);
        moves.unanswered();
        assert!(moves.are_done(), "twice is another plan");
        assert!(moves.is_uncertain);
    }
}
