//! Two replicas, their logs in memory, and a session over a wire that the test moves.

use std::collections::VecDeque;

use bytes::Bytes;
use taffrail_api::{
    WireError,
    v1::{self, follower_message},
};
use taffrail_core::{
    Assignment, BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex,
    TopicId, TopicPartition,
    replica::{BatchSpan, FollowerStep, LeaderRules, LogState, Replica, Role},
};
use taffrail_record::{BatchBuilder, BatchHeader, Compression, NewRecord, stamp};

use super::super::{
    leader_session::LeaderSession,
    logs::{Found, Led, Logs},
};
use crate::follower::{
    check::Checked,
    follower_session::{FollowerSession, InSync},
    throttle::Throttle,
};
use crate::partition::replicate::Told;

const LEADER: BrokerNumber = BrokerNumber(1);
const FOLLOWER: BrokerNumber = BrokerNumber(2);
const RUN: Incarnation = Incarnation {
    generation: 1,
    random: 1,
};
const EPOCH: LeaderEpoch = LeaderEpoch(5);
const ID: TopicPartition = TopicPartition {
    topic: TopicId::from_bytes([1; 16]),
    partition: PartitionIndex(0),
};

struct AllInSync;

impl InSync for AllInSync {
    fn is_in_sync(&self, _: TopicPartition) -> bool {
        true
    }
}

/// A replica and its batches.
pub(super) struct Side {
    replica: Replica,
    pub(super) batches: Vec<Bytes>,
}

impl Side {
    fn new(me: BrokerNumber) -> Self {
        let rules = LeaderRules {
            min_in_sync: 2,
            lag_ms_max: 10_000,
            retry_ms: 1_000,
        };
        Self {
            replica: Replica::new(me, RUN, rules, Default::default(), LogState::default()),
            batches: Vec::new(),
        }
    }

    fn assign(&mut self, epoch: LeaderEpoch, leader: BrokerNumber) {
        let assignment = Assignment {
            replicas: vec![LEADER, FOLLOWER],
            isr: vec![LEADER, FOLLOWER],
            leader: Some(leader),
            leader_incarnation: RUN,
            leader_epoch: epoch,
            partition_epoch: PartitionEpoch(u64::from(epoch.0)),
            ..Assignment::default()
        };
        self.replica
            .assign(&assignment, 0, &mut Vec::new())
            .expect("newer");
        if let Role::Leader(leader) = self.replica.role_mut() {
            leader.registered(FOLLOWER, RUN, &mut Vec::new());
            leader.registered(LEADER, RUN, &mut Vec::new());
        }
    }

    fn end(&self) -> Offset {
        self.replica.log().end
    }

    /// As the leader.
    fn append(&mut self) {
        let (end, epoch) = (self.end(), self.replica.version().0);
        let batch = batch(end, epoch);
        let Role::Leader(leader) = self.replica.role_mut() else {
            panic!("it leads");
        };
        leader.appended(Offset(end.0 + 1), 0);
        self.batches.push(batch);
    }

    fn sync(&mut self) {
        let point = self.replica.log().sync_point();
        match self.replica.role_mut() {
            Role::Leader(leader) => leader.synced(point, &mut Vec::new()),
            Role::Follower(follower) => {
                follower.synced(point);
            }
        }
    }

    /// As the follower: does what an answer says.
    fn obey(&mut self, checked: &Checked) {
        let spans: Vec<_> = checked.headers.iter().map(span).collect();
        let Role::Follower(follower) = self.replica.role_mut() else {
            panic!("it follows");
        };
        match follower.answered(&checked.answer, &spans).expect("valid") {
            FollowerStep::Append => {
                follower.appended(&spans);
                self.batches.extend(checked.batches.iter().cloned());
            }
            FollowerStep::Truncate(to) => {
                self.batches.retain(|b| header(b).base_offset < to);
                follower.truncated(to);
            }
            FollowerStep::Restart {
                start: at,
                delete_horizon,
            } => {
                self.batches.clear();
                follower.restarted(at, delete_horizon);
            }
            FollowerStep::Ignore | FollowerStep::Wait => {}
        }
    }
}

impl Logs for Side {
    fn led(&self, _: TopicPartition, epoch: LeaderEpoch) -> Option<Led> {
        let log = self.replica.log();
        let leads = matches!(self.replica.role(), Role::Leader(l) if l.leader_epoch() == epoch);
        leads.then_some(Led {
            log_start: log.start,
            high_watermark: log.high_watermark,
            log_end: log.end,
        })
    }
}

fn batch(base: Offset, epoch: LeaderEpoch) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord {
        value: Some(format!("{base} of {epoch}").as_bytes()),
        ..NewRecord::default()
    });
    let mut batch = builder.build().expect("not empty").to_vec();
    stamp(&mut batch, base, epoch);
    batch.into()
}

fn header(batch: &Bytes) -> BatchHeader {
    BatchHeader::parse(batch).expect("a header")
}

fn span(header: &BatchHeader) -> BatchSpan {
    BatchSpan {
        base: header.base_offset,
        next: header.next_offset(),
        epoch: LeaderEpoch(header.leader_epoch as u32),
    }
}

/// Two replicas and the session between them.
pub(super) struct Exchange {
    pub(super) sides: [Side; 2],
    leading: LeaderSession,
    following: FollowerSession,
    throttle: Throttle,
    to_leader: VecDeque<v1::Positions>,
    to_follower: VecDeque<v1::Answers>,
    now_ms: u64,
    pub(super) batches_sent: usize,
}

impl Exchange {
    /// A follower that led the epoch before and has records that the leader does not have; and the other way round.
    pub(super) fn parted() -> Self {
        let mut sides = [Side::new(LEADER), Side::new(FOLLOWER)];
        let [leader, follower] = &mut sides;
        follower.assign(LeaderEpoch(4), FOLLOWER);
        for _ in 0..5 {
            follower.append();
        }
        follower.sync();
        // Two of them have come to the other one.
        leader.assign(LeaderEpoch(4), FOLLOWER);
        let Role::Follower(copy) = leader.replica.role_mut() else {
            panic!("it follows");
        };
        leader.batches = follower.batches[..2].to_vec();
        let spans: Vec<_> = leader.batches.iter().map(header).collect();
        copy.appended(&spans.iter().map(span).collect::<Vec<_>>());
        leader.sync();
        leader.assign(EPOCH, LEADER);
        follower.assign(EPOCH, LEADER);
        let mut exchange = Self {
            sides,
            leading: LeaderSession::new(FOLLOWER, RUN, 1 << 20, 0),
            following: FollowerSession::new(0),
            throttle: Throttle::new(0, 0),
            to_leader: VecDeque::new(),
            to_follower: VecDeque::new(),
            now_ms: 0,
            batches_sent: 0,
        };
        exchange.tell();
        exchange
    }

    /// The connection breaks, and another one is made.
    pub(super) fn reconnect(&mut self) {
        self.leading = LeaderSession::new(FOLLOWER, RUN, 1 << 20, self.now_ms);
        self.following = FollowerSession::new(self.now_ms);
        self.to_leader.clear();
        self.to_follower.clear();
        self.tell();
    }

    /// The owner of the follower's log says where it stands.
    fn tell(&mut self) {
        let Role::Follower(follower) = self.sides[1].replica.role() else {
            panic!("it follows");
        };
        self.following.stands([(ID, follower.request())].into());
    }

    fn follower_speaks(&mut self) {
        let message = self
            .following
            .message(self.now_ms, &mut self.throttle, &AllInSync);
        if let Some(follower_message::Message::Positions(positions)) =
            message.and_then(|m| m.message)
        {
            self.to_leader.push_back(positions);
        }
    }

    fn leader_hears(&mut self) {
        if let Some(positions) = self.to_leader.pop_front() {
            self.leading.hear(&positions).expect("valid");
        }
        for (id, request) in self.leading.take_unchecked() {
            let Role::Leader(leader) = self.sides[0].replica.role_mut() else {
                panic!("it leads");
            };
            let fetched = leader.fetch(&request, 0, &mut Vec::new());
            let fetched = fetched
                .map(Told::from)
                .map_err(|code| WireError::new(code, ""));
            self.leading.checked(id, &request, fetched);
        }
    }

    fn leader_speaks(&mut self) {
        self.leading.tick(&self.sides[0], self.now_ms);
        while let Some(read) = self.leading.next_read(&self.sides[0], self.now_ms) {
            let from = read.request.tail.end;
            let leader = &self.sides[0];
            let follows = leader
                .batches
                .iter()
                .filter(|b| header(b).base_offset >= from);
            let chunks: Vec<_> = follows.take(3).cloned().collect();
            self.batches_sent += chunks.len();
            let found = Found {
                chunks,
                append_time_ms: 1,
                led: leader.led(ID, EPOCH).expect("it leads"),
            };
            self.leading.read(&read, Ok(found));
        }
        if self.leading.has_answers(self.now_ms) {
            let answers = self.leading.answers(self.now_ms).into_iter().map(|a| {
                let mut answer = a.head;
                if !a.chunks.is_empty() {
                    let batches = v1::ReplicatedBatches {
                        batches: a.chunks.concat().into(),
                        append_time_ms: a.append_time_ms,
                    };
                    answer.outcome = Some(v1::answer::Outcome::Batches(batches));
                }
                answer
            });
            let answers = answers.collect();
            let clock_ms = self.now_ms;
            self.to_follower
                .push_back(v1::Answers { answers, clock_ms });
        }
    }

    fn follower_hears(&mut self) {
        let Some(answers) = self.to_follower.pop_front() else {
            return;
        };
        let obey = self
            .following
            .answered(answers, self.now_ms, &mut self.throttle, &AllInSync);
        for checked in obey.expect("valid") {
            self.sides[1].obey(&checked);
            self.tell();
        }
    }

    pub(super) fn step(&mut self, dice: u64) {
        match dice {
            0 => {
                self.sides[0].append();
                self.leading.news(ID);
            }
            1 => {
                self.sides[0].sync();
                self.leading.news(ID);
            }
            2 => {
                self.sides[1].sync();
                self.tell();
            }
            3 => self.follower_speaks(),
            4 => {
                self.leader_hears();
                // Reports of followers move the high watermark.
                self.leading.news(ID);
            }
            5 => self.leader_speaks(),
            6 => self.follower_hears(),
            _ => self.now_ms += 30,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let [leader, follower] = &self.sides;
        let committed = [leader, follower].map(|side| side.replica.log().high_watermark);
        leader.batches == follower.batches && committed == [leader.end(); 2]
    }
}
