//! Evens out what brokers hold and lead, in few moves. First replicas, which have to be copied; then preferred leaders, which costs nothing.

use std::collections::{BTreeMap, VecDeque};

use taffrail_core::BrokerNumber;

use super::Candidate;

/// A partition's replicas, the preferred leader first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) replicas: Vec<BrokerNumber>,
    /// It moves already: it counts and stays as it is.
    pub(crate) is_fixed: bool,
}

/// `rows` with replicas spread within one over the candidates, as far as racks allow, and preferred leaders within one.
///
/// Replicas on brokers that are no candidates stay where they are.
pub(crate) fn balance(rows: &[Row], candidates: &[Candidate]) -> Vec<Row> {
    let mut board = Board::new(rows, candidates);
    while board.move_one() {}
    while board.shift_leads() {}
    board.rows
}

struct Board<'a> {
    rows: Vec<Row>,
    racks: BTreeMap<BrokerNumber, Option<&'a str>>,
    /// The rows that each candidate has a replica of.
    held: BTreeMap<BrokerNumber, Vec<usize>>,
    leads: BTreeMap<BrokerNumber, usize>,
}

impl<'a> Board<'a> {
    fn new(rows: &[Row], candidates: &'a [Candidate]) -> Self {
        let numbers = || candidates.iter().map(|c| c.number);
        let racks = candidates.iter().map(|c| (c.number, c.rack.as_deref()));
        let mut board = Self {
            rows: rows.to_vec(),
            racks: racks.collect(),
            held: numbers().map(|n| (n, Vec::new())).collect(),
            leads: numbers().map(|n| (n, 0)).collect(),
        };
        for (index, row) in rows.iter().enumerate() {
            for replica in &row.replicas {
                if let Some(held) = board.held.get_mut(replica) {
                    held.push(index);
                }
            }
            if let Some(leads) = row.replicas.first().and_then(|r| board.leads.get_mut(r)) {
                *leads += 1;
            }
        }
        board
    }

    /// Moves a replica from a broker with many to one with at least two fewer. `false`: there is none to move.
    fn move_one(&mut self) -> bool {
        let mut order: Vec<_> = self.held.iter().map(|(n, held)| (held.len(), *n)).collect();
        order.sort_unstable();
        for (many, high) in order.iter().rev() {
            for (few, low) in &order {
                if *many < few + 2 {
                    break;
                }
                if let Some(index) = self.movable(*high, *low) {
                    self.give(index, *high, *low);
                    return true;
                }
            }
        }
        false
    }

    /// Of what `high` holds, a row that `low` may take over: rather one that it does not lead.
    fn movable(&self, high: BrokerNumber, low: BrokerNumber) -> Option<usize> {
        let may_go = |index: &&usize| {
            let row = &self.rows[**index];
            !row.is_fixed && !row.replicas.contains(&low) && self.keeps_racks(row, high, low)
        };
        let held = || self.held[&high].iter().filter(may_go);
        let follows = |index: &&usize| self.rows[**index].replicas.first() != Some(&high);
        held().find(follows).or_else(|| held().next()).copied()
    }

    /// Are no more replicas in one rack with `low` in the place of `high`?
    fn keeps_racks(&self, row: &Row, high: BrokerNumber, low: BrokerNumber) -> bool {
        let shared = |with: BrokerNumber| {
            let rack = self.racks[&with];
            let others = row.replicas.iter().filter(|r| **r != high);
            let same = others.filter(|r| self.racks.get(r).is_some_and(|other| *other == rack));
            same.count() * usize::from(rack.is_some())
        };
        shared(low) <= shared(high)
    }

    fn give(&mut self, index: usize, high: BrokerNumber, low: BrokerNumber) {
        let replicas = &mut self.rows[index].replicas;
        if replicas.first() == Some(&high) {
            *self.leads.entry(high).or_default() -= 1;
            *self.leads.entry(low).or_default() += 1;
        }
        for replica in replicas.iter_mut().filter(|replica| **replica == high) {
            *replica = low;
        }
        self.held
            .entry(high)
            .or_default()
            .retain(|held| *held != index);
        self.held.entry(low).or_default().push(index);
    }

    /// Lets a broker that leads many lead one less, and one with at least two fewer lead one more: by way of others if need be. `false`: it is even.
    fn shift_leads(&mut self) -> bool {
        let Some((high, many)) = self.leads.iter().max_by_key(|(_, leads)| **leads) else {
            return false;
        };
        let (high, many) = (*high, *many);
        let Some(path) = self.path(high, |leads| leads + 2 <= many) else {
            return false;
        };
        for (index, next) in &path {
            let replicas = &mut self.rows[*index].replicas;
            if let Some(at) = replicas.iter().position(|replica| replica == next) {
                replicas.swap(0, at);
            }
        }
        if let Some((_, low)) = path.last() {
            *self.leads.entry(high).or_default() -= 1;
            *self.leads.entry(*low).or_default() += 1;
        }
        true
    }

    /// The shortest way from `high` to a broker that leads few enough: rows whose leadership goes to the broker beside them.
    fn path(
        &self,
        high: BrokerNumber,
        is_low: impl Fn(usize) -> bool,
    ) -> Option<Vec<(usize, BrokerNumber)>> {
        let mut from: BTreeMap<BrokerNumber, (usize, BrokerNumber)> = BTreeMap::new();
        let mut queue = VecDeque::from([high]);
        while let Some(at) = queue.pop_front() {
            if at != high && is_low(self.leads[&at]) {
                let mut path = Vec::new();
                let mut step = at;
                while step != high {
                    let (index, before) = from[&step];
                    path.push((index, step));
                    step = before;
                }
                path.reverse();
                return Some(path);
            }
            for index in &self.held[&at] {
                let row = &self.rows[*index];
                if row.is_fixed || row.replicas.first() != Some(&at) {
                    continue;
                }
                for next in &row.replicas[1..] {
                    let is_new = *next != high && !from.contains_key(next);
                    if is_new && self.held.contains_key(next) {
                        from.insert(*next, (*index, at));
                        queue.push_back(*next);
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::Load;

    fn candidates(racks: &[Option<&str>]) -> Vec<Candidate> {
        let brokers = racks.iter().enumerate().map(|(i, rack)| Candidate {
            number: BrokerNumber(i as u32),
            rack: rack.map(str::to_owned),
            load: Load::default(),
        });
        brokers.collect()
    }

    fn row(replicas: &[u32]) -> Row {
        Row {
            replicas: replicas.iter().copied().map(BrokerNumber).collect(),
            is_fixed: false,
        }
    }

    fn counts(
        rows: &[Row],
        brokers: u32,
        is_of: impl Fn(&Row, BrokerNumber) -> bool,
    ) -> Vec<usize> {
        let count = |b| {
            rows.iter()
                .filter(|row| is_of(row, BrokerNumber(b)))
                .count()
        };
        (0..brokers).map(count).collect()
    }

    fn spread(counts: &[usize]) -> usize {
        counts.iter().max().expect("some") - counts.iter().min().expect("some")
    }

    fn copies(before: &[Row], after: &[Row]) -> usize {
        let pairs = before.iter().zip(after);
        let new = pairs.map(|(b, a)| {
            a.replicas
                .iter()
                .filter(|r| !b.replicas.contains(r))
                .count()
        });
        new.sum()
    }

    proptest! {
        #[test]
        fn replicas_and_leaders_end_within_one(brokers in 3..8_u32, rows in prop::collection::vec((any::<u64>(), 1..4_usize), 1..60)) {
            let place = |(seed, count): (u64, usize)| {
                let mut free: Vec<u32> = (0..brokers).collect();
                let take = |i: usize| free.remove((seed >> (8 * i)) as usize % free.len());
                row(&(0..count).map(take).collect::<Vec<_>>())
            };
            let before: Vec<_> = rows.into_iter().map(place).collect();
            let after = balance(&before, &candidates(&vec![None; brokers as usize]));
            let held = |rows: &[Row]| counts(rows, brokers, |row, b| row.replicas.contains(&b));
            prop_assert!(spread(&held(&after)) <= 1);
            let led = counts(&after, brokers, |row, b| row.replicas[0] == b);
            let all: usize = led.iter().sum();
            prop_assert_eq!(all, before.len());
            for (before, after) in before.iter().zip(&after) {
                let mut distinct = after.replicas.clone();
                distinct.sort();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), before.replicas.len());
            }
            // No replica moves that need not.
            let (average, most) = (held(&before).iter().sum::<usize>() / brokers as usize, held(&before));
            let above: usize = most.iter().map(|n| n.saturating_sub(average)).sum();
            prop_assert!(copies(&before, &after) <= above);
            prop_assert_eq!(balance(&after, &candidates(&vec![None; brokers as usize])), after);
        }
    }

    #[test]
    fn a_new_broker_gets_its_share_of_replicas_and_leads() {
        let before: Vec<_> = (0..12)
            .map(|i| row(&[i % 3, (i + 1) % 3, (i + 2) % 3]))
            .collect();
        let after = balance(&before, &candidates(&[None; 4]));
        assert_eq!(
            counts(&after, 4, |row, b| row.replicas.contains(&b)),
            [9; 4]
        );
        assert_eq!(counts(&after, 4, |row, b| row.replicas[0] == b), [3; 4]);
        assert_eq!(copies(&before, &after), 9);
    }

    #[test]
    fn leads_go_around_by_way_of_others() {
        // 0 leads all, and shares nothing with 2.
        let before = [
            row(&[0, 1]),
            row(&[0, 1]),
            row(&[0, 1]),
            row(&[1, 2]),
            row(&[1, 2]),
        ];
        let mut board = Board::new(&before, &[]);
        assert!(!board.shift_leads(), "nobody takes part");
        let candidates = candidates(&[None; 3]);
        board = Board::new(&before, &candidates);
        while board.shift_leads() {}
        assert!(spread(&counts(&board.rows, 3, |row, b| row.replicas[0] == b)) <= 1);
        assert_eq!(copies(&before, &board.rows), 0);
    }

    #[test]
    fn racks_and_what_moves_already_are_respected() {
        let racks = [Some("a"), Some("b"), Some("b")];
        let before: Vec<_> = (0..6).map(|_| row(&[0, 1])).collect();
        let after = balance(&before, &candidates(&racks));
        assert_eq!(
            counts(&after, 3, |row, b| row.replicas.contains(&b)),
            [6, 3, 3]
        );
        let fixed: Vec<_> = before
            .into_iter()
            .map(|row| Row {
                is_fixed: true,
                ..row
            })
            .collect();
        assert_eq!(balance(&fixed, &candidates(&racks)), fixed);
    }
}
