//! Requests of idempotent producers.

use taffrail_core::{
    producers::ProducerTable,
    replica::{FetchAnswer, FetchOutcome, FetchRequest},
};
use taffrail_record::{BatchHeader, ProducerStamp, stamp};
use tokio::sync::oneshot;

use super::*;
use crate::partition::{
    ack::Outcome,
    fixture::{RUN, batch, offset},
    replicate::Replicated,
};

fn of(id: i64, epoch: i16, base_sequence: i32, records: usize) -> Bytes {
    let producer = ProducerStamp {
        id,
        epoch,
        base_sequence,
    };
    batch(producer, records)
}

impl Replica1 {
    fn queue_all(&mut self, batches: &[Bytes]) -> oneshot::Receiver<Outcome> {
        self.queue_batches(1, Acks::All, &batches.concat().into())
    }

    fn produce(&mut self, batches: &[Bytes]) -> oneshot::Receiver<Outcome> {
        let outcome = self.queue_all(batches);
        self.write_and_sync();
        outcome
    }

    fn alone() -> Self {
        let mut replica = Self::new(Durability::PageCache);
        replica.assign(&[ME], ME, 1);
        replica
    }

    fn end(&self) -> Offset {
        self.log.partition.progress.log_end()
    }
}

#[test]
fn a_duplicate_is_answered_as_its_original_and_not_before_it() {
    for durability in [Durability::Fsync, Durability::PageCache] {
        let mut replica = Replica1::new(durability);
        replica.assign(&[ME, OTHER], ME, 1);
        replica.other_has(1, 0).expect("follows");
        let mut original = replica.produce(&[of(7, 0, 0, 3)]);
        let mut duplicate = replica.produce(&[of(7, 0, 0, 3)]);
        let mut next = replica.produce(&[of(7, 0, 3, 1)]);
        let mut again = replica.produce(&[of(7, 0, 0, 3)]);
        assert!(original.try_recv().is_err(), "the follower has nothing");
        assert!(duplicate.try_recv().is_err(), "answered early");
        replica.other_has(1, 3).expect("follows");
        assert_eq!((offset(&mut original), offset(&mut duplicate)), (0, 0));
        assert!(again.try_recv().is_err(), "before the one before it");
        replica.other_has(1, 4).expect("follows");
        assert_eq!((offset(&mut next), offset(&mut again)), (3, 0));
        let mut late = replica.produce(&[of(7, 0, 3, 1)]);
        assert_eq!(offset(&mut late), 3);
        assert_eq!(replica.end(), Offset(4));
    }
}

#[test]
fn a_request_of_a_producer_waits_for_the_one_before_it() {
    let mut replica = Replica1::alone();
    let unknown = &mut replica.produce(&[of(7, 0, 1, 1)]);
    assert_eq!(code(unknown), Some(ErrorCode::UnknownProducer));
    replica.produce(&[of(7, 0, 0, 1)]);
    let refused = &mut replica.produce(&[of(7, 0, 2, 1)]);
    assert_eq!(code(refused), Some(ErrorCode::OutOfOrderSequence));
    assert_eq!(offset(&mut replica.produce(&[of(7, 0, 1, 1)])), 1);
    assert_eq!(offset(&mut replica.produce(&[of(7, 0, 2, 1)])), 2);
}

#[test]
fn a_lower_epoch_is_fenced_and_a_higher_one_begins_with_0() {
    let mut replica = Replica1::alone();
    replica.produce(&[of(7, 1, 0, 1)]);
    let fenced = &mut replica.produce(&[of(7, 0, 1, 1)]);
    assert_eq!(code(fenced), Some(ErrorCode::ProducerFenced));
    let refused = &mut replica.produce(&[of(7, 2, 1, 1)]);
    assert_eq!(code(refused), Some(ErrorCode::OutOfOrderSequence));
    assert_eq!(offset(&mut replica.produce(&[of(7, 2, 0, 1)])), 1);
}

#[test]
fn requests_that_are_written_together_follow_one_another() {
    let mut replica = Replica1::alone();
    let queued = [
        of(7, 0, 0, 2),
        of(8, 0, 0, 1),
        of(7, 0, 2, 1),
        // Twice in one round, and one too far ahead.
        of(7, 0, 2, 1),
        of(7, 0, 9, 1),
        of(8, 0, 1, 1),
        of(7, 0, 3, 1),
        batch(ProducerStamp::NONE, 1),
    ];
    let mut outcomes = queued.map(|batch| replica.queue_all(&[batch]));
    replica.write_and_sync();
    let ahead = code(&mut outcomes[4]);
    assert_eq!(ahead, Some(ErrorCode::OutOfOrderSequence));
    let stored = [0, 1, 2, 3, 5, 6, 7].map(|i: usize| offset(&mut outcomes[i]));
    assert_eq!(stored, [0, 2, 3, 3, 4, 5, 6]);
    assert_eq!(replica.end(), Offset(7));
}

#[test]
fn the_batches_of_a_request_are_stored_all_or_none() {
    let mut replica = Replica1::alone();
    let three = [of(7, 0, 0, 2), of(7, 0, 2, 1), of(7, 0, 3, 2)];
    assert_eq!(offset(&mut replica.produce(&three)), 0);
    assert_eq!(offset(&mut replica.produce(&three)), 0);
    assert_eq!(offset(&mut replica.produce(&three[1..])), 2);
    // The first one is there, the last one is not.
    let mixed = &mut replica.produce(&[of(7, 0, 3, 2), of(7, 0, 5, 1)]);
    assert_eq!(code(mixed), Some(ErrorCode::OutOfOrderSequence));
    assert_eq!(replica.end(), Offset(5));
    let others: [&[Bytes]; 4] = [
        &[of(7, 0, 5, 1), of(8, 0, 0, 1)],
        &[of(7, 0, 5, 1), of(7, 0, 7, 1)],
        &[of(7, 0, 5, 1), batch(ProducerStamp::NONE, 1)],
        &[of(7, -1, 5, 1)],
    ];
    for other in others {
        let refused = &mut replica.produce(other);
        assert_eq!(code(refused), Some(ErrorCode::InvalidRequest));
    }
    assert_eq!(replica.end(), Offset(5));
}

#[test]
fn a_follower_that_becomes_the_leader_knows_what_it_has() {
    let mut replica = Replica1::new(Durability::PageCache);
    replica.assign(&[ME, OTHER], OTHER, 1);
    let mut leaders = of(7, 0, 0, 3).to_vec();
    stamp(&mut leaders, Offset(0), LeaderEpoch(1));
    let leaders = Bytes::from(leaders);
    let replicated = Replicated {
        partition: Arc::clone(&replica.log.partition),
        answer: FetchAnswer {
            leader_epoch: LeaderEpoch(1),
            tail: LogTail::default(),
            log_start: Offset(0),
            high_watermark: Offset(0),
            outcome: FetchOutcome::Matches,
        },
        headers: vec![BatchHeader::parse(&leaders).expect("sound")],
        batches: vec![leaders],
        append_time_ms: 5,
        producers: ProducerTable::default(),
    };
    replica.step(|log, owner| log.replicated(&replicated, owner, &mut Written::default()));
    replica.write_and_sync();
    replica.assign(&[ME, OTHER], ME, 2);
    let mut again = replica.queue_batches(2, Acks::All, &of(7, 0, 0, 3));
    let mut next = replica.queue_batches(2, Acks::Leader, &of(7, 0, 3, 1));
    replica.write_and_sync();
    assert_eq!(offset(&mut next), 3);
    assert!(again.try_recv().is_err(), "the other one may not have it");
    let tail = LogTail {
        last_epoch: Some(LeaderEpoch(1)),
        end: Offset(3),
    };
    let request = FetchRequest {
        broker: OTHER,
        incarnation: RUN,
        leader_epoch: LeaderEpoch(2),
        tail,
        durable_end: Offset(3),
        delete_horizon: Offset(0),
    };
    replica.step(|log, owner| log.fetched(&request, owner).expect("follows"));
    let ack = again.try_recv().expect("answered").expect("stored");
    assert_eq!((ack.base_offset, ack.append_time_ms), (0, 5));
    assert_eq!(replica.end(), Offset(4));
}
