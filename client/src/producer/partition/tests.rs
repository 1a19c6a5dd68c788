//! A partition, its lane, and a broker made of a list.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use taffrail_api::{WireError, v1};
use taffrail_core::{ErrorCode, Offset, PartitionIndex};
use taffrail_record::{NewRecord, records};

use super::*;
use crate::{
    backoff::Backoff,
    config::ProducerConfig,
    producer::{completion::Delivery, lane::LaneRequests},
    record::RecordMetadata,
};

const LIMITS: Limits = Limits {
    batch_bytes: 1 << 10,
    record_bytes: 4 << 10,
    joins_only: false,
};
const NO_PAUSE: Backoff = Backoff {
    min: Duration::ZERO,
    max: Duration::ZERO,
};

struct Fixture {
    partition: Arc<PartitionQueue>,
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    requests: LaneRequests,
}

fn fixture(config: ProducerConfig) -> Fixture {
    let shared = Arc::new(Shared::new(config, NO_PAUSE));
    let partition = PartitionQueue::new(PartitionIndex(0), Arc::clone(&shared));
    let lane = Arc::new(Lane::default());
    let mut fixture = Fixture {
        partition,
        shared,
        requests: LaneRequests::new(Arc::clone(&lane)),
        lane,
    };
    fixture.new_lane();
    fixture
}

fn one_at_a_time() -> ProducerConfig {
    ProducerConfig {
        buffer_bytes: 64 << 10,
        ..ProducerConfig::default()
    }
}

impl Fixture {
    fn new_lane(&mut self) {
        self.lane = Arc::new(Lane::default());
        self.requests = LaneRequests::new(Arc::clone(&self.lane));
        self.partition
            .assign(&self.lane, Bytes::from_static(&[1; 16]), 1);
    }

    fn try_push(&self, value: &[u8]) -> Result<Delivery, ProduceError> {
        let record = NewRecord {
            value: Some(value),
            ..NewRecord::default()
        };
        match self.partition.push(&record, LIMITS)? {
            Pushed::Accepted(delivery) => Ok(delivery),
            Pushed::NeedsBatch => panic!("a batch may be opened"),
        }
    }

    fn push(&self, value: &str) -> Delivery {
        self.try_push(value.as_bytes()).expect("there is room")
    }

    /// What HTTP/2 would send now.
    fn pull(&mut self) -> Option<v1::ProduceRequest> {
        self.requests.next().now_or_never().flatten()
    }

    /// The pauses between retries are over.
    fn later(&self) {
        self.partition
            .tend(Instant::now() + Duration::from_secs(1), -1);
    }

    fn ack(&self, request: &v1::ProduceRequest, base_offset: u64) {
        self.lane.answered(acked(request.request_id, base_offset));
    }

    fn refuse(&self, request: &v1::ProduceRequest, code: ErrorCode) {
        self.lane.answered(refused(request.request_id, code));
    }
}

fn acked(request_id: u64, base_offset: u64) -> v1::ProduceResponse {
    let ack = v1::ProduceAck {
        base_offset: base_offset as i64,
        append_time_ms: 5,
        log_start_offset: 0,
    };
    v1::ProduceResponse {
        request_id,
        result: Some(v1::produce_response::Result::Ack(ack)),
    }
}

fn refused(request_id: u64, code: ErrorCode) -> v1::ProduceResponse {
    let error = WireError::new(code, "refused by a test").into();
    v1::ProduceResponse {
        request_id,
        result: Some(v1::produce_response::Result::Error(error)),
    }
}

fn values(request: &v1::ProduceRequest) -> Vec<String> {
    let text = |value: Bytes| String::from_utf8(value.to_vec()).expect("text");
    records(request.batches.clone(), 1 << 20)
        .expect("sound")
        .map(|r| text(r.expect("sound").value.expect("has a value")))
        .collect()
}

fn outcome(delivery: Delivery) -> Result<RecordMetadata, ProduceError> {
    delivery.now_or_never().expect("decided")
}

#[tokio::test]
async fn without_linger_a_record_leaves_at_once_and_the_next_ones_gather_meanwhile() {
    let mut f = fixture(one_at_a_time());
    let first = f.push("a");
    let request = f.pull().expect("at once");
    let (second, third) = (f.push("b"), f.push("c"));
    assert_eq!(values(&request), ["a"]);
    assert_eq!(values(&f.pull().expect("at once")), ["b", "c"]);
    assert!(f.pull().is_none());
    f.ack(&request, 70);
    assert_eq!(outcome(first).expect("stored").offset, Some(Offset(70)));
    assert!(second.try_get().is_none() && third.try_get().is_none());
}

#[tokio::test]
async fn a_lingering_record_leaves_when_its_time_is_over() {
    let linger = Duration::from_millis(20);
    let mut f = fixture(ProducerConfig {
        linger,
        ..one_at_a_time()
    });
    let began = Instant::now();
    let _delivery = f.push("a");
    assert!(f.pull().is_none());
    let request = f.requests.next().await.expect("in time");
    assert!(began.elapsed() >= linger);
    assert_eq!(values(&request), ["a"]);
}

#[tokio::test]
async fn a_full_batch_and_a_flushed_one_do_not_linger() {
    let mut f = fixture(ProducerConfig {
        linger: Duration::from_hours(1),
        ..one_at_a_time()
    });
    let big = "x".repeat(600);
    let _deliveries = [f.push(&big), f.push(&big)];
    assert_eq!(values(&f.pull().expect("full")), std::slice::from_ref(&big));
    assert!(f.pull().is_none());
    assert_eq!(f.partition.flush().len(), 2);
    assert_eq!(values(&f.pull().expect("flushed")), [big]);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let mut f = fixture(ProducerConfig {
        in_flight_max: 2,
        ..one_at_a_time()
    });
    let mut requests = Vec::new();
    for value in ["a", "b", "c"] {
        let _delivery = f.push(value);
        requests.extend(f.pull());
    }
    assert_eq!(requests.len(), 2);
    f.ack(&requests[0], 0);
    assert_eq!(values(&f.pull().expect("room for one")), ["c"]);
}

#[tokio::test]
async fn after_a_failure_all_behind_it_go_again_in_order_as_the_next_chain() {
    let mut f = fixture(one_at_a_time());
    let mut requests = Vec::new();
    for value in ["a", "b", "c"] {
        let _delivery = f.push(value);
        requests.push(f.pull().expect("at once"));
    }
    let _delivery = f.push("d");
    f.refuse(&requests[0], ErrorCode::Throttled);
    f.later();
    assert!(f.pull().is_none(), "two answers are missing");
    f.refuse(&requests[1], ErrorCode::Throttled);
    f.refuse(&requests[2], ErrorCode::Throttled);
    f.later();
    let again: Vec<_> = std::iter::from_fn(|| f.pull()).collect();
    let sent: Vec<_> = again.iter().flat_map(values).collect();
    assert_eq!(sent, ["a", "b", "c", "d"]);
    assert!(again.iter().all(|r| r.chain == requests[0].chain + 1));
}

#[tokio::test]
async fn a_failure_for_good_ends_one_batch_and_no_other() {
    let mut f = fixture(one_at_a_time());
    let bad = f.push("bad");
    let refused = f.pull().expect("at once");
    let good = f.push("good");
    let accepted = f.pull().expect("at once");
    f.refuse(&refused, ErrorCode::CorruptBatch);
    f.ack(&accepted, 0);
    let error = outcome(bad).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::CorruptBatch);
    assert!(outcome(good).is_ok());
    assert!(f.shared.take_failures().is_err());
    assert!(f.shared.budget.is_idle());
}

#[tokio::test]
async fn what_was_under_way_on_a_dead_lane_goes_first_on_the_next() {
    let mut f = fixture(one_at_a_time());
    for value in ["a", "b"] {
        let _delivery = f.push(value);
        assert!(f.pull().is_some());
    }
    let _delivery = f.push("c");
    let cut = WireError::new(ErrorCode::LeaderUnreachable, "cut by a test");
    f.lane.die(&cut);
    assert!(f.pull().is_none());
    let wants = f
        .partition
        .tend(Instant::now() + Duration::from_secs(1), -1);
    assert!(wants.lane && wants.refresh);
    f.new_lane();
    let sent: Vec<_> = std::iter::from_fn(|| f.pull())
        .flat_map(|r| values(&r))
        .collect();
    assert_eq!(sent, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_takes_too_long_fails_and_says_whether_it_may_be_stored() {
    let mut f = fixture(one_at_a_time());
    let sent = f.push("sent");
    let request = f.pull().expect("at once");
    f.lane
        .die(&WireError::new(ErrorCode::LeaderUnreachable, "cut"));
    let kept = f.push("kept");
    f.partition
        .tend(Instant::now() + Duration::from_hours(1), -1);
    let expect = [(sent, true), (kept, false)];
    for (delivery, expected) in expect {
        match outcome(delivery).expect_err("too late") {
            ProduceError::TimedOut { maybe_stored, .. } => assert_eq!(maybe_stored, expected),
            other => panic!("{other}"),
        }
    }
    f.ack(&request, 0);
    assert!(f.shared.budget.is_idle());
}

#[tokio::test]
async fn a_request_without_an_answer_condemns_its_lane() {
    let mut f = fixture(one_at_a_time());
    let _delivery = f.push("a");
    assert!(f.pull().is_some());
    let now = Instant::now();
    assert!(f.partition.tend(now, -1).silent.is_none());
    let wants = f.partition.tend(now + Duration::from_secs(31), -1);
    assert!(Arc::ptr_eq(&wants.silent.expect("overdue"), &f.lane));
}

#[tokio::test]
async fn a_closed_partition_fails_everything_and_takes_nothing() {
    let mut f = fixture(one_at_a_time());
    let sent = f.push("sent");
    assert!(f.pull().is_some());
    let kept = f.push("kept");
    f.partition.close();
    let maybe_stored = [sent, kept].map(|d| outcome(d).expect_err("closed"));
    assert_eq!(maybe_stored[0], ProduceError::Closed { maybe_stored: true });
    assert_eq!(
        maybe_stored[1],
        ProduceError::Closed {
            maybe_stored: false
        }
    );
    let refused = f.try_push(b"late").expect_err("closed");
    assert_eq!(refused.code(), ErrorCode::ShuttingDown);
    assert!(f.shared.budget.is_idle());
}

#[tokio::test]
async fn a_full_buffer_takes_records_again_once_some_are_acknowledged() {
    let mut f = fixture(ProducerConfig {
        buffer_bytes: 8 << 10,
        in_flight_max: 100,
        ..ProducerConfig::default()
    });
    let value = [b'x'; 700];
    let mut requests = Vec::new();
    let full = loop {
        match f.try_push(&value) {
            Ok(_delivery) => requests.extend(f.pull()),
            Err(error) => break error,
        }
    };
    assert_eq!(full, ProduceError::BufferFull);
    assert_eq!(requests.len(), 2, "a batch takes 4 KiB of the 8");
    f.ack(&requests[0], 0);
    assert!(f.try_push(&value).is_ok());
}

#[tokio::test]
async fn a_record_larger_than_a_batch_travels_alone_and_one_beyond_the_limit_not_at_all() {
    let mut f = fixture(one_at_a_time());
    let _small = f.push("small");
    let _large = f.push(&"x".repeat(2_000));
    assert_eq!(values(&f.pull().expect("first")), ["small"]);
    assert_eq!(values(&f.pull().expect("second")).len(), 1);
    let error = f.try_push(&[0; 5_000]).expect_err("too large");
    assert_eq!(error.code(), ErrorCode::RecordTooLarge);
    let _next = f.push("next");
    assert_eq!(values(&f.pull().expect("third")), ["next"]);
}

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
}

impl Broker {
    fn handle(&mut self, refuses: bool) {
        let Some(request) = self.requests.pop_front() else {
            return;
        };
        if refuses || self.broken.is_some_and(|broken| request.chain <= broken) {
            self.broken = self.broken.max(Some(request.chain));
            self.answers
                .push_back(refused(request.request_id, ErrorCode::DiskFull));
            return;
        }
        let base = self.log.len() as u64;
        self.log.extend(values(&request));
        self.answers.push_back(acked(request.request_id, base));
    }
}

fn step(f: &mut Fixture, broker: &mut Broker, deliveries: &mut Vec<Delivery>, step: Step) {
    match step {
        Step::Push => {
            let value = format!("{:05}", deliveries.len());
            deliveries.extend(f.try_push(value.as_bytes()));
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
            f.lane
                .die(&WireError::new(ErrorCode::LeaderUnreachable, "cut"));
            broker.requests.clear();
            broker.answers.clear();
            broker.broken = None;
            f.later();
            f.new_lane();
        }
        Step::Later => f.later(),
    }
}

fn run(steps: &[Step]) -> (Broker, Vec<Delivery>) {
    let config = ProducerConfig {
        in_flight_max: 3,
        ..ProducerConfig::default()
    };
    let mut f = fixture(config);
    let (mut broker, mut deliveries) = (Broker::default(), Vec::new());
    for &s in steps {
        step(&mut f, &mut broker, &mut deliveries, s);
    }
    // Good weather until everything is through.
    while !f.shared.budget.is_idle() {
        for s in [Step::Later, Step::Pull, Step::Append, Step::Answer] {
            step(&mut f, &mut broker, &mut deliveries, s);
        }
    }
    (broker, deliveries)
}

fn steps(cuts: bool) -> impl Strategy<Value = Vec<Step>> {
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
    if cuts {
        kinds.push(Step::Cut);
    }
    proptest::collection::vec(proptest::sample::select(kinds), 0..200)
}

proptest! {
    #[test]
    fn refusals_neither_lose_nor_double_nor_reorder_records(steps in steps(false)) {
        let (broker, deliveries) = run(&steps);
        let expected: Vec<_> = (0..deliveries.len()).map(|i| format!("{i:05}")).collect();
        prop_assert_eq!(&broker.log, &expected);
        for (i, delivery) in deliveries.into_iter().enumerate() {
            prop_assert_eq!(outcome(delivery).expect("stored").offset, Some(Offset(i as u64)));
        }
    }

    #[test]
    fn broken_connections_may_double_records_but_neither_lose_nor_reorder_them(steps in steps(true)) {
        let (broker, deliveries) = run(&steps);
        let mut seen = std::collections::HashSet::new();
        let first_seen: Vec<_> = broker.log.iter().filter(|v| seen.insert(*v)).cloned().collect();
        let expected: Vec<_> = (0..deliveries.len()).map(|i| format!("{i:05}")).collect();
        prop_assert_eq!(first_seen, expected);
        for (i, delivery) in deliveries.into_iter().enumerate() {
            let offset = outcome(delivery).expect("stored").offset.expect("known");
            prop_assert_eq!(&broker.log[offset.0 as usize], &format!("{i:05}"));
        }
    }
}
