//! Where single replicas go: off a broker, or more or fewer of them. Loads are kept up to date, so that one plan after another stays even.

use taffrail_core::BrokerNumber;

use super::Candidate;

/// The replicas of a partition without `broker`, another one in its place. `None`: there is no other.
pub(crate) fn off(
    broker: BrokerNumber,
    replicas: &[BrokerNumber],
    candidates: &mut [Candidate],
) -> Option<Vec<BrokerNumber>> {
    let at = replicas.iter().position(|replica| *replica == broker)?;
    let heir = take_best(replicas, Some(broker), at == 0, candidates)?;
    let mut replicas = replicas.to_vec();
    replicas[at] = heir;
    Some(replicas)
}

/// What a replica is worth when some have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worth {
    pub(crate) broker: BrokerNumber,
    pub(crate) is_leader: bool,
    pub(crate) is_in_sync: bool,
}

/// So many of the replicas: those that lead and are in sync before others, the first before the last. `wanted` is not 0.
pub(crate) fn fewer(
    wanted: usize,
    replicas: &[Worth],
    candidates: &mut [Candidate],
) -> Vec<BrokerNumber> {
    let mut order: Vec<_> = replicas.iter().enumerate().collect();
    order.sort_by_key(|(at, worth)| (!worth.is_leader, !worth.is_in_sync, *at));
    let (stay, go) = order.split_at(wanted.min(order.len()));
    for (_, gone) in go {
        let known = candidates.iter_mut().find(|c| c.number == gone.broker);
        if let Some(candidate) = known {
            candidate.load.replicas = candidate.load.replicas.saturating_sub(1);
        }
    }
    let mut stay = stay.to_vec();
    stay.sort_by_key(|(at, _)| *at);
    stay.into_iter().map(|(_, worth)| worth.broker).collect()
}

/// The replicas and as many more as are `wanted` in all. `None`: there are not enough brokers.
pub(crate) fn more(
    wanted: usize,
    replicas: &[BrokerNumber],
    candidates: &mut [Candidate],
) -> Option<Vec<BrokerNumber>> {
    let free = candidates.iter().filter(|c| !replicas.contains(&c.number));
    if replicas.len() + free.count() < wanted {
        return None;
    }
    let mut replicas = replicas.to_vec();
    while replicas.len() < wanted {
        replicas.push(take_best(&replicas, None, false, candidates)?);
    }
    Some(replicas)
}

/// Another rack before any other virtue, then the fewest preferred leaders if it comes first, then the fewest replicas.
fn take_best(
    replicas: &[BrokerNumber],
    except: Option<BrokerNumber>,
    is_first: bool,
    candidates: &mut [Candidate],
) -> Option<BrokerNumber> {
    let racks: Vec<_> = replicas
        .iter()
        .filter(|replica| Some(**replica) != except)
        .filter_map(|replica| candidates.iter().find(|c| c.number == *replica))
        .filter_map(|candidate| candidate.rack.clone())
        .collect();
    let free = candidates
        .iter_mut()
        .filter(|c| !replicas.contains(&c.number));
    let best = free.min_by_key(|candidate| {
        let same = racks
            .iter()
            .filter(|rack| candidate.rack.as_ref() == Some(*rack));
        let leads = if is_first { candidate.load.leads } else { 0 };
        (
            same.count(),
            leads,
            candidate.load.replicas,
            candidate.number.0,
        )
    })?;
    best.load.replicas += 1;
    best.load.leads += usize::from(is_first);
    Some(best.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Load;

    fn brokers(numbers: &[u32]) -> Vec<BrokerNumber> {
        numbers.iter().copied().map(BrokerNumber).collect()
    }

    fn candidates(loads: &[(Option<&str>, usize)]) -> Vec<Candidate> {
        let brokers = loads
            .iter()
            .enumerate()
            .map(|(i, (rack, replicas))| Candidate {
                number: BrokerNumber(i as u32),
                rack: rack.map(str::to_owned),
                load: Load {
                    replicas: *replicas,
                    ..Load::default()
                },
            });
        brokers.collect()
    }

    fn worth(number: u32, is_leader: bool, is_in_sync: bool) -> Worth {
        Worth {
            broker: BrokerNumber(number),
            is_leader,
            is_in_sync,
        }
    }

    #[test]
    fn a_replica_goes_where_the_fewest_are_and_takes_its_place_in_the_row() {
        let mut candidates = candidates(&[(None, 5), (None, 3), (None, 3), (None, 2)]);
        let planned = off(BrokerNumber(0), &brokers(&[0, 3]), &mut candidates);
        assert_eq!(planned, Some(brokers(&[1, 3])));
        let planned = off(BrokerNumber(0), &brokers(&[3, 0]), &mut candidates);
        assert_eq!(planned, Some(brokers(&[3, 2])), "1 has one more by now");
        let everywhere = brokers(&[0, 1, 2, 3]);
        assert_eq!(off(BrokerNumber(0), &everywhere, &mut candidates), None);
    }

    #[test]
    fn a_rack_without_a_replica_comes_before_an_empty_broker() {
        let mut candidates = candidates(&[
            (Some("a"), 1),
            (Some("a"), 0),
            (Some("b"), 9),
            (Some("c"), 1),
        ]);
        let planned = off(BrokerNumber(3), &brokers(&[0, 3]), &mut candidates);
        assert_eq!(planned, Some(brokers(&[0, 2])));
        let planned = more(3, &brokers(&[0]), &mut candidates);
        assert_eq!(planned, Some(brokers(&[0, 3, 2])));
        assert_eq!(more(5, &brokers(&[0]), &mut candidates), None);
    }

    #[test]
    fn the_last_go_first_but_not_the_leader_and_not_before_those_out_of_sync() {
        let row = [
            worth(1, false, true),
            worth(2, false, true),
            worth(3, true, true),
        ];
        assert_eq!(fewer(1, &row, &mut []), brokers(&[3]));
        assert_eq!(fewer(2, &row, &mut []), brokers(&[1, 3]));
        let row = [
            worth(1, true, true),
            worth(2, false, false),
            worth(3, false, true),
        ];
        assert_eq!(fewer(2, &row, &mut []), brokers(&[1, 3]));
    }
}
