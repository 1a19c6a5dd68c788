use std::future::poll_fn;

use futures::{FutureExt as _, StreamExt as _, channel::mpsc};
use http_body::Body as _;
use taffrail_api::status::from_status;
use tokio::time::{Instant, advance};

use super::*;

const LARGE: usize = 600 << 10;

fn intake(bytes: usize) -> Arc<Intake> {
    let limits = Limits {
        calls_max: 1,
        intake_bytes_max: bytes,
        partitions_per_request_max: 10,
        ..Limits::default()
    };
    Intake::new(&limits, Arc::default())
}

/// A request under way, from both ends.
struct Request {
    client: mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>,
    body: CountedBody,
    rooms: Rooms,
}

fn request(share: &Share, kind: Kind) -> Request {
    let (client, frames) = mpsc::unbounded();
    let body = Body::new(http_body_util::StreamBody::new(frames.boxed()));
    let rooms = Rooms::default();
    Request {
        client,
        body: CountedBody::new(body, share.clone(), rooms.clone(), kind),
        rooms,
    }
}

fn message(bytes: usize) -> Vec<u8> {
    let mut message = vec![7; PREFIX + bytes];
    message[0] = 0;
    message[1..PREFIX].copy_from_slice(&(bytes as u32).to_be_bytes());
    message
}

const PREFIX: usize = 5;

impl Request {
    fn send(&self, bytes: impl Into<Bytes>) {
        let frame = Frame::data(bytes.into());
        self.client.unbounded_send(Ok(frame)).expect("open");
    }

    /// What is passed on now; `None`: nothing.
    fn received(&mut self) -> Option<Result<usize, ErrorCode>> {
        let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).now_or_never()?;
        Some(match frame? {
            Ok(frame) => Ok(frame.into_data().expect("data").len()),
            Err(status) => Err(from_status(&status).code),
        })
    }

    /// All of a message.
    fn all(&mut self, bytes: usize) {
        let mut received = 0;
        while received < PREFIX + bytes {
            received += self.received().expect("passed on").expect("no error");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_message_passes_whatever_others_hold() {
    let intake = intake(LARGE + 1_000);
    let mut stranger = request(&intake.share(), Kind::Stream);
    stranger.send(message(LARGE)[..100_000].to_vec());
    assert_eq!(stranger.received(), Some(Ok(100_000)));
    let mut honest = request(&intake.share(), Kind::Stream);
    for _ in 0..100 {
        honest.send(message(256 << 10));
        honest.all(256 << 10);
    }
    assert_eq!(honest.received(), None);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_waits_for_room_in_the_order_of_asking() {
    let intake = intake(LARGE + 1_000);
    let mut requests: Vec<_> = (0..3)
        .map(|_| request(&intake.share(), Kind::Stream))
        .collect();
    for request in &requests {
        request.send(message(LARGE));
    }
    requests[0].all(LARGE);
    // Nothing but the prefix.
    assert_eq!(requests[1].received(), Some(Ok(PREFIX)));
    assert_eq!(requests[2].received(), Some(Ok(PREFIX)));
    assert_eq!(requests[1].received(), None);
    assert_eq!(requests[2].received(), None);
    assert_eq!(
        requests[0].received(),
        None,
        "it reads on: the room is given back"
    );
    assert_eq!(requests[2].received(), None, "the other one was first");
    assert_eq!(requests[1].received(), Some(Ok(LARGE)));
    let Request { rooms, .. } = requests.remove(1);
    assert_eq!(requests[1].received(), None, "the answer still holds it");
    drop(rooms);
    assert_eq!(requests[1].received(), Some(Ok(LARGE)));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_in_time_is_refused() {
    let intake = intake(LARGE + 1_000);
    let mut stranger = request(&intake.share(), Kind::Stream);
    stranger.send(message(LARGE)[..100].to_vec());
    stranger.received();
    let mut late = request(&intake.share(), Kind::Stream);
    late.send(message(LARGE));
    late.received();
    assert_eq!(late.received(), None);
    advance(ROOM_TIMEOUT).await;
    assert_eq!(late.received(), Some(Err(ErrorCode::ResourceExhausted)));
    assert_eq!(late.received(), None, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn where_too_many_wait_the_next_is_refused_at_once() {
    let intake = intake(LARGE + 1_000);
    let mut requests: Vec<_> = (0..WAITING_MAX + 2)
        .map(|_| request(&intake.share(), Kind::Stream))
        .collect();
    let mut refused = 0;
    for request in &mut requests {
        request.send(message(LARGE)[..100].to_vec());
        request.received();
        refused += usize::from(request.received() == Some(Err(ErrorCode::ResourceExhausted)));
    }
    assert_eq!(refused, 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_message_makes_way_in_the_end() {
    let intake = intake(LARGE + 1_000);
    for kind in [Kind::Stream, Kind::Unary] {
        let mut stranger = request(&intake.share(), kind);
        stranger.send(message(LARGE)[..100].to_vec());
        assert_eq!(stranger.received(), Some(Ok(100)));
        assert_eq!(stranger.received(), None);
        let began = Instant::now();
        let status = poll_fn(|cx| Pin::new(&mut stranger.body).poll_frame(cx)).await;
        let status = status.expect("an end").expect_err("an error");
        assert_eq!(from_status(&status).code, ErrorCode::ResourceExhausted);
        assert!(began.elapsed() + Duration::from_millis(5) >= ARRIVAL_TIMEOUT);
        let mut next = request(&intake.share(), Kind::Stream);
        next.send(message(LARGE));
        next.all(LARGE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_its_request_makes_way_too() {
    let intake = intake(LARGE + 1_000);
    let mut stranger = request(&intake.share(), Kind::Unary);
    stranger.send(message(LARGE));
    stranger.all(LARGE);
    assert_eq!(stranger.received(), None);
    advance(ARRIVAL_TIMEOUT).await;
    assert_eq!(stranger.received(), Some(Err(ErrorCode::ResourceExhausted)));
}

#[tokio::test(start_paused = true)]
async fn of_many_messages_in_one_frame_those_are_passed_on_for_which_there_is_room() {
    let intake = intake(1_000);
    let all = Arc::clone(&intake.bytes).try_acquire_many_owned(1_000);
    let mut sender = request(&intake.share(), Kind::Stream);
    let each = message(100 << 10);
    sender.send(each.repeat(8));
    // Three find room, and the prefix of the fourth goes with them.
    assert_eq!(sender.received(), Some(Ok(3 * each.len() + PREFIX)));
    assert_eq!(sender.received(), Some(Ok(3 * each.len())));
    assert_eq!(sender.received(), Some(Ok(2 * each.len() - PREFIX)));
    drop(all);
}

#[tokio::test(start_paused = true)]
async fn frames_of_any_size_are_passed_on_unchanged() {
    let intake = intake(LARGE);
    let all = [message(0), message(10), message(0), message(5_000)].concat();
    for step in [1, 2, 3, 7, 4_999, 20_000] {
        let mut sender = request(&intake.share(), Kind::Stream);
        for chunk in all.chunks(step) {
            sender.send(chunk.to_vec());
        }
        let mut received = 0;
        while let Some(bytes) = sender.received() {
            received += bytes.expect("no error");
        }
        assert_eq!(received, all.len(), "in steps of {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_lasts_takes_its_connections_own_room_only_and_keeps_it() {
    let intake = intake(64 << 20);
    let share = intake.share();
    let mut first = request(&share, Kind::Lasting);
    first.send(message(200 << 10));
    first.all(200 << 10);
    assert_eq!(first.received(), None);
    let mut second = request(&share, Kind::Lasting);
    second.send(message(200 << 10));
    assert_eq!(second.received(), Some(Err(ErrorCode::ResourceExhausted)));
    drop((first.body, first.rooms));
    let mut third = request(&share, Kind::Lasting);
    third.send(message(200 << 10));
    third.all(200 << 10);
}

#[tokio::test(start_paused = true)]
async fn each_connection_has_calls_of_its_own() {
    let intake = intake(1);
    let (stranger, honest) = (intake.share(), intake.share());
    let mut held: Vec<_> = (0..=OWN_CALLS)
        .map(|_| stranger.call().expect("room"))
        .collect();
    let refused = stranger.call().expect_err("too many");
    assert_eq!(from_status(&refused).code, ErrorCode::ResourceExhausted);
    drop(honest.call().expect("its own"));
    held.pop();
    drop(stranger.call().expect("one ended"));
}

#[test]
fn fetches_that_wait_are_counted_by_partition() {
    let share = intake(1).share();
    let waiting = share.fetch(15).expect("room");
    let error = share.fetch(6).expect_err("twenty at most");
    assert_eq!(error.code, ErrorCode::ResourceExhausted);
    drop(waiting);
    drop(share.fetch(20).expect("room"));
}
