//! A coordinator that stood still, and what its follower wrote before that lies in a buffer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use taffrail_api::v1::{self, Position, Positions, answer::Outcome, follower_message};
use taffrail_broker::{DiskSettings, Environment};
use taffrail_core::{ErrorCode, internal};

use super::{OFFSETS, coordinates, describe};
use crate::{
    bad_peers::{EPOCH, FAKE, REAL, Session, fake_broker, position, topic},
    controller::{Topic, bytes_of},
    fixture::{Fixture, TOPIC, until},
};

/// Longer than a coordinator goes without word of a follower.
const PAUSE_MS: u64 = 60_000;

/// A broker that coordinates, and its only follower, which says what the test lets it say.
struct Coordinated {
    fixture: Fixture,
    follower: Session,
    stood_still_ms: Arc<AtomicU64>,
}

impl Coordinated {
    async fn start() -> Self {
        let real = Environment::real(None);
        let stood_still_ms = Arc::new(AtomicU64::new(0));
        let (uptime, still) = (real.uptime, Arc::clone(&stood_still_ms));
        let environment = Environment {
            uptime: Arc::new(move || uptime() + still.load(Ordering::Relaxed)),
            ..real
        };
        let fixture = Fixture::in_environment(1, environment, DiskSettings::default()).await;
        fixture.controller.add_broker(fake_broker(None));
        fixture.put(topic(REAL)).await;
        let offsets = Topic {
            name: internal::OFFSETS.to_owned(),
            isr: vec![REAL, FAKE],
            ..topic(REAL)
        };
        fixture.controller.put(OFFSETS, offsets);
        until("__offsets to be led", async || {
            let report = fixture.controller.report_of(REAL, OFFSETS, 0);
            report.is_some_and(|report| report.leading)
        })
        .await;
        let follower = Session::open(&fixture).await;
        Self {
            fixture,
            follower,
            stood_still_ms,
        }
    }

    /// The same as far as its clock can tell.
    fn stands_still(&self) {
        self.stood_still_ms.fetch_add(PAUSE_MS, Ordering::Relaxed);
    }

    /// The broker's clock, once it says a later one.
    async fn clock_after(&mut self, ms: u64) -> u64 {
        loop {
            let clock_ms = self.answers().await.clock_ms;
            if clock_ms > ms {
                return clock_ms;
            }
        }
    }

    async fn answers(&mut self) -> v1::Answers {
        match self.follower.next().await.expect("open") {
            v1::leader_message::Message::Answers(answers) => answers,
            v1::leader_message::Message::Hello(hello) => panic!("a second one: {hello:?}"),
        }
    }

    /// The follower says that it follows, and repeats this clock. On return that was read.
    async fn follows(&mut self, clock_ms: u64) {
        let offsets = Position {
            topic_id: bytes_of(OFFSETS),
            ..position(EPOCH, 0)
        };
        // This is answered at once, as an epoch that is over.
        let stale = position(EPOCH - 1, 0);
        self.follower
            .more(follower_message::Message::Positions(Positions {
                positions: vec![offsets, stale],
                clock_ms,
                ..Positions::default()
            }));
        loop {
            let answers = self.answers().await.answers;
            let is_refusal = |a: &v1::Answer| {
                a.topic_id == bytes_of(TOPIC) && matches!(a.outcome, Some(Outcome::Error(_)))
            };
            if answers.iter().any(is_refusal) {
                return;
            }
        }
    }

    /// What whoever asks for a group hears that there is not.
    async fn answer(&self) -> ErrorCode {
        let described = describe(&self.fixture, "nobody").await;
        described.expect_err("there is no group").code
    }
}

#[tokio::test]
async fn what_was_written_before_a_coordinator_stood_still_does_not_make_it_sure_after() {
    let mut it = Coordinated::start().await;
    let before = it.clock_after(0).await;
    it.follows(before).await;
    coordinates(&it.fixture).await;
    it.stands_still();
    let (nothing, never_said) = (0, before + 2 * PAUSE_MS);
    for repeated in [before, nothing, before, never_said, u64::MAX] {
        it.follows(repeated).await;
        let answer = it.answer().await;
        assert_eq!(answer, ErrorCode::NotCoordinator, "by {repeated}");
    }
    let after = it.clock_after(before + PAUSE_MS - 1).await;
    it.follows(after).await;
    coordinates(&it.fixture).await;
}
