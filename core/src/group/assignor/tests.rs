//! Assignments against what can be counted, and against all that there are where there are few.

use proptest::prelude::*;

use super::*;

const STRATEGIES: [AssignmentStrategy; 3] = [
    AssignmentStrategy::Sticky,
    AssignmentStrategy::Range,
    AssignmentStrategy::RoundRobin,
];

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn partition(number: u8, index: u32) -> TopicPartition {
    TopicPartition {
        topic: topic(number),
        partition: PartitionIndex(index),
    }
}

fn member(name: &str, topics: &[u8]) -> Reader {
    Reader {
        name: name.to_owned(),
        topics: topics.iter().copied().map(topic).collect(),
        ..Reader::default()
    }
}

fn topics(partitions: &[u32]) -> BTreeMap<TopicId, Topic> {
    let topics = (0..).zip(partitions);
    topics
        .map(|(n, count)| (topic(n), Topic::of(*count)))
        .collect()
}

fn loads(assigned: &[BTreeSet<TopicPartition>]) -> Vec<usize> {
    assigned.iter().map(BTreeSet::len).collect()
}

/// What members have afterwards that others had.
fn moved(members: &[Reader], assigned: &[BTreeSet<TopicPartition>]) -> usize {
    let had: BTreeSet<_> = members.iter().flat_map(|m| &m.owned).collect();
    let news = members
        .iter()
        .zip(assigned)
        .flat_map(|(m, a)| a.difference(&m.owned));
    news.filter(|partition| had.contains(partition)).count()
}

fn go_on(members: &mut [Reader], assigned: Vec<BTreeSet<TopicPartition>>) {
    for (member, owned) in members.iter_mut().zip(assigned) {
        member.owned = owned;
    }
}

#[derive(Debug, Clone)]
struct Case {
    members: Vec<Reader>,
    topics: BTreeMap<TopicId, Topic>,
}

fn cases(members: usize, partitions: u32) -> impl Strategy<Value = Case> {
    let topics_ = prop::collection::vec(0..=partitions, 1..4);
    let one = (
        prop::collection::btree_set(0..4_u8, 0..4),
        prop::option::of(0..3_u8),
        prop::collection::btree_set((0..4_u8, 0..=partitions), 0..6),
    );
    (topics_, prop::collection::vec(one, 0..=members)).prop_map(|(partitions, members)| {
        let mut topics = topics(&partitions);
        for (number, found) in topics.values_mut().flat_map(|t| &mut t.racks).enumerate() {
            found.insert(format!("r{}", number % 3));
        }
        let members = members.into_iter().enumerate();
        let members = members.map(|(number, (reads, rack, owned))| Reader {
            rack: rack.map(|rack| format!("r{rack}")),
            owned: owned.into_iter().map(|(t, p)| partition(t, p)).collect(),
            ..member(
                &format!("m{number}"),
                &reads.into_iter().collect::<Vec<_>>(),
            )
        });
        Case {
            members: members.collect(),
            topics,
        }
    })
}

/// Sorted loads of the most even assignment that there is, by trying all.
fn best(case: &Case) -> Vec<usize> {
    let all: Vec<_> = case
        .topics
        .iter()
        .flat_map(|(id, t)| partitions(*id, t))
        .collect();
    let mut loads = BTreeSet::from([vec![0; case.members.len()]]);
    for partition in all {
        let readers: Vec<_> = (0..case.members.len())
            .filter(|m| case.members[*m].topics.contains(&partition.topic))
            .collect();
        if readers.is_empty() {
            continue;
        }
        let next = loads.iter().flat_map(|loads| {
            readers.iter().map(|reader| {
                let mut next: Vec<usize> = loads.clone();
                next[*reader] += 1;
                next
            })
        });
        loads = next.collect();
    }
    let squares = |loads: &Vec<usize>| loads.iter().map(|load| load * load).sum::<usize>();
    let mut best = loads.into_iter().min_by_key(squares).expect("there is one");
    best.sort_unstable();
    best
}

proptest! {
    #[test]
    fn each_partition_that_somebody_reads_has_one_owner_who_reads_it(case in cases(6, 9)) {
        for strategy in STRATEGIES {
            let assigned = assign(strategy, &case.members, &case.topics);
            prop_assert_eq!(assigned.len(), case.members.len());
            for (member, owned) in case.members.iter().zip(&assigned) {
                prop_assert!(owned.iter().all(|p| member.topics.contains(&p.topic)));
            }
            let mut owned: Vec<_> = assigned.into_iter().flatten().collect();
            owned.sort_unstable();
            let is_read = |id: &TopicId| case.members.iter().any(|m| m.topics.contains(id));
            let read = case.topics.iter().filter(|(id, _)| is_read(id));
            let expected: Vec<_> = read.flat_map(|(id, t)| partitions(*id, t)).collect();
            prop_assert_eq!(owned, expected);
        }
    }

    #[test]
    fn the_order_of_members_makes_no_difference(case in cases(6, 9), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..case.members.len()).collect();
        order.sort_by_key(|at| (*at as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let shuffled: Vec<_> = order.iter().map(|at| case.members[*at].clone()).collect();
        for strategy in STRATEGIES {
            let straight = assign(strategy, &case.members, &case.topics);
            let other = assign(strategy, &shuffled, &case.topics);
            for (at, owned) in order.iter().zip(other) {
                prop_assert_eq!(&straight[*at], &owned);
            }
        }
    }

    #[test]
    fn sticky_is_as_even_as_can_be(case in cases(4, 4)) {
        let mut found = loads(&assign(AssignmentStrategy::Sticky, &case.members, &case.topics));
        found.sort_unstable();
        prop_assert_eq!(found, best(&case));
    }

    #[test]
    fn what_is_even_already_stays(case in cases(6, 9)) {
        let mut members = case.members;
        let first = assign(AssignmentStrategy::Sticky, &members, &case.topics);
        go_on(&mut members, first.clone());
        prop_assert_eq!(assign(AssignmentStrategy::Sticky, &members, &case.topics), first);
    }

    /// Of members who read the same: the one that comes takes its share and no more moves, what one that goes had is all that moves.
    #[test]
    fn one_that_comes_or_goes_moves_its_share(count in 1..12_usize, partitions in 0..60_u32, gone in any::<prop::sample::Index>()) {
        let topics = topics(&[partitions]);
        let mut members: Vec<_> = (0..count).map(|n| member(&format!("m{n:02}"), &[0])).collect();
        let first = assign(AssignmentStrategy::Sticky, &members, &topics);
        go_on(&mut members, first);
        members.push(member("comes", &[0]));
        let second = assign(AssignmentStrategy::Sticky, &members, &topics);
        prop_assert_eq!(moved(&members, &second), second[count].len());
        prop_assert!(second[count].len() <= partitions as usize / (count + 1) + 1);
        go_on(&mut members, second);
        members.remove(gone.index(members.len()));
        let third = assign(AssignmentStrategy::Sticky, &members, &topics);
        prop_assert_eq!(moved(&members, &third), 0, "what others had stays with them");
        let (least, most) = (loads(&third).into_iter().min(), loads(&third).into_iter().max());
        prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1);
    }
}

#[test]
fn a_chain_evens_out_where_there_is_no_straight_way() {
    let mut members = [member("a", &[0]), member("b", &[0, 1]), member("c", &[1])];
    let topics = topics(&[2, 4]);
    members[0].owned = [partition(0, 0)].into();
    members[1].owned = [partition(0, 1), partition(1, 0)].into();
    members[2].owned = [partition(1, 1), partition(1, 2), partition(1, 3)].into();
    let assigned = assign(AssignmentStrategy::Sticky, &members, &topics);
    assert_eq!(loads(&assigned), [2, 2, 2]);
    assert_eq!(moved(&members, &assigned), 2);
}

#[test]
fn a_member_gets_what_is_in_its_rack_if_that_costs_no_evenness() {
    let racks = |n: usize| BTreeSet::from([["x", "y", "z"][n % 3].to_owned()]);
    let topics = BTreeMap::from([(
        topic(0),
        Topic {
            racks: (0..9).map(racks).collect(),
        },
    )]);
    let mut members = ["x", "y", "z"].map(|rack| Reader {
        rack: Some(rack.to_owned()),
        ..member(&format!("in-{rack}"), &[0])
    });
    let near = |assigned: &[BTreeSet<TopicPartition>]| {
        let own = (0..).zip(assigned);
        own.map(|(n, a)| a.iter().filter(|p| p.partition.0 % 3 == n).count())
            .sum::<usize>()
    };
    let assigned = assign(AssignmentStrategy::Sticky, &members, &topics);
    assert_eq!((loads(&assigned), near(&assigned)), (vec![3, 3, 3], 9));
    // One has everything: what it gives up is what is nearer to those who get it.
    members[0].owned = (0..9).map(|index| partition(0, index)).collect();
    let assigned = assign(AssignmentStrategy::Sticky, &members, &topics);
    assert_eq!((loads(&assigned), near(&assigned)), (vec![3, 3, 3], 9));
    assert_eq!(moved(&members, &assigned), 6);
}

#[test]
fn of_two_that_have_one_partition_the_first_by_name_keeps_it() {
    let mut members = [member("b", &[0]), member("a", &[0])];
    for member in &mut members {
        member.owned = [partition(0, 0), partition(0, 1)].into();
    }
    let assigned = assign(AssignmentStrategy::Sticky, &members, &topics(&[2]));
    assert_eq!(loads(&assigned), [1, 1]);
    members[1].owned = [partition(0, 0)].into();
    let assigned = assign(AssignmentStrategy::Sticky, &members, &topics(&[2]));
    assert_eq!(assigned[1], [partition(0, 0)].into());
}

#[test]
fn ranges_of_topics_with_equal_numbers_meet_and_round_robin_spreads() {
    let members = ["a", "b"].map(|name| member(name, &[0, 1]));
    let topics = topics(&[3, 3]);
    let ranges = assign(AssignmentStrategy::Range, &members, &topics);
    let of = |partitions: &[(u8, u32)]| -> BTreeSet<_> {
        partitions.iter().map(|(t, p)| partition(*t, *p)).collect()
    };
    assert_eq!(ranges[0], of(&[(0, 0), (0, 1), (1, 0), (1, 1)]));
    assert_eq!(ranges[1], of(&[(0, 2), (1, 2)]));
    let turns = assign(AssignmentStrategy::RoundRobin, &members, &topics);
    assert_eq!(turns[0], of(&[(0, 0), (0, 2), (1, 1)]));
    assert_eq!(turns[1], of(&[(0, 1), (1, 0), (1, 2)]));
}
