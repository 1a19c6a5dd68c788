//! A partition and its lane, step by step.

mod histories;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
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

const PRODUCER: i64 = 77;

struct Fixture {
    partition: Arc<PartitionQueue>,
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    requests: LaneRequests,
}

fn fixture(config: ProducerConfig) -> Fixture {
    fixture_with(config, NO_PAUSE)
}

fn fixture_with(config: ProducerConfig, backoff: Backoff) -> Fixture {
    let shared = Arc::new(Shared::new(config, backoff));
    if shared.needs_producer_id() {
        shared.set_producer_id(PRODUCER);
    }
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
async fn after_all_were_given_up_the_next_record_does_not_wait() {
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(1),
        ..one_at_a_time()
    };
    let hour = Duration::from_hours(1);
    let pauses = Backoff {
        min: hour,
        max: hour,
    };
    let mut f = fixture_with(config, pauses);
    let late = f.push("late");
    let request = f.pull().expect("at once");
    f.refuse(&request, ErrorCode::DiskFull);
    // Before the pause is over.
    f.partition
        .tend(Instant::now() + Duration::from_millis(2), -1);
    assert!(outcome(late).is_err());
    let _delivery = f.push("next");
    assert_eq!(values(&f.pull().expect("at once")), ["next"]);
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

/// Cut off from the controller, it believes that it leads, and that too few follow it.
#[tokio::test]
async fn a_former_leader_that_refuses_for_a_while_is_left_once_another_one_is_known() {
    let mut f = fixture(one_at_a_time());
    let delivery = f.push("a");
    let request = f.pull().expect("at once");
    assert!(
        !f.partition.tend(Instant::now(), 2).lane,
        "one is under way"
    );
    f.refuse(&request, ErrorCode::NotEnoughReplicas);
    let later = Instant::now() + Duration::from_millis(2);
    assert!(!f.partition.tend(later, 1).lane, "it still leads");
    assert!(f.partition.tend(later, 2).lane);
    f.new_lane();
    assert_eq!(values(&f.pull().expect("sent again")), ["a"]);
    drop(delivery);
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
