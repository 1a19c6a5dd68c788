//! Which brokers get replicas: of new partitions here, of partitions that move in `plan` and `balance`. Pure functions of what is there.

mod balance;
mod plan;

use taffrail_core::BrokerNumber;

pub(crate) use balance::{Row, balance};
pub(crate) use plan::{Worth, fewer, more, off};

/// A broker that can take replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) number: BrokerNumber,
    pub(crate) rack: Option<String>,
    pub(crate) load: Load,
}

/// What a broker has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Partitions of the same topic that it leads, or would lead by preference.
    pub(crate) topic_leads: usize,
    /// The same, over all topics.
    pub(crate) leads: usize,
    /// Replicas of any kind.
    pub(crate) replicas: usize,
}

/// The replicas of `partitions` new partitions of one topic, preferred leaders first.
///
/// Leaders are spread evenly over the brokers within the topic, then over all topics; the other replicas go to racks that the
/// partition does not have yet, then where the fewest replicas are. `None` if there are fewer candidates than `replicas`.
pub(crate) fn place(
    partitions: usize,
    replicas: usize,
    candidates: &[Candidate],
) -> Option<Vec<Vec<BrokerNumber>>> {
    if replicas == 0 || candidates.len() < replicas {
        return None;
    }
    let mut candidates = candidates.to_vec();
    let leaders: Vec<_> = (0..partitions).map(|_| leader(&mut candidates)).collect();
    let placed = leaders
        .into_iter()
        .map(|leader| with_followers(leader, replicas, &mut candidates));
    Some(placed.collect())
}

/// The index of the candidate that leads the next partition.
fn leader(candidates: &mut [Candidate]) -> usize {
    let best = (0..candidates.len()).min_by_key(|&i| {
        let Candidate { number, load, .. } = &candidates[i];
        (load.topic_leads, load.leads, load.replicas, number.0)
    });
    // There is one: `place` saw to it.
    let best = best.unwrap_or_default();
    let load = &mut candidates[best].load;
    load.topic_leads += 1;
    load.leads += 1;
    load.replicas += 1;
    best
}

/// All replicas of the partition that `leader` leads.
fn with_followers(
    leader: usize,
    replicas: usize,
    candidates: &mut [Candidate],
) -> Vec<BrokerNumber> {
    let mut chosen = vec![leader];
    while chosen.len() < replicas {
        let free = (0..candidates.len()).filter(|i| !chosen.contains(i));
        let best = free.min_by_key(|&i| {
            let Candidate { number, rack, load } = &candidates[i];
            let same = |&&c: &&usize| rack.is_some() && candidates[c].rack == *rack;
            (chosen.iter().filter(same).count(), load.replicas, number.0)
        });
        let Some(best) = best else { break };
        candidates[best].load.replicas += 1;
        chosen.push(best);
    }
    chosen.into_iter().map(|i| candidates[i].number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(racks: &[Option<&str>]) -> Vec<Candidate> {
        let brokers = racks.iter().enumerate().map(|(i, rack)| Candidate {
            number: BrokerNumber(i as u32),
            rack: rack.map(str::to_owned),
            load: Load::default(),
        });
        brokers.collect()
    }

    fn spread(counts: impl IntoIterator<Item = usize>) -> usize {
        let counts: Vec<_> = counts.into_iter().collect();
        counts.iter().max().expect("some") - counts.iter().min().expect("some")
    }

    proptest! {
        #[test]
        fn leaders_are_even_within_one_and_replicas_within_two(partitions in 1..200_usize, replicas in 1..6_usize, more in 0..5_usize) {
            let brokers = replicas + more;
            let placed = place(partitions, replicas, &candidates(&vec![None; brokers])).expect("enough");
            let number = |i: usize| BrokerNumber(i as u32);
            let leads = (0..brokers).map(|b| placed.iter().filter(|p| p[0] == number(b)).count());
            prop_assert!(spread(leads) <= 1);
            let held = (0..brokers).map(|b| placed.iter().filter(|p| p.contains(&number(b))).count());
            prop_assert!(spread(held) <= 2);
            for replicas in &placed {
                let mut distinct = replicas.clone();
                distinct.sort();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), replicas.len());
            }
        }

        #[test]
        fn topics_placed_one_after_another_stay_even_over_all(sizes in prop::collection::vec(1..40_usize, 1..20), brokers in 1..7_usize) {
            let mut candidates = candidates(&vec![None; brokers]);
            for size in sizes {
                for placed in place(size, 1, &candidates).expect("enough") {
                    let broker = &mut candidates[placed[0].0 as usize];
                    broker.load.leads += 1;
                    broker.load.replicas += 1;
                }
                prop_assert!(spread(candidates.iter().map(|c| c.load.leads)) <= 1);
            }
        }
    }

    #[test]
    fn replicas_go_to_racks_of_their_own() {
        let racks = [
            Some("a"),
            Some("a"),
            Some("b"),
            Some("b"),
            Some("c"),
            Some("c"),
        ];
        for replicas in place(12, 3, &candidates(&racks)).expect("enough") {
            let mut used: Vec<_> = replicas.iter().map(|b| racks[b.0 as usize]).collect();
            used.sort_unstable();
            assert_eq!(used, [Some("a"), Some("b"), Some("c")]);
        }
    }

    #[test]
    fn a_topic_is_spread_over_old_brokers_too_when_a_new_one_is_empty() {
        let mut brokers = candidates(&[None, None, None]);
        brokers[0].load.leads = 100;
        brokers[1].load.leads = 100;
        let placed = place(6, 1, &brokers).expect("enough");
        for number in 0..3 {
            let leads = placed.iter().filter(|p| p[0] == BrokerNumber(number));
            assert_eq!(leads.count(), 2);
        }
    }

    #[test]
    fn fewer_brokers_than_replicas_place_nothing() {
        assert_eq!(place(1, 2, &candidates(&[None])), None);
    }
}
