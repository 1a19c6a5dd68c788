use taffrail_core::{
    BrokerNumber,
    replica::{FetchOutcome, LogTail},
};

mod sequences;

use super::*;
use crate::{
    cluster::known::Run,
    metrics::Metrics,
    partition::fixture::{ME, OTHER, RUN, Replica1, code, led},
};

#[test]
fn the_only_replica_answers_when_its_own_disk_has_it() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME], ME, 1);
    let mut outcome = replica.queue(1, Acks::All);
    let job = replica.write().expect("to be synced");
    assert!(outcome.try_recv().is_err(), "it is not durable yet");
    let done = job.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    assert_eq!(code(&mut outcome), None);
    assert_eq!(replica.log.partition.progress.high_watermark(), Offset(1));
}

#[test]
fn acks_all_waits_for_the_follower_and_acks_leader_for_this_disk_only() {
    for durability in [Durability::Fsync, Durability::PageCache] {
        let mut replica = Replica1::new(durability);
        replica.assign(&[ME, OTHER], ME, 1);
        replica.other_has(1, 0).expect("follows");
        let mut all = replica.queue(1, Acks::All);
        let mut leader = replica.queue(1, Acks::Leader);
        replica.write_and_sync();
        assert_eq!(code(&mut leader), None);
        assert!(all.try_recv().is_err(), "the follower does not have it");
        assert_eq!(replica.log.partition.progress.latest(), Some(Offset(0)));
        replica.other_has(1, 2).expect("follows");
        assert_eq!(code(&mut all), None);
    }
}

#[test]
fn nothing_of_an_older_epoch_is_written() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME], ME, 1);
    let mut first = replica.queue(1, Acks::All);
    replica.write_and_sync();
    let mut late = replica.queue(1, Acks::All);
    replica.assign(&[ME], ME, 2);
    let mut later = replica.queue(1, Acks::All);
    let mut now = replica.queue(2, Acks::All);
    replica.write_and_sync();
    let stale = Some(ErrorCode::StaleLeaderEpoch);
    assert_eq!(code(&mut first), None);
    assert_eq!([code(&mut late), code(&mut later)], [stale, stale]);
    assert_eq!(code(&mut now), None);
    assert_eq!(replica.log.partition.progress.log_end(), Offset(2));
}

#[test]
fn a_deposed_leader_tells_who_waits_and_a_late_sync_acknowledges_nothing() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME, OTHER], ME, 1);
    let mut waiting = replica.queue(1, Acks::Leader);
    let job = replica.write().expect("to be synced");
    replica.assign(&[ME, OTHER], OTHER, 2);
    assert_eq!(code(&mut waiting), Some(ErrorCode::NotLeader));
    let done = job.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    let mut refused = replica.queue(1, Acks::Leader);
    replica.write();
    assert_eq!(code(&mut refused), Some(ErrorCode::NotLeader));
    let told = replica.positions.take(OTHER);
    let position = told.values().next().copied().flatten().expect("follows");
    assert_eq!(position.leader_epoch, LeaderEpoch(2));
    assert_eq!(position.durable_end, Offset(1), "it is durable here");
}

#[test]
fn too_few_in_sync_refuses_before_and_leaves_open_after_the_write() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], ME, 1);
    replica.other_has(1, 0).expect("follows");
    let mut written = replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.now_ms += 60_000;
    replica.step(OwnedLog::tick);
    assert_eq!(code(&mut written), Some(ErrorCode::TimedOut));
    assert!(replica.asks.take().requests.is_empty(), "both are needed");
    let mut refused = replica.queue(1, Acks::All);
    let mut leader = replica.queue(1, Acks::Leader);
    replica.write_and_sync();
    assert_eq!(code(&mut refused), Some(ErrorCode::NotEnoughReplicas));
    assert_eq!(code(&mut leader), None);
    assert_eq!(replica.log.partition.progress.log_end(), Offset(2));
    replica.other_has(1, 2).expect("follows");
    assert_eq!(replica.log.partition.progress.high_watermark(), Offset(2));
    let mut taken = replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.other_has(1, 3).expect("follows");
    assert_eq!(code(&mut taken), None);
}

#[test]
fn a_member_that_the_controller_lost_is_not_waited_for() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], ME, 1);
    replica.other_has(1, 0).expect("follows");
    let mut written = replica.queue(1, Acks::All);
    replica.write_and_sync();
    let hears = |is_heard| Run {
        broker: OTHER,
        incarnation: RUN,
        is_heard,
    };
    replica.step(|log, owner| log.registered(&hears(false), owner));
    assert_eq!(code(&mut written), Some(ErrorCode::TimedOut));
    let mut refused = replica.queue(1, Acks::All);
    replica.write_and_sync();
    assert_eq!(code(&mut refused), Some(ErrorCode::NotEnoughReplicas));
    replica.step(|log, owner| log.registered(&hears(true), owner));
    let mut taken = replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.other_has(1, 2).expect("follows");
    assert_eq!(code(&mut taken), None);
}

#[test]
fn a_refusal_waits_for_the_requests_before_it_and_not_for_replicas_that_are_away() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME, OTHER], ME, 1);
    let mut written = replica.queue(1, Acks::All);
    let mut behind = replica.queue(0, Acks::All);
    replica.write_and_sync();
    assert!(behind.try_recv().is_err(), "answers keep the order");
    replica.now_ms += 60_000;
    replica.step(OwnedLog::tick);
    assert_eq!(code(&mut written), Some(ErrorCode::TimedOut));
    assert_eq!(code(&mut behind), Some(ErrorCode::StaleLeaderEpoch));
    // Another one waits for this disk only.
    let mut leader = replica.queue(1, Acks::Leader);
    let mut refused = replica.queue(1, Acks::All);
    let job = replica.write().expect("to be synced");
    assert_eq!(code(&mut refused), Some(ErrorCode::NotEnoughReplicas));
    assert!(leader.try_recv().is_err(), "it is not durable yet");
    let done = job.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    assert_eq!(code(&mut leader), None);
}

#[test]
fn who_wants_no_answer_holds_room_until_the_disk_has_it() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME], ME, 1);
    let mut responder = replica.queue(1, Acks::None);
    let job = replica.write().expect("to be synced");
    assert!(responder.try_recv().is_err(), "its responder is kept");
    let done = job.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    assert_eq!(code(&mut responder), None);
}

#[test]
fn a_leader_that_is_offline_has_nobody_removed() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER, BrokerNumber(3)], ME, 1);
    let mut waiting = replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.log.partition.fail(Fault {
        kind: taffrail_core::PartitionFault::Damaged,
        message: "a reader found it".to_owned(),
    });
    replica.now_ms += 60_000;
    replica.step(OwnedLog::tick);
    assert_eq!(code(&mut waiting), Some(ErrorCode::PartitionOffline));
    assert!(replica.asks.take().requests.is_empty());
    assert_eq!(replica.other_has(1, 1), Err(ErrorCode::PartitionOffline));
}

#[test]
fn a_former_leader_reports_no_followers() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], ME, 1);
    replica.step(OwnedLog::tick);
    assert_eq!(replica.log.partition.followers().len(), 1);
    replica.assign(&[ME, OTHER], OTHER, 2);
    assert!(replica.log.partition.followers().is_empty());
}

#[test]
fn latest_is_not_known_before_everything_of_the_election_is_committed() {
    let mut replica = Replica1::new(Durability::Fsync);
    replica.assign(&[ME], ME, 1);
    replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.assign(&[ME, OTHER], OTHER, 2);
    replica.leader_answers(FetchOutcome::Matches, &[led(1, 2)], 1);
    replica.write_and_sync();
    replica.assign(&[ME, OTHER], ME, 3);
    let partition = Arc::clone(&replica.log.partition);
    assert_eq!(partition.progress.latest(), None);
    assert!(!partition.has_records_at(Offset(1)).expect("one waits"));
    assert!(!partition.has_records_at(Offset(3)).expect("one waits"));
    let beyond = |partition: &Partition| {
        let error = partition.has_records_at(Offset(4)).expect_err("beyond");
        error.code
    };
    assert_eq!(beyond(&partition), ErrorCode::NotYetKnown);
    let tail = LogTail {
        last_epoch: Some(LeaderEpoch(2)),
        end: Offset(3),
    };
    replica.other_has_tail(3, tail).expect("follows");
    assert_eq!(partition.progress.latest(), Some(Offset(3)));
    assert_eq!(beyond(&partition), ErrorCode::OffsetOutOfRange);
}
