//! Random histories of a partition, its lane, and a broker made of a list.

use std::collections::VecDeque;

use proptest::prelude::*;
use taffrail_core::producers::{ProducerTable, SequenceCheck, SequencedBatch};
use taffrail_record::BatchHeader;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    /// HTTP/2 takes a request.
    Pull,
    /// The broker appends the oldest request, or refuses it if its chain is broken.
    Append,
    /// The broker refuses the oldest request retriably.
    Refuse,
    /// The oldest answer arrives.
    Answer,
    /// The connection breaks: requests not appended and answers not arrived are lost.
    Cut,
    /// The connection breaks: answers not arrived are lost, requests not appended are in the broker's buffers.
    CutLate,
    /// A request of a connection that broke is appended.
    AppendLate,
    /// The oldest record takes too long.
    Expire,
    /// Pauses are over.
    Later,
}

/// A broker that knows chains, as the proto asks for.
#[derive(Default)]
struct Broker {
    log: Vec<String>,
    requests: VecDeque<v1::ProduceRequest>,
    answers: VecDeque<v1::ProduceResponse>,
    /// The highest chain of this connection that broke.
    broken: Option<u32>,
    /// Of connections that broke.
    late: VecDeque<v1::ProduceRequest>,
    /// It knows sequence numbers, and no chains.
    producers: Option<ProducerTable>,
}

impl Broker {
    fn handle(&mut self, refuses: bool) {
        let Some(request) = self.requests.pop_front() else {
            return;
        };
        let knows_chains = self.producers.is_none();
        let is_behind = self.broken.is_some_and(|broken| request.chain <= broken);
        if refuses || knows_chains && is_behind {
            self.broken = self.broken.max(Some(request.chain));
            self.answers
                .push_back(refused(request.request_id, ErrorCode::DiskFull));
            return;
        }
        let answer = self.append(&request);
        self.answers.push_back(answer);
    }

    fn append(&mut self, request: &v1::ProduceRequest) -> v1::ProduceResponse {
        let base = self.log.len() as u64;
        if let Some(producers) = &mut self.producers {
            let batch = sequenced(request);
            match producers.check(&batch, 0) {
                SequenceCheck::New => producers.note(&batch, Offset(base), 0),
                SequenceCheck::Duplicate(stored) => {
                    return acked(request.request_id, stored.base_offset.0);
                }
                SequenceCheck::OutOfOrder { .. } => {
                    return refused(request.request_id, ErrorCode::OutOfOrderSequence);
                }
                SequenceCheck::StaleEpoch { .. } => {
                    return refused(request.request_id, ErrorCode::ProducerFenced);
                }
                SequenceCheck::Unknown => {
                    return refused(request.request_id, ErrorCode::UnknownProducer);
                }
            }
        }
        self.log.extend(values(request));
        acked(request.request_id, base)
    }
}

fn sequenced(request: &v1::ProduceRequest) -> SequencedBatch {
    let header = BatchHeader::parse(&request.batches).expect("sound");
    assert_eq!(header.producer_id, PRODUCER);
    SequencedBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        records: header.record_count,
    }
}

/// The fate of a record, and when it was pushed at the latest.
type Pushes = Vec<(Delivery, Instant)>;

fn step(f: &mut Fixture, broker: &mut Broker, pushes: &mut Pushes, step: Step) {
    match step {
        Step::Push => {
            let value = format!("{:05}", pushes.len());
            let delivery = f.try_push(value.as_bytes());
            pushes.extend(delivery.map(|delivery| (delivery, Instant::now())));
        }
        Step::Pull => broker.requests.extend(f.pull()),
        Step::Append => broker.handle(false),
        Step::Refuse => broker.handle(true),
        Step::Answer => {
            if let Some(answer) = broker.answers.pop_front() {
                f.lane.answered(answer);
            }
        }
        Step::Cut => {
            broker.requests.clear();
            cut(f, broker);
        }
        Step::CutLate => {
            let late = std::mem::take(&mut broker.requests);
            broker.late.extend(late);
            cut(f, broker);
        }
        Step::AppendLate => {
            if let Some(request) = broker.late.pop_front() {
                // Nobody hears the answer.
                broker.append(&request);
            }
        }
        Step::Expire => {
            let oldest = pushes
                .iter()
                .find(|(delivery, _)| delivery.try_get().is_none());
            if let Some((_, pushed)) = oldest {
                let timeout = f.shared.config.delivery_timeout;
                f.partition.tend(*pushed + timeout, -1);
            }
        }
        Step::Later => f.later(),
    }
}

fn cut(f: &mut Fixture, broker: &mut Broker) {
    let error = WireError::new(ErrorCode::LeaderUnreachable, "cut");
    f.lane.die(&error);
    broker.answers.clear();
    broker.broken = None;
    f.later();
    f.new_lane();
}

fn run(steps: &[Step], idempotence: bool) -> (Broker, Pushes) {
    let config = ProducerConfig {
        in_flight_max: 3,
        idempotence: Some(idempotence),
        ..ProducerConfig::default()
    };
    let mut f = fixture(config);
    let mut pushes = Vec::new();
    let mut broker = Broker {
        producers: idempotence.then(ProducerTable::default),
        ..Broker::default()
    };
    for &s in steps {
        step(&mut f, &mut broker, &mut pushes, s);
    }
    // Good weather until everything is through.
    while !f.shared.budget.is_idle() || !broker.late.is_empty() {
        for s in [
            Step::Later,
            Step::Pull,
            Step::Append,
            Step::AppendLate,
            Step::Answer,
        ] {
            step(&mut f, &mut broker, &mut pushes, s);
        }
    }
    (broker, pushes)
}

fn steps(more: &[Step]) -> impl Strategy<Value = Vec<Step>> + use<> {
    let mut kinds = vec![
        Step::Push,
        Step::Push,
        Step::Pull,
        Step::Pull,
        Step::Append,
        Step::Refuse,
        Step::Answer,
        Step::Later,
    ];
    kinds.extend(more);
    proptest::collection::vec(proptest::sample::select(kinds), 0..200)
}

proptest! {
    #[test]
    fn refusals_neither_lose_nor_double_nor_reorder_records(
        steps in steps(&[]),
        idempotence in any::<bool>(),
    ) {
        let (broker, pushes) = run(&steps, idempotence);
        let expected: Vec<_> = (0..pushes.len()).map(|i| format!("{i:05}")).collect();
        prop_assert_eq!(&broker.log, &expected);
        for (i, (delivery, _)) in pushes.into_iter().enumerate() {
            prop_assert_eq!(outcome(delivery).expect("stored").offset, Some(Offset(i as u64)));
        }
    }

    #[test]
    fn with_sequence_numbers_broken_connections_neither_lose_nor_double_nor_reorder_records(
        steps in steps(&[Step::Cut, Step::CutLate, Step::AppendLate]),
    ) {
        let (broker, pushes) = run(&steps, true);
        let expected: Vec<_> = (0..pushes.len()).map(|i| format!("{i:05}")).collect();
        prop_assert_eq!(&broker.log, &expected);
        for (i, (delivery, _)) in pushes.into_iter().enumerate() {
            prop_assert_eq!(outcome(delivery).expect("stored").offset, Some(Offset(i as u64)));
        }
    }

    #[test]
    fn records_that_are_given_up_leave_no_doubt_about_the_others(
        steps in steps(&[Step::Cut, Step::CutLate, Step::AppendLate, Step::Expire]),
    ) {
        let (broker, pushes) = run(&steps, true);
        prop_assert!(broker.log.is_sorted_by(|a, b| a < b), "doubled or reordered: {:?}", broker.log);
        for (i, (delivery, _)) in pushes.into_iter().enumerate() {
            let value = format!("{i:05}");
            match outcome(delivery) {
                Ok(stored) => {
                    let offset = stored.offset.expect("known");
                    prop_assert_eq!(&broker.log[offset.0 as usize], &value);
                }
                Err(ProduceError::TimedOut { maybe_stored: false, .. }) => {
                    prop_assert!(!broker.log.contains(&value), "{} is stored", value);
                }
                Err(ProduceError::TimedOut { .. } | ProduceError::OutcomeUnknown(_)) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn broken_connections_may_double_records_but_neither_lose_nor_reorder_them(
        steps in steps(&[Step::Cut]),
    ) {
        let (broker, pushes) = run(&steps, false);
        let mut seen = std::collections::HashSet::new();
        let first_seen: Vec<_> = broker.log.iter().filter(|v| seen.insert(*v)).cloned().collect();
        let expected: Vec<_> = (0..pushes.len()).map(|i| format!("{i:05}")).collect();
        prop_assert_eq!(first_seen, expected);
        for (i, (delivery, _)) in pushes.into_iter().enumerate() {
            let offset = outcome(delivery).expect("stored").offset.expect("known");
            prop_assert_eq!(&broker.log[offset.0 as usize], &format!("{i:05}"));
        }
    }
}
