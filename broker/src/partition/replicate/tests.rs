use taffrail_core::{
    Durability, LeaderEpoch,
    replica::{Acks, EpochEnd, FetchOutcome, LogTail},
};
use taffrail_log::sim::{self, Operation, SimDisk};
use taffrail_record::ProducerStamp;

use super::*;
use crate::{
    metrics::Metrics,
    partition::fixture::{self, ME, OTHER, Replica1, led},
};

/// It follows the other broker in epoch 2, with nothing in its log.
fn follower(durability: Durability) -> Replica1 {
    let mut replica = Replica1::new(durability);
    replica.assign(&[ME, OTHER], OTHER, 2);
    replica
}

fn ends(replica: &mut Replica1) -> (u64, u64, u64) {
    let position = replica.position().expect("follows");
    let visible = replica.log.partition.progress.high_watermark();
    (position.tail.end.0, position.durable_end.0, visible.0)
}

/// The leader's log begins at 100 by now.
fn out_of_range(replica: &mut Replica1) -> FetchAnswer {
    let asked = replica.position().expect("follows");
    FetchAnswer {
        leader_epoch: asked.leader_epoch,
        tail: asked.tail,
        log_start: Offset(100),
        high_watermark: Offset(200),
        outcome: FetchOutcome::OutOfRange {
            delete_horizon: Offset(0),
        },
    }
}

#[test]
fn a_follower_tells_what_it_wrote_and_then_that_it_is_durable() {
    let mut replica = follower(Durability::Fsync);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 1), led(2, 2)], 3);
    assert_eq!(ends(&mut replica), (4, 0, 0));
    let job = replica.write().expect("to be synced");
    let done = job.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    let told = replica.positions.take(OTHER);
    let told = told.values().next().copied().flatten();
    assert_eq!(told.expect("told").durable_end, Offset(4));
    assert_eq!(ends(&mut replica), (4, 4, 3), "the leader's high watermark");
}

#[test]
fn with_page_cache_what_a_follower_wrote_counts() {
    let mut replica = follower(Durability::PageCache);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 2)], 9);
    replica.write();
    assert_eq!(ends(&mut replica), (2, 2, 2), "not above its own end");
}

#[test]
fn a_follower_lets_the_page_cache_go_of_what_nobody_reads_and_a_leader_does_not() {
    for durability in [Durability::Fsync, Durability::PageCache] {
        let mut replica = follower(durability);
        let mut forgets = |leader, epoch| {
            replica.assign(&[ME, OTHER], leader, epoch);
            (0..40)
                .map(|_| {
                    replica.step(|log, owner| {
                        log.wrote(1 << 20, &mut <_>::default());
                        let job = log.sync().expect("to be synced");
                        let (forgets, done) = (job.forgets_cached, job.run(&Metrics::default()));
                        log.synced(&done, owner);
                        u32::from(forgets)
                    })
                })
                .sum::<u32>()
        };
        assert_eq!(forgets(OTHER, 3), 2, "at 16 and 32 MiB of 40");
        assert_eq!(forgets(ME, 4), 0, "consumers read near the end");
    }
}

#[test]
fn a_follower_cuts_what_parted_and_a_sync_from_before_counts_for_nothing() {
    let mut replica = follower(Durability::Fsync);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 1), led(2, 2)], 0);
    let before = replica.write().expect("to be synced");
    replica.assign(&[ME, OTHER], OTHER, 3);
    let parted = EpochEnd {
        epoch: LeaderEpoch(1),
        end: Offset(2),
    };
    replica.leader_answers(FetchOutcome::Diverging(parted), &[], 2);
    assert_eq!(ends(&mut replica), (2, 2, 0), "what is left is durable");
    replica.leader_answers(FetchOutcome::Matches, &[led(2, 3)], 2);
    let done = before.run(&Metrics::default());
    replica.step(|log, owner| log.synced(&done, owner));
    assert_eq!(
        ends(&mut replica),
        (4, 2, 2),
        "other records are at 2 and 3"
    );
    replica.write_and_sync();
    assert_eq!(ends(&mut replica), (4, 4, 2));
    let position = replica.position().expect("follows");
    assert_eq!(position.tail.last_epoch, Some(LeaderEpoch(3)));
}

#[test]
fn a_follower_that_was_left_behind_begins_anew() {
    let mut replica = follower(Durability::Fsync);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 2)], 2);
    replica.write_and_sync();
    let answer = out_of_range(&mut replica);
    replica.obey(answer, &[]);
    assert_eq!(ends(&mut replica), (100, 100, 100));
    assert_eq!(replica.log.partition.progress.log_start(), Offset(100));
    replica.leader_answers(FetchOutcome::Matches, &[led(100, 2)], 200);
    replica.write_and_sync();
    assert_eq!(ends(&mut replica), (102, 102, 102));
}

/// Its records expired with the leader's log; a copy of them may still come.
#[test]
fn a_replica_that_begins_anew_knows_the_producers_of_what_it_will_never_have() {
    let of = |base_sequence| {
        let stamp = ProducerStamp {
            id: 7,
            epoch: 0,
            base_sequence,
        };
        fixture::batch(stamp, 2)
    };
    let mut leader = Replica1::new(Durability::Fsync);
    leader.assign(&[ME, OTHER], ME, 2);
    let _first = leader.queue_batches(2, Acks::Leader, &of(0));
    let _second = leader.queue_batches(2, Acks::Leader, &of(2));
    leader.write_and_sync();
    let told = |leader: &Replica1, start| {
        let encoded = leader.log.producers_before(Offset(start));
        ProducerTable::decode(&encoded, <_>::default()).expect("a table")
    };

    let mut replica = follower(Durability::Fsync);
    let answer = FetchAnswer {
        log_start: Offset(2),
        ..out_of_range(&mut replica)
    };
    replica.obey_with(answer, told(&leader, 2));
    replica.assign(&[ME, OTHER], ME, 3);
    let mut again = replica.queue_batches(3, Acks::Leader, &of(0));
    let mut next = replica.queue_batches(3, Acks::Leader, &of(2));
    replica.write_and_sync();
    assert_eq!(fixture::offset(&mut again), 0, "as its original was");
    assert_eq!(fixture::offset(&mut next), 2);
    assert_eq!(told(&leader, 0), ProducerTable::default());
}

#[test]
fn a_log_that_has_nothing_in_common_is_begun_from_nothing_before_it_asks_where() {
    let mut replica = follower(Durability::Fsync);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 1)], 0);
    replica.write_and_sync();
    let answer = out_of_range(&mut replica);
    replica.obey(answer, &[]);
    replica.leader_answers(FetchOutcome::Matches, &[led(100, 2)], 102);
    let parted = EpochEnd {
        epoch: LeaderEpoch(0),
        end: Offset(0),
    };
    replica.leader_answers(FetchOutcome::Diverging(parted), &[], 102);
    assert_eq!(ends(&mut replica).0, 0);
    assert_eq!(replica.log.partition.progress.log_start(), Offset(0));
}

#[test]
fn a_replica_is_offline_if_its_log_is_half_gone_when_the_disk_is_full() {
    let disk = SimDisk::new(1);
    let mut replica = Replica1::on(Arc::new(disk.clone()), Durability::Fsync);
    replica.assign(&[ME, OTHER], OTHER, 2);
    replica.leader_answers(FetchOutcome::Matches, &[led(0, 2)], 2);
    replica.write_and_sync();
    let answer = out_of_range(&mut replica);
    // Everything was removed by then.
    disk.inject(sim::Fault::on(Operation::Write, "checkpoint").no_space());
    replica.obey(answer, &[]);
    assert!(replica.log.log.is_poisoned());
    let fault = replica.log.partition.fault().expect("offline");
    assert!(fault.message.contains("disk is full"), "{}", fault.message);
}

#[test]
fn an_answer_of_another_time_does_nothing() {
    let mut replica = follower(Durability::Fsync);
    let asked = replica.position().expect("follows");
    let answer = |leader_epoch, tail| FetchAnswer {
        leader_epoch,
        tail,
        log_start: Offset(0),
        high_watermark: Offset(2),
        outcome: FetchOutcome::Matches,
    };
    replica.obey(answer(LeaderEpoch(1), asked.tail), &[led(0, 1)]);
    let elsewhere = LogTail {
        last_epoch: Some(LeaderEpoch(1)),
        end: Offset(2),
    };
    replica.obey(answer(asked.leader_epoch, elsewhere), &[led(2, 1)]);
    assert_eq!(ends(&mut replica), (0, 0, 0));
    replica.assign(&[ME, OTHER], ME, 3);
    replica.obey(answer(LeaderEpoch(3), asked.tail), &[led(0, 1)]);
    assert_eq!(replica.log.partition.progress.log_end(), Offset(0));
}

#[test]
fn sessions_hear_whom_a_replica_follows_and_whom_no_more() {
    let mut replica = follower(Durability::Fsync);
    assert!(replica.positions.take(OTHER).values().all(Option::is_some));
    replica.step(|log, owner| log.tell_position_to(ME, owner));
    assert!(replica.positions.take(OTHER).is_empty(), "another leader");
    replica.step(|log, owner| log.tell_position_to(OTHER, owner));
    assert_eq!(replica.positions.take(OTHER).len(), 1, "a new session");
    replica.assign(&[ME, OTHER], ME, 3);
    let told = replica.positions.take(OTHER);
    assert!(told.values().all(Option::is_none) && told.len() == 1);
}

#[test]
fn a_controller_that_took_office_is_told_who_has_caught_up() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], ME, 1);
    replica.queue(1, Acks::All);
    replica.write_and_sync();
    replica.other_has(1, 1).expect("follows");
    assert_eq!(replica.asks.take().confirmations.len(), 1);
    assert!(replica.asks.take().confirmations.is_empty(), "once");
    replica.step(|log, owner| log.confirm_again(owner));
    assert_eq!(replica.asks.take().confirmations.len(), 1);
}
