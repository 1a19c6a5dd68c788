//! A leader's rules, one by one. Broker 1 leads epoch 3 of a partition on 1, 2 and 3 with `minInSync` 2.

mod membership;

use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionEpoch},
    replica::{
        Acks, EpochEnd, FetchOutcome, FetchRequest, IsrChange, Leader, LeaderEffect, LeaderRules,
        LogState, LogTail, ShrinkReason, mutant::Broken,
    },
};

const RULES: LeaderRules = LeaderRules {
    min_in_sync: 2,
    lag_ms_max: 100,
    retry_ms: 50,
};
const EPOCH: LeaderEpoch = LeaderEpoch(3);

const fn run(generation: u64) -> Incarnation {
    Incarnation {
        generation,
        random: 7,
    }
}

fn assignment(isr: &[u32], partition_epoch: u64) -> Assignment {
    Assignment {
        replicas: [1, 2, 3].map(BrokerNumber).to_vec(),
        isr: isr.iter().copied().map(BrokerNumber).collect(),
        leader: Some(BrokerNumber(1)),
        leader_incarnation: run(1),
        leader_epoch: EPOCH,
        partition_epoch: PartitionEpoch(partition_epoch),
        ..Assignment::default()
    }
}

/// A leader, and everything that it wanted done.
struct Test {
    leader: Leader,
    effects: Vec<LeaderEffect>,
}

impl Test {
    /// Elected with five durable records of epoch 1, of which it knows that two are committed.
    fn new(isr: &[u32]) -> Self {
        let mut log = LogState::default();
        log.append(LeaderEpoch(1), Offset(5));
        log.synced(log.sync_point());
        log.high_watermark = Offset(2);
        let (me, broken) = (BrokerNumber(1), Broken::default());
        let mut test = Self {
            leader: Leader::elected(me, &assignment(isr, 1), RULES, log, 0, broken),
            effects: Vec::new(),
        };
        test.registered(2, 1);
        test.registered(3, 1);
        test
    }

    fn registered(&mut self, broker: u32, generation: u64) {
        let broker = BrokerNumber(broker);
        self.leader
            .registered(broker, run(generation), &mut self.effects);
    }

    /// Appends up to `end` and syncs.
    fn stored(&mut self, end: u64) {
        self.leader.appended(Offset(end), 0);
        let point = self.leader.log().sync_point();
        self.leader.synced(point, &mut self.effects);
    }

    fn request(broker: u32, epoch: u32, end: u64) -> FetchRequest {
        FetchRequest {
            broker: BrokerNumber(broker),
            incarnation: run(1),
            leader_epoch: EPOCH,
            tail: LogTail {
                last_epoch: Some(LeaderEpoch(epoch)),
                end: Offset(end),
            },
            durable_end: Offset(end),
            delete_horizon: Offset(0),
        }
    }

    fn fetch(&mut self, request: &FetchRequest) -> Result<FetchOutcome, ErrorCode> {
        let answer = self.leader.fetch(request, 0, &mut self.effects)?;
        Ok(answer.outcome)
    }

    /// `broker` has everything up to `end`, which it got from this leader.
    fn has(&mut self, broker: u32, end: u64) {
        let epoch = if end > 5 { 3 } else { 1 };
        let outcome = self.fetch(&Self::request(broker, epoch, end));
        assert_eq!(outcome, Ok(FetchOutcome::Matches));
    }

    fn assigned(&mut self, isr: &[u32], partition_epoch: u64, now_ms: u64) {
        let next = assignment(isr, partition_epoch);
        self.leader
            .assigned(BrokerNumber(1), &next, now_ms, &mut self.effects);
    }

    fn tick(&mut self, now_ms: u64) {
        self.leader.tick(now_ms, &mut self.effects);
    }

    fn committed(&self) -> u64 {
        self.leader.log().high_watermark.0
    }

    /// What was asked for since.
    fn asked(&mut self) -> Vec<IsrChange> {
        let effects = std::mem::take(&mut self.effects);
        let asked = effects.into_iter().filter_map(|effect| match effect {
            LeaderEffect::Ask(request) => Some(request.change),
            _ => None,
        });
        asked.collect()
    }
}

const fn expand(broker: u32) -> IsrChange {
    IsrChange::Expand {
        broker: BrokerNumber(broker),
        incarnation: run(1),
    }
}

const fn shrink(broker: u32, reason: ShrinkReason) -> IsrChange {
    IsrChange::Shrink {
        broker: BrokerNumber(broker),
        reason,
    }
}

#[test]
fn the_high_watermark_is_the_smallest_durable_end_over_the_isr_the_leaders_own_included() {
    let mut test = Test::new(&[1, 2, 3]);
    test.leader.appended(Offset(9), 0);
    test.has(2, 9);
    assert_eq!(test.committed(), 2, "3 has not reported in this epoch");
    test.has(3, 8);
    assert_eq!(test.committed(), 5, "the leader's own durable end");
    test.stored(9);
    assert_eq!(test.committed(), 8);
    test.has(3, 9);
    assert_eq!(test.committed(), 9);
}

#[test]
fn a_follower_counts_up_to_what_is_durable_there_not_what_it_has() {
    let mut test = Test::new(&[1, 2]);
    let request = FetchRequest {
        durable_end: Offset(4),
        ..Test::request(2, 1, 5)
    };
    assert_eq!(test.fetch(&request), Ok(FetchOutcome::Matches));
    assert_eq!(test.committed(), 4);
}

#[test]
fn a_late_report_does_not_move_the_high_watermark_back() {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    test.has(2, 3);
    assert_eq!(test.committed(), 5);
    assert_eq!(test.asked(), [], "it is late, not lost");
}

#[test]
fn a_diverging_fetch_is_told_where_and_never_counts() {
    let mut test = Test::new(&[1, 2]);
    let outcome = test.fetch(&Test::request(2, 2, 4));
    let parted = EpochEnd {
        epoch: LeaderEpoch(1),
        end: Offset(5),
    };
    assert_eq!(outcome, Ok(FetchOutcome::Diverging(parted)));
    assert_eq!(test.committed(), 2);
}

#[test]
fn latest_is_refused_until_the_log_end_at_the_election_is_committed() {
    let mut test = Test::new(&[1, 2]);
    test.stored(7);
    assert_eq!(test.leader.latest(), Err(ErrorCode::NotYetKnown));
    test.has(2, 4);
    assert_eq!(test.leader.latest(), Err(ErrorCode::NotYetKnown));
    test.has(2, 5);
    assert_eq!(test.leader.latest(), Ok(Offset(5)));
}

#[test]
fn lower_epochs_are_refused_and_higher_ones_are_not_yet_known() {
    let mut test = Test::new(&[1, 2]);
    let good = Test::request(2, 1, 5);
    let in_epoch = |epoch| FetchRequest {
        leader_epoch: LeaderEpoch(epoch),
        ..good
    };
    let beyond_itself = FetchRequest {
        durable_end: Offset(6),
        ..good
    };
    for (request, code) in [
        (in_epoch(2), ErrorCode::StaleLeaderEpoch),
        (in_epoch(4), ErrorCode::NotYetKnown),
        (Test::request(2, 4, 5), ErrorCode::NotYetKnown),
        (Test::request(9, 1, 5), ErrorCode::NotYetKnown),
        (beyond_itself, ErrorCode::InvalidRequest),
    ] {
        assert_eq!(test.fetch(&request), Err(code), "{request:?}");
    }
    assert_eq!(test.committed(), 2, "nothing of them counted");
}

#[test]
fn a_former_run_is_fenced_and_a_new_one_counts_from_its_first_report() {
    let mut test = Test::new(&[1, 2]);
    test.registered(2, 2);
    let former = test.fetch(&Test::request(2, 1, 5));
    assert_eq!(former, Err(ErrorCode::BrokerFenced));
    let anew = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 1, 5)
    };
    assert_eq!(test.fetch(&anew), Ok(FetchOutcome::Matches));
    assert_eq!(test.committed(), 5);
}

#[test]
fn a_run_that_has_not_registered_counts_only_once_it_has() {
    let mut test = Test::new(&[1, 2, 3]);
    test.has(3, 5);
    let early = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 1, 5)
    };
    assert_eq!(test.fetch(&early), Ok(FetchOutcome::Matches));
    assert_eq!(test.committed(), 2, "the volume may be an older copy");
    test.effects.clear();
    test.registered(2, 2);
    assert_eq!(test.committed(), 5);
    assert_eq!(test.effects, [LeaderEffect::HighWatermark(Offset(5))]);
}

#[test]
fn nothing_is_committed_while_the_persisted_isr_is_below_min_in_sync() {
    let mut test = Test::new(&[1]);
    test.stored(9);
    assert_eq!(test.committed(), 2);
    test.has(3, 9);
    assert_eq!(test.asked(), [expand(3)]);
    assert_eq!(test.committed(), 2, "the newcomer does not count yet");
    test.assigned(&[1, 3], 2, 0);
    assert_eq!(test.committed(), 9);
}
