//! Random histories: whatever happens, no two members process one partition, and nothing is skipped.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::*, world::*};
use crate::ids::{GroupEpoch, MemberId, Offset, TopicPartition};

#[derive(Debug, Clone)]
enum Step {
    /// A member has a connection: it joins, or comes back.
    Join(usize),
    /// It is told of its newest assignment.
    Tell(usize),
    /// It carries out what it was told.
    Apply(usize),
    Heartbeat(usize),
    /// It processes some records of each of its partitions, and commits them or not.
    Process(usize, u64, bool),
    /// Its connection breaks.
    Disconnect(usize),
    Leave(usize, bool),
    /// It forgets everything and starts again.
    Restart(usize),
    Pass(u64),
    /// The coordinator is replaced by one that knows what is stored, and this policy.
    FailOver(usize),
    Policy(usize),
    Grow(usize),
    Reset(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..5_usize;
    prop_oneof![
        3 => member.clone().prop_map(Step::Join),
        6 => member.clone().prop_map(Step::Tell),
        6 => member.clone().prop_map(Step::Apply),
        6 => member.clone().prop_map(Step::Heartbeat),
        6 => (member.clone(), 1..5_u64, any::<bool>()).prop_map(|(m, n, c)| Step::Process(m, n, c)),
        1 => member.clone().prop_map(Step::Disconnect),
        1 => (member.clone(), any::<bool>()).prop_map(|(m, b)| Step::Leave(m, b)),
        1 => member.prop_map(Step::Restart),
        4 => (1..4_000_u64).prop_map(Step::Pass),
        1 => (0..POLICIES).prop_map(Step::FailOver),
        1 => (0..POLICIES).prop_map(Step::Policy),
        1 => (0..3_usize).prop_map(Step::Grow),
        1 => (0..20_u64).prop_map(Step::Reset),
    ]
}

struct World {
    topics: Topics,
    group: Group,
    clients: Vec<Client>,
    ids: u8,
    now_ms: u64,
    /// One past the last record of each partition that was processed, without a gap.
    processed: BTreeMap<TopicPartition, Offset>,
    stored: StoredGroup,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const POLICIES: usize = 5;

/// The first one declares nothing.
fn policy(which: usize) -> GroupPolicy {
    let strategies = [
        AssignmentStrategy::Sticky,
        AssignmentStrategy::Range,
        AssignmentStrategy::RoundRobin,
    ];
    let (timeouts, deliveries) = (
        [None, Some(3_000), Some(20_000)],
        [None, Some(Delivery::AtMostOnce)],
    );
    let topics: &[&str] = [&[] as &[_], &["b"], &["a", "c"]][which % 3];
    GroupPolicy {
        subscription: profile(topics).subscription,
        strategy: strategies[which % 3],
        session_timeout_ms: timeouts[(which + which / 3) % 3],
        delivery: deliveries[which % 2],
        ..GroupPolicy::default()
    }
}

impl World {
    fn new() -> Self {
        let topics = Topics::of(&[("a", 3), ("b", 2), ("c", 4)]);
        let client = |n: u8| {
            let mut profile = profile(if n.is_multiple_of(2) {
                &["a", "b"]
            } else {
                &["b", "c"]
            });
            profile.instance_id = (n < 2).then(|| format!("static-{n}"));
            Client::new(id(n), profile)
        };
        Self {
            topics,
            group: Group::new(GroupPolicy::default(), MEMBERS_MAX, at(0)),
            clients: (0..5).map(client).collect(),
            ids: 10,
            now_ms: 0,
            processed: BTreeMap::new(),
            stored: StoredGroup::default(),
        }
    }

    fn now(&self) -> Now {
        at(self.now_ms)
    }

    fn new_id(&mut self) -> MemberId {
        self.ids = self.ids.wrapping_add(1);
        id(self.ids)
    }

    fn step(&mut self, step: &Step) {
        let now = self.now();
        match *step {
            Step::Join(m) => self.join(m),
            Step::Tell(m) => {
                let client = &mut self.clients[m];
                if self
                    .group
                    .member(client.id)
                    .is_some_and(Member::is_connected)
                {
                    let told = assignment(&self.group, client.id);
                    client.hear(told, answer_timeout_ms(&self.group, client.id));
                }
            }
            Step::Apply(m) => self.clients[m].apply(),
            Step::Heartbeat(m) => self.heartbeat(m),
            Step::Process(m, records, commits) => self.process(m, records, commits),
            Step::Disconnect(m) => self.group.disconnected(self.clients[m].id),
            Step::Leave(m, comes_back) => {
                let left = self.clients[m].id;
                self.group.leave(left, comes_back, &self.topics, now);
                let fresh = self.new_id();
                self.clients[m].start_anew(fresh);
            }
            Step::Restart(m) => {
                self.group.disconnected(self.clients[m].id);
                let fresh = self.new_id();
                self.clients[m].start_anew(fresh);
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                let now = self.now();
                self.group.expire(&self.topics, now);
            }
            Step::FailOver(which) => {
                let offsets = self.group.offsets().map(|(p, c)| (p, c.clone())).collect();
                let (stored, policy) = (self.stored.clone(), policy(which));
                self.group =
                    Group::restore(policy, MEMBERS_MAX, stored, offsets, now).expect("whole");
                self.group.catalog_changed(&self.topics);
            }
            Step::Policy(which) => self.group.set_policy(policy(which), &self.topics, now),
            Step::Grow(topic) => {
                let partitions = self.topics.0.get_mut(NAMES[topic]).expect("there");
                *partitions = (*partitions + 1).min(6);
                self.group.catalog_changed(&self.topics);
            }
            Step::Reset(to) => self.reset(to),
        }
        if self.group.take_changed() {
            self.stored = self.group.stored();
        }
        self.check();
    }

    fn join(&mut self, m: usize) {
        let now = self.now();
        // What was said on the stream before is void: it joins as what it is now.
        self.clients[m].inbox = None;
        self.clients[m].answer_timeout_ms = None;
        let join = self.clients[m].join();
        match self.group.join(join, &self.topics, now) {
            Ok(()) => self.clients[m].joined_ms = Some(self.now_ms),
            Err(Refusal::UnknownMember) => {
                let fresh = self.new_id();
                self.clients[m].start_anew(fresh);
            }
            Err(_) => {}
        }
    }

    fn heartbeat(&mut self, m: usize) {
        let (now, client) = (self.now(), &self.clients[m]);
        let member = self.group.member(client.id);
        // It says nothing before it was told what to read.
        if client.answer_timeout_ms.is_none() || !member.is_some_and(Member::is_connected) {
            return;
        }
        let answer = self.group.heartbeat(client.id, client.epoch, now);
        assert_eq!(answer, Ok(()), "a connected member is known");
        self.clients[m].answered(self.now_ms);
    }

    fn process(&mut self, m: usize, records: u64, commits: bool) {
        let client = &mut self.clients[m];
        if !client.is_active(self.now_ms) {
            return;
        }
        let (id, epoch) = (client.id, client.epoch);
        for (partition, position) in &mut client.positions {
            let processed = self.processed.entry(*partition).or_default();
            assert!(*position <= *processed, "{partition}: a record was skipped");
            *position = position.plus(records);
            *processed = (*processed).max(*position);
            if !commits {
                continue;
            }
            let before = self.group.committed(*partition).map(|c| c.offset);
            let committed = Committed {
                offset: *position,
                metadata: String::new(),
                at_ms: self.now_ms,
            };
            let by = Commit::Member(id, epoch);
            if self.group.commit(by, *partition, committed).is_ok() {
                assert!(
                    before <= Some(*position),
                    "{partition}: a commit moved back"
                );
            }
        }
    }

    /// To what was processed at most: nothing is skipped by it.
    fn reset(&mut self, to: u64) {
        let now_ms = self.now_ms;
        let offsets = self.processed.iter().map(|(partition, processed)| {
            let committed = Committed {
                offset: (*processed).min(Offset(to)),
                metadata: String::new(),
                at_ms: now_ms,
            };
            (*partition, committed)
        });
        self.group.reset(offsets.collect::<Vec<_>>());
    }

    fn check(&self) {
        self.group.assert_invariants();
        let mut owners = BTreeMap::new();
        for client in self.clients.iter().filter(|c| c.is_active(self.now_ms)) {
            for partition in client.positions.keys() {
                let other = owners.insert(*partition, client.id);
                assert_eq!(other, None, "{partition} is processed by two members");
            }
        }
    }

    /// Everybody does as told: in the end each partition is read, and nobody waits for anything.
    fn settle(&mut self) {
        self.step(&Step::Policy(0));
        self.now_ms += 40_000;
        self.group.expire(&self.topics, at(self.now_ms));
        for _ in 0..8 {
            for m in 0..self.clients.len() {
                for step in [
                    Step::Join(m),
                    Step::Tell(m),
                    Step::Apply(m),
                    Step::Heartbeat(m),
                ] {
                    self.step(&step);
                }
            }
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        let held: usize = self.clients.iter().map(|c| c.positions.len()).sum();
        assert_eq!(
            held,
            self.topics.0.values().sum::<u32>() as usize,
            "each partition is read"
        );
        assert!(self.clients.iter().all(|c| c.epoch > GroupEpoch(0)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn one_member_processes_a_partition_and_nothing_is_skipped(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
