use std::collections::BTreeSet;

use bytes::Bytes;
use taffrail_api::convert::fetch_answer;
use taffrail_core::{
    BrokerNumber, ErrorCode, Incarnation, LeaderEpoch, Offset,
    replica::{FetchAnswer, FetchOutcome, LogTail},
};

use super::{
    super::check::tests::{ID, batch},
    *,
};

struct Members(bool);

impl InSync for Members {
    fn is_in_sync(&self, _: TopicPartition) -> bool {
        self.0
    }
}

const IN_SYNC: Members = Members(true);
const BEHIND: Members = Members(false);

fn at(end: u64, durable: u64) -> FetchRequest {
    in_epoch(3, end, durable)
}

fn in_epoch(epoch: u32, end: u64, durable: u64) -> FetchRequest {
    FetchRequest {
        broker: BrokerNumber(2),
        incarnation: Incarnation {
            generation: 1,
            random: 1,
        },
        leader_epoch: LeaderEpoch(epoch),
        tail: LogTail {
            last_epoch: (end > 0).then_some(LeaderEpoch(3)),
            end: Offset(end),
        },
        durable_end: Offset(durable),
        delete_horizon: Offset(0),
    }
}

struct Rig {
    session: FollowerSession,
    throttle: Throttle,
    now_ms: u64,
}

impl Rig {
    fn new() -> Self {
        Self::throttled(0)
    }

    fn throttled(bytes_per_s: u64) -> Self {
        Self {
            session: FollowerSession::new(0),
            throttle: Throttle::new(bytes_per_s, 0),
            now_ms: 0,
        }
    }

    fn stands(&mut self, stands: FetchRequest) {
        self.session.stands([(ID, Some(stands))].into());
    }

    fn message(&mut self, in_sync: &Members) -> Option<v1::Positions> {
        let message = self
            .session
            .message(self.now_ms, &mut self.throttle, in_sync)?;
        match message.message {
            Some(follower_message::Message::Positions(positions)) => Some(positions),
            other => panic!("{other:?}"),
        }
    }

    /// Offset, durable end, and whether it asks; of the only position.
    fn says(&mut self) -> (i64, i64, bool) {
        self.says_as(&IN_SYNC)
    }

    fn says_as(&mut self, in_sync: &Members) -> (i64, i64, bool) {
        let said = self.message(in_sync).expect("something to say").positions;
        assert_eq!(said.len(), 1);
        (
            said[0].fetch_offset,
            said[0].durable_end_offset,
            said[0].asks,
        )
    }

    fn says_nothing(&mut self) {
        assert_eq!(self.message(&IN_SYNC), None);
    }

    fn answered(&mut self, answer: v1::Answer) -> Result<Vec<Checked>, WireError> {
        self.answered_as(answer, &IN_SYNC)
    }

    fn answered_as(
        &mut self,
        answer: v1::Answer,
        in_sync: &Members,
    ) -> Result<Vec<Checked>, WireError> {
        let answers = v1::Answers {
            answers: vec![answer],
            clock_ms: 0,
        };
        self.session
            .answered(answers, self.now_ms, &mut self.throttle, in_sync)
    }

    /// The leader says its clock, and nothing else.
    fn clock(&mut self, clock_ms: u64) {
        let answers = v1::Answers {
            answers: Vec::new(),
            clock_ms,
        };
        let obey = self
            .session
            .answered(answers, self.now_ms, &mut self.throttle, &IN_SYNC);
        assert_eq!(obey, Ok(Vec::new()));
    }

    fn wakes_at(&mut self) -> u64 {
        self.session.wakes_at(self.now_ms, &mut self.throttle)
    }
}

fn answer(asked: &FetchRequest, outcome: FetchOutcome) -> v1::Answer {
    let answer = FetchAnswer {
        leader_epoch: asked.leader_epoch,
        tail: asked.tail,
        log_start: Offset(0),
        high_watermark: Offset(1),
        outcome,
    };
    fetch_answer(ID, asked, Ok(answer))
}

fn with_batches(asked: &FetchRequest, batches: Vec<u8>) -> v1::Answer {
    v1::Answer {
        outcome: Some(v1::answer::Outcome::Batches(v1::ReplicatedBatches {
            batches: Bytes::from(batches),
            append_time_ms: 7,
        })),
        ..answer(asked, FetchOutcome::Matches)
    }
}

#[test]
fn a_position_asks_once_and_later_news_only_report() {
    let mut rig = Rig::new();
    rig.stands(at(0, 0));
    assert_eq!(rig.says(), (0, 0, true));
    rig.says_nothing();
    let obey = rig
        .answered(with_batches(&at(0, 0), batch(0, 3)))
        .expect("valid");
    assert_eq!(obey.len(), 1);
    assert_eq!((obey[0].id, obey[0].append_time_ms), (ID, 7));
    rig.says_nothing();
    rig.stands(at(2, 0));
    assert_eq!(rig.says(), (2, 0, true));
    rig.stands(at(2, 2));
    assert_eq!(rig.says(), (2, 2, false));
}

#[test]
fn what_becomes_durable_while_an_answer_is_written_is_reported_and_not_asked_with() {
    let mut rig = Rig::new();
    rig.stands(at(2, 0));
    rig.says();
    rig.answered(with_batches(&at(2, 0), batch(2, 3)))
        .expect("valid");
    rig.stands(at(2, 2));
    assert_eq!(rig.says(), (2, 2, false));
    rig.stands(at(4, 2));
    assert_eq!(rig.says(), (4, 2, true));
}

#[test]
fn an_answer_that_was_not_obeyed_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.stands(at(0, 0));
    rig.says();
    rig.answered(with_batches(&at(0, 0), batch(0, 3)))
        .expect("valid");
    rig.stands(at(0, 0));
    assert_eq!(rig.says(), (0, 0, true));
}

#[test]
fn an_answer_with_nothing_but_a_high_watermark_is_obeyed_and_asked_again_at_once() {
    let mut rig = Rig::new();
    rig.stands(at(0, 0));
    rig.says();
    let obey = rig
        .answered(answer(&at(0, 0), FetchOutcome::Matches))
        .expect("valid");
    assert_eq!(obey[0].answer.high_watermark, Offset(1));
    assert_eq!(rig.says(), (0, 0, true));
}

#[test]
fn overtaken_repeated_and_foreign_answers_do_nothing() {
    let mut rig = Rig::new();
    let asked = at(0, 0);
    assert_eq!(
        rig.answered(with_batches(&asked, batch(0, 3))),
        Ok(Vec::new()),
        "never asked"
    );
    rig.stands(asked);
    rig.says();
    rig.stands(in_epoch(4, 0, 0));
    assert_eq!(
        rig.answered(with_batches(&asked, batch(0, 3))),
        Ok(Vec::new()),
        "of the epoch before"
    );
    rig.says();
    let answer = with_batches(&in_epoch(4, 0, 0), batch(0, 3));
    assert_eq!(rig.answered(answer.clone()).expect("valid").len(), 1);
    assert_eq!(rig.answered(answer), Ok(Vec::new()), "again");
}

#[test]
fn orders_to_cut_are_handed_on_and_the_next_position_asks() {
    let mut rig = Rig::new();
    rig.stands(at(6, 6));
    rig.says();
    let obey = rig
        .answered(answer(
            &at(6, 6),
            FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            },
        ))
        .expect("valid");
    assert_eq!(
        obey[0].answer.outcome,
        FetchOutcome::OutOfRange {
            delete_horizon: Offset(0)
        }
    );
    rig.says_nothing();
    rig.stands(at(4, 4));
    assert_eq!(rig.says(), (4, 4, true));
}

/// It was empty before and is after; what counts is what it lacks by now.
#[test]
fn an_empty_log_that_began_anew_asks_again() {
    let mut rig = Rig::new();
    rig.stands(in_epoch(4, 0, 0));
    rig.says();
    let horizon = Offset(7);
    let anew = FetchOutcome::OutOfRange {
        delete_horizon: horizon,
    };
    let obey = rig.answered(answer(&in_epoch(4, 0, 0), anew));
    assert_eq!(obey.expect("valid").len(), 1);
    rig.says_nothing();
    rig.stands(FetchRequest {
        delete_horizon: horizon,
        ..in_epoch(4, 0, 0)
    });
    assert_eq!(rig.says(), (0, 0, true));
}

#[test]
fn an_error_is_asked_again_after_a_while_or_at_once_in_a_new_epoch() {
    let mut rig = Rig::new();
    let refusal = |asked: &FetchRequest| {
        fetch_answer(
            ID,
            asked,
            Err(WireError::new(ErrorCode::NotYetKnown, "later")),
        )
    };
    rig.stands(at(0, 0));
    rig.says();
    assert_eq!(rig.answered(refusal(&at(0, 0))), Ok(Vec::new()));
    rig.says_nothing();
    assert_eq!(
        rig.session.wakes_at(rig.now_ms, &mut rig.throttle),
        RETRY_MS_MIN
    );
    rig.now_ms = RETRY_MS_MIN;
    assert_eq!(rig.says(), (0, 0, true));
    rig.answered(refusal(&at(0, 0))).expect("valid");
    assert_eq!(
        rig.session.wakes_at(rig.now_ms, &mut rig.throttle),
        3 * RETRY_MS_MIN,
        "twice as long"
    );
    rig.stands(in_epoch(4, 0, 0));
    assert_eq!(rig.says(), (0, 0, true));
}

#[test]
fn garbage_is_an_error_and_nothing_of_its_message_is_obeyed() {
    let mut rig = Rig::new();
    rig.stands(at(0, 0));
    rig.says();
    let error = rig.answered(with_batches(&at(0, 0), batch(5, 3)));
    assert_eq!(error.expect_err("a gap").code, ErrorCode::CorruptBatch);
}

#[test]
fn a_partition_that_is_not_followed_any_more_is_said_to_be_gone() {
    let mut rig = Rig::new();
    rig.stands(at(0, 0));
    rig.says();
    rig.session.stands([(ID, None)].into());
    let said = rig.message(&IN_SYNC).expect("something to say");
    assert_eq!((said.positions.len(), said.gone.len()), (0, 1));
    let answer = with_batches(&at(0, 0), batch(0, 3));
    assert_eq!(rig.answered(answer), Ok(Vec::new()));
}

#[test]
fn something_is_said_to_a_leader_that_says_nothing() {
    let mut rig = Rig::new();
    rig.says_nothing();
    assert_eq!(rig.session.wakes_at(0, &mut rig.throttle), KEEPALIVE_MS);
    rig.now_ms = KEEPALIVE_MS;
    assert_eq!(rig.message(&IN_SYNC), Some(v1::Positions::default()));
    rig.says_nothing();
}

#[test]
fn the_leaders_clock_is_repeated_at_once_though_there_is_nothing_else_to_say() {
    let mut rig = Rig::new();
    rig.now_ms = 10_000;
    rig.message(&IN_SYNC).expect("nothing was said for long");
    rig.clock(77);
    assert!(rig.wakes_at() <= rig.now_ms);
    let said = rig.message(&IN_SYNC).expect("something to say");
    assert_eq!((said.clock_ms, said.positions.len()), (77, 0));
    rig.says_nothing();
    assert_eq!(rig.wakes_at(), rig.now_ms + KEEPALIVE_MS, "it was");
}

#[test]
fn positions_take_the_leaders_clock_with_them_and_nothing_else_is_said_for_it() {
    let mut rig = Rig::new();
    rig.now_ms = 10_000;
    for clock_ms in 1..200 {
        rig.clock(clock_ms);
        rig.stands(at(clock_ms, clock_ms));
        let said = rig.message(&IN_SYNC).expect("it stands elsewhere");
        assert_eq!((said.clock_ms, said.positions.len()), (clock_ms, 1));
        rig.says_nothing();
        rig.now_ms += 1;
    }
}

#[test]
fn a_leader_that_speaks_all_the_time_is_answered_now_and_then() {
    let mut rig = Rig::new();
    rig.now_ms = 10_000;
    let mut answered = Vec::new();
    for clock_ms in 1..=1_000 {
        rig.clock(clock_ms);
        answered.extend(rig.message(&IN_SYNC).map(|said| said.clock_ms));
        rig.now_ms += 1;
    }
    assert_eq!(answered.len(), 10, "in a second: {answered:?}");
    rig.now_ms = rig.wakes_at();
    assert_eq!(rig.message(&IN_SYNC).map(|m| m.clock_ms), Some(1_000));
}

#[test]
fn a_replica_that_catches_up_waits_for_the_throttle_and_still_reports() {
    let sent = batch(0, 3);
    // Half of an answer a second.
    let mut rig = Rig::throttled(sent.len() as u64 / 2);
    rig.stands(at(0, 0));
    assert_eq!(rig.says_as(&BEHIND), (0, 0, true));
    rig.answered_as(with_batches(&at(0, 0), sent), &BEHIND)
        .expect("valid");
    rig.stands(at(2, 0));
    assert_eq!(rig.says_as(&BEHIND), (2, 0, false), "held, but reported");
    let free_ms = rig.session.wakes_at(rig.now_ms, &mut rig.throttle);
    assert!(free_ms > 0);
    rig.now_ms = free_ms.max(1_100);
    assert_eq!(rig.says_as(&BEHIND), (2, 0, true));
}

#[test]
fn a_replica_in_sync_is_never_throttled() {
    let mut rig = Rig::throttled(1);
    rig.throttle.take(1_000_000, 0);
    rig.stands(at(0, 0));
    assert_eq!(rig.says(), (0, 0, true));
    rig.answered(with_batches(&at(0, 0), batch(0, 3)))
        .expect("valid");
    rig.stands(at(2, 0));
    assert_eq!(rig.says(), (2, 0, true));
}

#[test]
fn many_positions_go_in_several_messages() {
    let mut rig = Rig::new();
    let many = |partition| TopicPartition {
        partition: taffrail_core::PartitionIndex(partition),
        ..ID
    };
    let ids: BTreeSet<_> = (0..=POSITIONS_MAX as u32).map(many).collect();
    rig.session
        .stands(ids.into_iter().map(|id| (id, Some(at(0, 0)))).collect());
    rig.now_ms = 10_000;
    rig.clock(7);
    let mut next = || {
        let said = rig.message(&IN_SYNC)?;
        Some((said.positions.len(), said.clock_ms))
    };
    assert_eq!(next(), Some((POSITIONS_MAX, 0)));
    assert_eq!(next(), Some((1, 7)), "with the last of them");
    assert_eq!(next(), None);
}
