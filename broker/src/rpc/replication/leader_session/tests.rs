use std::cell::RefCell;

use bytes::Bytes;
use taffrail_api::convert::{Answered, position};
use taffrail_core::{
    LeaderEpoch, Offset, PartitionIndex, TopicId,
    producers::{ProducerTable, SequencedBatch},
    replica::{EpochEnd, FetchAnswer, LogTail},
};

use super::{super::logs::Led, *};

const FOLLOWER: BrokerNumber = BrokerNumber(2);
const RUN: Incarnation = Incarnation {
    generation: 1,
    random: 1,
};
const EPOCH: LeaderEpoch = LeaderEpoch(3);

fn id(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(partition),
    }
}

/// Logs of one epoch.
struct Memory(RefCell<BTreeMap<TopicPartition, Led>>, LeaderEpoch);

impl Logs for Memory {
    fn led(&self, id: TopicPartition, epoch: LeaderEpoch) -> Option<Led> {
        (epoch == self.1).then(|| self.0.borrow().get(&id).copied())?
    }
}

impl Memory {
    fn set(&self, partition: u32, log_end: u64, high_watermark: u64) {
        let led = Led {
            log_start: Offset(0),
            high_watermark: Offset(high_watermark),
            log_end: Offset(log_end),
        };
        self.0.borrow_mut().insert(id(partition), led);
    }
}

struct Rig {
    session: LeaderSession,
    logs: Memory,
    now_ms: u64,
}

fn request(end: u64, durable: u64) -> FetchRequest {
    FetchRequest {
        broker: FOLLOWER,
        incarnation: RUN,
        leader_epoch: EPOCH,
        tail: LogTail {
            last_epoch: (end > 0).then_some(EPOCH),
            end: Offset(end),
        },
        durable_end: Offset(durable),
        delete_horizon: Offset(0),
    }
}

fn matches(request: &FetchRequest) -> FetchAnswer {
    FetchAnswer {
        leader_epoch: request.leader_epoch,
        tail: request.tail,
        log_start: Offset(0),
        high_watermark: Offset(0),
        outcome: FetchOutcome::Matches,
    }
}

impl Rig {
    /// With room for so many answers of one megabyte.
    fn new(answers: usize) -> Self {
        Self {
            session: LeaderSession::new(FOLLOWER, RUN, answers * PARTITION_BYTES_MAX, 0),
            logs: Memory(RefCell::default(), EPOCH),
            now_ms: 0,
        }
    }

    fn hear(&mut self, partition: u32, request: &FetchRequest, asks: bool) {
        let positions = v1::Positions {
            positions: vec![position(id(partition), request, asks)],
            ..v1::Positions::default()
        };
        self.session.hear(&positions).expect("valid");
    }

    /// What the owner of the logs hears; all of it matches.
    fn check(&mut self) -> Vec<FetchRequest> {
        let asked = self.session.take_unchecked();
        for (id, request) in &asked {
            self.session
                .checked(*id, request, Ok(matches(request).into()));
        }
        asked.into_iter().map(|(_, request)| request).collect()
    }

    fn ask(&mut self, partition: u32, end: u64) {
        self.hear(partition, &request(end, end), true);
        assert_eq!(self.check().len(), 1);
    }

    fn next_read(&mut self) -> Option<Read> {
        self.session.next_read(&self.logs, self.now_ms)
    }

    /// Reads so many bytes.
    fn read(&mut self, read: &Read, bytes: usize) {
        let found = Found {
            chunks: vec![Bytes::from(vec![7; bytes])],
            append_time_ms: 77,
            led: Led {
                log_start: Offset(0),
                high_watermark: Offset(0),
                log_end: Offset(0),
            },
        };
        self.session.read(read, Ok(found));
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.session.tick(&self.logs, self.now_ms);
    }

    /// Everything that is said now.
    fn said(&mut self) -> Vec<AnswerChunks> {
        if self.session.has_answers(self.now_ms) {
            self.session.answers(self.now_ms)
        } else {
            Vec::new()
        }
    }

    fn answer(&mut self) -> Answered {
        let mut said = self.said();
        assert_eq!(said.len(), 1);
        Answered::try_from(said.remove(0).head).expect("valid")
    }
}

#[test]
fn a_position_is_checked_then_waits_and_is_answered_once_when_the_log_grows() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 0, 0);
    rig.hear(0, &request(0, 0), true);
    assert_eq!(rig.check(), [request(0, 0)]);
    assert_eq!(rig.next_read(), None);
    rig.logs.set(0, 5, 0);
    rig.session.news(id(0));
    let read = rig.next_read().expect("something new");
    assert_eq!((read.id, read.request.tail.end), (id(0), Offset(0)));
    rig.read(&read, 100);
    let said = rig.said();
    assert_eq!(
        (said.len(), said[0].batch_bytes(), said[0].append_time_ms),
        (1, 100, 77)
    );
    rig.logs.set(0, 9, 0);
    rig.session.news(id(0));
    assert_eq!(rig.next_read(), None, "it did not ask again");
    rig.ask(0, 5);
    assert_eq!(
        rig.next_read().expect("asked again").request.tail.end,
        Offset(5)
    );
}

#[test]
fn a_report_reaches_the_owner_of_the_log_and_is_not_answered() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 0);
    rig.ask(0, 0);
    let read = rig.next_read().expect("something new");
    rig.read(&read, 100);
    assert_eq!(rig.said().len(), 1);
    rig.hear(0, &request(0, 0), false);
    assert_eq!(rig.check(), [request(0, 0)]);
    assert_eq!(rig.next_read(), None, "the answer is on its way");
    rig.ask(0, 5);
    rig.hear(0, &request(5, 5), false);
    rig.check();
    rig.logs.set(0, 6, 0);
    rig.session.news(id(0));
    assert!(
        rig.next_read().is_some(),
        "a report does not take the question back"
    );
}

#[test]
fn a_report_that_is_refused_is_answered_so_that_it_is_said_again() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 0);
    let fenced = || Err(WireError::new(ErrorCode::BrokerFenced, "another run"));
    rig.hear(0, &request(5, 3), true);
    rig.check();
    rig.hear(0, &request(5, 5), false);
    for (id, request) in rig.session.take_unchecked() {
        rig.session.checked(id, &request, fenced());
    }
    assert!(rig.answer().answer.is_err());
    rig.hear(0, &request(5, 5), true);
    assert_eq!(rig.check(), [request(5, 5)], "it asks again");
    assert!(rig.said().is_empty(), "and waits as before");
}

#[test]
fn logs_that_part_and_errors_are_answered_as_the_owner_says() {
    let mut rig = Rig::new(4);
    let parted = FetchOutcome::Diverging(EpochEnd {
        epoch: LeaderEpoch(2),
        end: Offset(3),
    });
    rig.hear(0, &request(5, 5), true);
    let (id, asked) = rig.session.take_unchecked()[0];
    let answer = FetchAnswer {
        outcome: parted,
        ..matches(&asked)
    };
    rig.session.checked(id, &asked, Ok(answer.into()));
    assert_eq!(rig.answer().answer.expect("an answer").outcome, parted);
    rig.hear(0, &request(3, 3), true);
    let (id, asked) = rig.session.take_unchecked()[0];
    let error = WireError::new(ErrorCode::StaleLeaderEpoch, "over");
    rig.session.checked(id, &asked, Err(error.clone()));
    assert_eq!(rig.answer().answer, Err(error));
    assert_eq!(rig.session.take_unchecked(), [], "answered");
}

#[test]
fn whoever_begins_anew_is_told_the_producers_of_what_it_will_never_have() {
    let mut rig = Rig::new(4);
    rig.hear(0, &request(5, 5), true);
    let (id, asked) = rig.session.take_unchecked()[0];
    let told = Told {
        answer: FetchAnswer {
            outcome: FetchOutcome::OutOfRange {
                delete_horizon: Offset(0),
            },
            ..matches(&asked)
        },
        producers: Bytes::from_static(b"a table"),
    };
    rig.session.checked(id, &asked, Ok(told));
    let answered = rig.answer();
    assert_eq!(answered.producers, b"a table".as_slice());
    let outcome = answered.answer.expect("an answer").outcome;
    assert_eq!(
        outcome,
        FetchOutcome::OutOfRange {
            delete_horizon: Offset(0)
        }
    );
}

#[test]
fn tables_of_producers_fill_a_message_as_batches_do() {
    let mut rig = Rig::new(4);
    let mut table = ProducerTable::default();
    for producer_id in 0..4_000 {
        for base_sequence in 0..16 {
            let at = Offset(producer_id as u64 * 16 + base_sequence as u64);
            let batch = SequencedBatch {
                producer_id,
                epoch: 0,
                base_sequence,
                records: 1,
            };
            table.note(&batch, at, 0);
        }
    }
    let mut producers = Vec::new();
    table.encode(&mut producers);
    let producers = Bytes::from(producers);
    for partition in 0..8 {
        rig.hear(partition, &request(5, 5), true);
    }
    for (id, asked) in rig.session.take_unchecked() {
        let told = Told {
            answer: FetchAnswer {
                outcome: FetchOutcome::OutOfRange {
                    delete_horizon: Offset(0),
                },
                ..matches(&asked)
            },
            producers: producers.clone(),
        };
        rig.session.checked(id, &asked, Ok(told));
    }
    let mut messages = 0;
    while rig.session.has_answers(0) {
        let message = rig.session.answers(0);
        let bytes: usize = message.iter().map(AnswerChunks::bytes).sum();
        assert!(bytes < ANSWERS_BYTES_MAX + producers.len(), "{bytes}");
        messages += 1;
    }
    assert!(messages > 1);
}

#[test]
fn an_epoch_that_is_over_sends_a_waiting_position_to_the_owner_again() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 0, 0);
    rig.ask(0, 0);
    rig.logs.0.borrow_mut().clear();
    rig.session.news(id(0));
    assert_eq!(rig.next_read(), None);
    assert_eq!(rig.session.take_unchecked().len(), 1);
    // And so does one that ends during a read.
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 0);
    rig.ask(0, 0);
    let read = rig.next_read().expect("something new");
    rig.session.read(&read, Err(NotRead::Changed));
    assert_eq!(rig.session.take_unchecked().len(), 1);
    assert_eq!(rig.session.in_flight, 0);
}

#[test]
fn an_answer_of_the_owner_to_the_epoch_before_is_none_to_a_position_of_this_one() {
    let mut rig = Rig::new(4);
    rig.hear(0, &request(0, 0), true);
    let (id, before) = rig.session.take_unchecked()[0];
    let now = FetchRequest {
        leader_epoch: LeaderEpoch(4),
        ..before
    };
    rig.hear(0, &now, true);
    let error = WireError::new(ErrorCode::StaleLeaderEpoch, "over");
    rig.session.checked(id, &before, Err(error));
    assert!(rig.said().is_empty());
    assert_eq!(rig.session.take_unchecked(), [(id, now)]);
}

#[test]
fn a_follower_in_a_new_epoch_is_told_the_high_watermark_anew() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 5);
    rig.ask(0, 5);
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS);
    assert!(rig.answer().answer.is_ok());
    rig.logs.1 = LeaderEpoch(4);
    let again = FetchRequest {
        leader_epoch: LeaderEpoch(4),
        ..request(5, 5)
    };
    rig.hear(0, &again, true);
    rig.check();
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS);
    let told = rig.answer().answer.expect("told anew");
    assert_eq!(told.high_watermark, Offset(5));
}

#[test]
fn a_follower_that_was_cut_to_the_leaders_end_is_told_the_high_watermark_then() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 5);
    let asked = request(8, 8);
    rig.hear(0, &asked, true);
    rig.session.take_unchecked();
    let cut = FetchAnswer {
        high_watermark: Offset(5),
        outcome: FetchOutcome::Diverging(EpochEnd {
            epoch: EPOCH,
            end: Offset(5),
        }),
        ..matches(&asked)
    };
    rig.session.checked(id(0), &asked, Ok(cut.into()));
    rig.answer().answer.expect("is to cut");
    rig.ask(0, 5);
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS);
    let told = rig.answer().answer.expect("nothing but the high watermark");
    assert_eq!(told.high_watermark, Offset(5));
}

#[test]
fn no_more_is_on_its_way_than_the_window_but_one_answer_always_is() {
    let mut rig = Rig::new(2);
    for partition in 0..4 {
        rig.logs.set(partition, 5, 0);
        rig.ask(partition, 0);
    }
    for _ in 0..2 {
        let read = rig.next_read().expect("room");
        rig.read(&read, PARTITION_BYTES_MAX);
    }
    assert_eq!(rig.next_read(), None, "full");
    rig.said();
    assert_eq!(rig.next_read(), None, "sent is not written");
    rig.ask(0, 5);
    let read = rig.next_read().expect("partition 0 was written");
    assert_eq!(read.id, id(2), "whoever waited longest");
    // One batch may be larger than the whole window.
    rig.read(&read, 5 * PARTITION_BYTES_MAX);
    rig.ask(1, 5);
    assert_eq!(rig.next_read(), None);
    rig.hear(2, &request(5, 0), false);
    assert!(
        rig.next_read().is_some(),
        "it has written them, though it does not ask for more yet"
    );
}

#[test]
fn a_partition_that_is_gone_gives_its_room_back() {
    let mut rig = Rig::new(1);
    rig.logs.set(0, 5, 0);
    rig.ask(0, 0);
    let read = rig.next_read().expect("room");
    rig.read(&read, PARTITION_BYTES_MAX);
    let gone = v1::Positions {
        gone: vec![v1::PartitionId {
            topic_id: Bytes::copy_from_slice(id(0).topic.as_bytes()),
            partition: 0,
        }],
        ..v1::Positions::default()
    };
    rig.session.hear(&gone).expect("valid");
    assert_eq!((rig.session.in_flight, rig.session.places.len()), (0, 0));
    assert_eq!(rig.session.take_left(), [id(0)]);
    // A read that comes back late is dropped.
    rig.read(&read, 100);
    assert_eq!(rig.session.in_flight, 0);
}

#[test]
fn whoever_follows_in_another_epoch_has_left_the_one_before() {
    let mut rig = Rig::new(1);
    rig.logs.set(0, 5, 0);
    rig.ask(0, 0);
    rig.ask(0, 5);
    assert_eq!(rig.session.take_left(), []);
    let later = FetchRequest {
        leader_epoch: LeaderEpoch(EPOCH.0 + 1),
        ..request(5, 5)
    };
    rig.hear(0, &later, true);
    assert_eq!(rig.session.take_left(), [id(0)]);
    assert_eq!(rig.session.take_left(), []);
}

#[test]
fn a_high_watermark_goes_alone_after_a_while_and_only_once() {
    let mut rig = Rig::new(4);
    rig.logs.set(0, 5, 0);
    rig.ask(0, 5);
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS);
    assert_eq!(
        rig.answer().answer.expect("known now").high_watermark,
        Offset(0)
    );
    rig.ask(0, 5);
    rig.logs.set(0, 5, 5);
    rig.session.news(id(0));
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS - 1);
    assert!(rig.said().is_empty());
    rig.wait(1);
    assert_eq!(
        rig.answer().answer.expect("moved").high_watermark,
        Offset(5)
    );
    rig.ask(0, 5);
    assert_eq!(rig.next_read(), None);
    rig.wait(HIGH_WATERMARK_DELAY_MS);
    assert!(rig.said().is_empty(), "it knows");
}

#[test]
fn the_follower_hears_something_at_once_and_at_least_every_half_second() {
    let mut rig = Rig::new(1);
    assert!(rig.session.has_answers(0));
    assert!(rig.session.answers(0).is_empty());
    assert!(!rig.session.has_answers(KEEPALIVE_MS - 1));
    assert_eq!(rig.session.wakes_at(), KEEPALIVE_MS);
    assert!(rig.session.has_answers(KEEPALIVE_MS));
    assert!(rig.session.answers(KEEPALIVE_MS).is_empty());
    assert!(!rig.session.has_answers(KEEPALIVE_MS + 1));
}

#[test]
fn answers_of_many_partitions_go_together_up_to_a_size() {
    let mut rig = Rig::new(100);
    for partition in 0..10 {
        rig.logs.set(partition, 5, 0);
        rig.ask(partition, 0);
        let read = rig.next_read().expect("room");
        rig.read(&read, PARTITION_BYTES_MAX);
    }
    let most = ANSWERS_BYTES_MAX / PARTITION_BYTES_MAX;
    assert_eq!(rig.said().len(), most);
    assert_eq!(rig.said().len(), most);
    assert_eq!(rig.said().len(), 10 - 2 * most);
}
