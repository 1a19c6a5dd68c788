//! A follower's rules and the change of roles, one by one. Broker 2 follows broker 1 in epoch 3.

use crate::{
    assignment::Assignment,
    error::ErrorCode,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionEpoch},
    replica::{
        BatchSpan, EpochEnd, FetchAnswer, FetchOutcome, Follower, FollowerStep, LeaderRules,
        LogState, Replica, Role, Turn, mutant::Broken,
    },
};

const RULES: LeaderRules = LeaderRules {
    min_in_sync: 2,
    lag_ms_max: 100,
    retry_ms: 50,
};

const fn run(generation: u64) -> Incarnation {
    Incarnation {
        generation,
        random: 7,
    }
}

/// Records 0 to 3 of epoch 1, 4 and 5 of epoch 2, all durable; two are known to be committed.
fn log() -> LogState {
    let mut log = LogState::default();
    log.append(LeaderEpoch(1), Offset(4));
    log.append(LeaderEpoch(2), Offset(6));
    log.synced(log.sync_point());
    log.high_watermark = Offset(2);
    log
}

fn follower() -> Follower {
    let (me, leader) = (BrokerNumber(2), Some(BrokerNumber(1)));
    Follower::new(me, run(1), leader, LeaderEpoch(3), log(), Broken::default())
}

/// To what the follower asks now.
fn answer(follower: &Follower, outcome: FetchOutcome) -> FetchAnswer {
    let request = follower.request().expect("it has a leader");
    FetchAnswer {
        leader_epoch: request.leader_epoch,
        tail: request.tail,
        log_start: Offset(0),
        high_watermark: Offset(0),
        outcome,
    }
}

const fn span(epoch: u32, base: u64, next: u64) -> BatchSpan {
    BatchSpan {
        base: Offset(base),
        next: Offset(next),
        epoch: LeaderEpoch(epoch),
    }
}

const fn diverging(epoch: u32, end: u64) -> FetchOutcome {
    FetchOutcome::Diverging(EpochEnd {
        epoch: LeaderEpoch(epoch),
        end: Offset(end),
    })
}

fn assignment(leader: Option<u32>, run: Incarnation, version: (u32, u64)) -> Assignment {
    Assignment {
        replicas: [1, 2, 3].map(BrokerNumber).to_vec(),
        isr: [1, 2, 3].map(BrokerNumber).to_vec(),
        leader: leader.map(BrokerNumber),
        leader_incarnation: run,
        leader_epoch: LeaderEpoch(version.0),
        partition_epoch: PartitionEpoch(version.1),
        ..Assignment::default()
    }
}

fn replica() -> Replica {
    let version = (LeaderEpoch(2), PartitionEpoch(5));
    Replica::new(BrokerNumber(2), run(4), RULES, version, log())
}

#[test]
fn it_asks_for_what_comes_after_its_tail_and_says_what_is_durable() {
    let mut follower = follower();
    follower.appended(&[span(3, 6, 8)]);
    let request = follower.request().expect("it has a leader");
    assert_eq!(request.tail.end, Offset(8));
    assert_eq!(request.tail.last_epoch, Some(LeaderEpoch(3)));
    assert_eq!(request.durable_end, Offset(6));
    assert_eq!(request.incarnation, run(1));
}

#[test]
fn an_answer_of_another_epoch_or_to_another_tail_is_ignored() {
    let mut test = follower();
    let good = answer(&test, diverging(1, 4));
    let of_other_epoch = FetchAnswer {
        leader_epoch: LeaderEpoch(2),
        ..good
    };
    let mut to_other_tail = good;
    to_other_tail.tail.end = Offset(5);
    for stale in [of_other_epoch, to_other_tail] {
        assert_eq!(test.answered(&stale, &[]), Ok(FollowerStep::Ignore));
    }
    assert_eq!(
        test.answered(&good, &[]),
        Ok(FollowerStep::Truncate(Offset(4)))
    );
    test.truncated(Offset(4));
    assert_eq!(
        test.answered(&good, &[]),
        Ok(FollowerStep::Ignore),
        "repeated"
    );
}

#[test]
fn a_diverging_log_is_cut_to_the_lower_end_of_the_last_epoch_that_both_have() {
    for (outcome, step) in [
        (diverging(2, 5), FollowerStep::Truncate(Offset(5))),
        (diverging(1, 3), FollowerStep::Truncate(Offset(3))),
        (diverging(1, 9), FollowerStep::Truncate(Offset(4))),
        (
            diverging(0, 0),
            FollowerStep::Restart {
                start: Offset(0),
                delete_horizon: Offset(0),
            },
        ),
    ] {
        let mut test = follower();
        let answer = answer(&test, outcome);
        assert_eq!(test.answered(&answer, &[]), Ok(step), "{outcome:?}");
    }
}

#[test]
fn a_member_whose_older_epochs_have_expired_keeps_the_offset_at_which_they_ended() {
    let mut test = follower();
    let committed = FetchAnswer {
        high_watermark: Offset(4),
        ..answer(&test, FetchOutcome::Matches)
    };
    assert_eq!(test.answered(&committed, &[]), Ok(FollowerStep::Wait));
    test.expired(Offset(4));
    let ends_where_ours_began = answer(&test, diverging(1, 4));
    let step = test.answered(&ends_where_ours_began, &[]);
    assert_eq!(step, Ok(FollowerStep::Truncate(Offset(4))));
    let ends_before = answer(&test, diverging(1, 3));
    let step = test.answered(&ends_before, &[]);
    assert_eq!(
        step,
        Ok(FollowerStep::Restart {
            start: Offset(0),
            delete_horizon: Offset(0)
        })
    );
}

#[test]
fn an_order_to_cut_nothing_makes_no_sense() {
    let mut test = follower();
    let answer = answer(&test, diverging(2, 9));
    assert_eq!(test.answered(&answer, &[]), Err(ErrorCode::InvalidRequest));
}

#[test]
fn batches_are_appended_only_if_they_follow_on_the_log_in_offset_and_epoch() {
    for (batches, fits) in [
        (&[span(2, 6, 7), span(3, 7, 9)][..], true),
        (&[span(3, 7, 9)], false),
        (&[span(3, 5, 9)], false),
        (&[span(3, 6, 6)], false),
        (&[span(1, 6, 7)], false),
        (&[span(3, 6, 7), span(2, 7, 8)], false),
        (&[span(3, 6, 7), span(3, 8, 9)], false),
        (&[span(4, 6, 7)], false),
    ] {
        let mut test = follower();
        let answer = answer(&test, FetchOutcome::Matches);
        let expected = if fits {
            Ok(FollowerStep::Append)
        } else {
            Err(ErrorCode::CorruptBatch)
        };
        assert_eq!(test.answered(&answer, batches), expected, "{batches:?}");
    }
}

#[test]
fn its_high_watermark_is_the_leaders_as_far_as_it_has_the_records_durably() {
    let mut test = follower();
    let ahead = FetchAnswer {
        high_watermark: Offset(8),
        ..answer(&test, FetchOutcome::Matches)
    };
    let batches = [span(3, 6, 8)];
    assert_eq!(test.answered(&ahead, &batches), Ok(FollowerStep::Append));
    test.appended(&batches);
    assert_eq!(test.log().high_watermark, Offset(6));
    let point = test.log().sync_point();
    assert!(test.synced(point));
    assert_eq!(test.log().high_watermark, Offset(8));
    let late = FetchAnswer {
        high_watermark: Offset(3),
        ..answer(&test, FetchOutcome::Matches)
    };
    assert_eq!(test.answered(&late, &[]), Ok(FollowerStep::Wait));
    assert_eq!(test.log().high_watermark, Offset(8), "never back");
}

#[test]
fn a_sync_from_before_a_truncation_does_not_count() {
    let mut test = follower();
    test.appended(&[span(2, 6, 8)]);
    let point = test.log().sync_point();
    test.truncated(Offset(5));
    test.appended(&[span(3, 5, 8)]);
    assert!(!test.synced(point));
    assert_eq!(test.log().durable_end, Offset(5));
}

#[test]
fn out_of_range_begins_a_log_anew_where_the_leaders_begins() {
    let mut test = follower();
    let answer = FetchAnswer {
        log_start: Offset(20),
        ..answer(
            &test,
            FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            },
        )
    };
    let step = test.answered(&answer, &[]);
    assert_eq!(
        step,
        Ok(FollowerStep::Restart {
            start: Offset(20),
            delete_horizon: Offset(0)
        })
    );
    test.restarted(Offset(20), Offset(0));
    let request = test.request().expect("it has a leader");
    assert_eq!(request.tail.end, Offset(20));
    assert_eq!(request.tail.last_epoch, None);
    for log_start in [10, 20] {
        let nonsense = FetchAnswer {
            log_start: Offset(log_start),
            ..self::answer(
                &test,
                FetchOutcome::OutOfRange {
                    delete_horizon: Offset(0),
                },
            )
        };
        let refused = test.answered(&nonsense, &[]);
        assert_eq!(refused, Err(ErrorCode::InvalidRequest));
    }
    // What it has may be of epochs that have expired at the leader.
    let mut within = follower();
    let answer = self::answer(
        &within,
        FetchOutcome::OutOfRange {
            delete_horizon: Offset(0),
        },
    );
    let step = within.answered(&answer, &[]);
    assert_eq!(
        step,
        Ok(FollowerStep::Restart {
            start: answer.log_start,
            delete_horizon: Offset(0)
        })
    );
}

#[test]
fn a_lower_assignment_is_refused_and_the_same_changes_nothing() {
    let mut test = replica();
    let mut assign = |leader, version| {
        let assignment = assignment(Some(leader), run(1), version);
        test.assign(&assignment, 0, &mut Vec::new())
    };
    assert_eq!(assign(1, (3, 6)), Ok(Turn::Follows));
    assert_eq!(assign(1, (3, 6)), Ok(Turn::Stays));
    assert_eq!(assign(3, (2, 9)), Err(ErrorCode::StaleLeaderEpoch));
    assert_eq!(assign(3, (3, 5)), Err(ErrorCode::StaleLeaderEpoch));
    assert_eq!(assign(1, (3, 7)), Ok(Turn::Stays));
}

#[test]
fn a_broker_that_restarted_does_not_lead_by_an_assignment_to_its_former_run() {
    let mut test = replica();
    let former = assignment(Some(2), run(3), (3, 6));
    let turn = test.assign(&former, 0, &mut Vec::new());
    assert_eq!(turn, Ok(Turn::Follows));
    let Role::Follower(follower) = test.role() else {
        panic!("it leads");
    };
    assert_eq!(follower.request(), None, "nor does it follow itself");
    let anew = assignment(Some(2), run(4), (4, 7));
    assert_eq!(test.assign(&anew, 0, &mut Vec::new()), Ok(Turn::Leads));
}

#[test]
fn the_only_replica_resumes_by_itself() {
    let mut test = replica();
    let alone = Assignment {
        replicas: vec![BrokerNumber(2)],
        isr: vec![BrokerNumber(2)],
        ..assignment(Some(2), run(3), (3, 6))
    };
    assert_eq!(test.assign(&alone, 0, &mut Vec::new()), Ok(Turn::Leads));
}

#[test]
fn a_log_with_records_of_a_later_epoch_leads_nothing() {
    let mut test = Replica::new(BrokerNumber(2), run(4), RULES, Default::default(), log());
    let old = assignment(Some(2), run(4), (1, 1));
    let refused = test.assign(&old, 0, &mut Vec::new());
    assert_eq!(refused, Err(ErrorCode::NotYetKnown));
    assert!(test.leader_of(LeaderEpoch(1)).is_err());
}

#[test]
fn a_deposed_leader_keeps_its_log_and_serves_no_epoch() {
    let mut test = replica();
    let leads = assignment(Some(2), run(4), (3, 6));
    assert_eq!(test.assign(&leads, 0, &mut Vec::new()), Ok(Turn::Leads));
    let code = |test: &mut Replica, epoch| test.leader_of(LeaderEpoch(epoch)).err();
    assert_eq!(code(&mut test, 3), None);
    assert_eq!(code(&mut test, 2), Some(ErrorCode::StaleLeaderEpoch));
    assert_eq!(code(&mut test, 4), Some(ErrorCode::NotYetKnown));
    let before = test.log().clone();
    let deposed = assignment(Some(3), run(1), (4, 7));
    assert_eq!(test.assign(&deposed, 0, &mut Vec::new()), Ok(Turn::Follows));
    assert_eq!(code(&mut test, 3), Some(ErrorCode::NotLeader));
    assert_eq!(*test.log(), before);
}

#[test]
fn a_log_that_begins_anew_has_the_delete_horizon_of_its_leaders() {
    let mut test = follower();
    let horizon = |delete_horizon| FetchOutcome::OutOfRange {
        delete_horizon: Offset(delete_horizon),
    };
    let order = FetchAnswer {
        log_start: Offset(0),
        ..answer(&test, horizon(7))
    };
    let step = FollowerStep::Restart {
        start: Offset(0),
        delete_horizon: Offset(7),
    };
    assert_eq!(test.answered(&order, &[]), Ok(step));
    test.restarted(Offset(0), Offset(7));
    let request = test.request().expect("follows");
    assert_eq!(request.delete_horizon, Offset(7));
    assert!(!request.misses_deletes_of(Offset(7)));
    let again = FetchAnswer {
        log_start: Offset(0),
        ..answer(&test, horizon(7))
    };
    let refused = test.answered(&again, &[]);
    assert_eq!(refused, Err(ErrorCode::InvalidRequest), "it did that");
    let risen = FetchAnswer {
        log_start: Offset(0),
        ..answer(&test, horizon(8))
    };
    assert!(test.answered(&risen, &[]).is_ok());
}
