//! Followers and leaders that are none, over real sessions: a clear code, nothing of what they say is believed, and others are served.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use bytes::Bytes;
use futures::channel::mpsc;
use http::{Request, Response};
use taffrail_api::{
    WireError,
    status::from_status,
    stream::{AnswerChunks, FrameReader, LeaderFrame, replicate, respond},
    transport::REQUEST_BYTES_MAX,
    v1::{
        self, Answer, FollowerHello, FollowerMessage, Incarnation, LeaderHello, Position,
        Positions, VersionRange, follower_message, leader_message,
    },
};
use taffrail_core::{ErrorCode, LeaderEpoch, Offset};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, body::Body, service::Routes};

use crate::{
    bad_input::raw,
    controller::{CLUSTER, FakeController, Topic, bytes_of},
    fixture::{Fixture, TOPIC, batch, channel_to, code, config, request, until, within},
    http::ask,
};

/// The real broker is the first that registers.
pub(crate) const REAL: u32 = 1;
pub(crate) const FAKE: u32 = 2;
pub(crate) const EPOCH: i32 = 5;

fn run(generation: u64) -> Incarnation {
    Incarnation {
        generation,
        random: 9,
    }
}

fn hello() -> FollowerHello {
    FollowerHello {
        cluster_id: CLUSTER.to_owned(),
        broker: FAKE,
        incarnation: Some(run(3)),
        leader: REAL,
        versions: Some(VersionRange { min: 1, max: 1 }),
        window_bytes: 1 << 20,
    }
}

pub(crate) fn fake_broker(replication: Option<v1::Endpoint>) -> v1::BrokerRecord {
    v1::BrokerRecord {
        number: FAKE,
        incarnation: Some(run(3)),
        name: "fake".to_owned(),
        replication,
        alive: true,
        ..v1::BrokerRecord::default()
    }
}

/// Led by `leader` in [`EPOCH`], with a replica on both.
pub(crate) fn topic(leader: u32) -> Topic {
    Topic {
        replicas: vec![REAL, FAKE],
        isr: vec![leader],
        leader_epoch: EPOCH,
        partition_epoch: EPOCH as u64,
        ..Topic::new("flights", &[leader])
    }
}

/// A session with a broker as its follower.
pub(crate) struct Session {
    messages: mpsc::UnboundedSender<FollowerMessage>,
    answers: FrameReader<v1::LeaderMessage>,
}

impl Session {
    /// Says this and nothing else yet.
    async fn say(fixture: &Fixture, message: follower_message::Message) -> Self {
        let address = fixture.broker.replication_addr().to_string();
        let (messages, outgoing) = mpsc::unbounded();
        let session = replicate(channel_to(&address), outgoing);
        let answers = within("a session", session).await.expect("opens");
        let session = Self { messages, answers };
        session.more(message);
        session
    }

    /// One that is welcome.
    pub(crate) async fn open(fixture: &Fixture) -> Self {
        let hello = follower_message::Message::Hello(hello());
        let mut session = Self::say(fixture, hello).await;
        let welcome = session.next().await.expect("welcome");
        assert!(matches!(welcome, leader_message::Message::Hello(_)));
        session
    }

    pub(crate) fn more(&self, message: follower_message::Message) {
        let message = Some(message);
        let sent = self.messages.unbounded_send(FollowerMessage { message });
        sent.expect("the call is open");
    }

    pub(crate) async fn next(&mut self) -> Result<leader_message::Message, WireError> {
        let next = within("a message", self.answers.next()).await;
        let message = next.map_err(|status| from_status(&status))?;
        Ok(message.expect("a message").message.expect("not empty"))
    }

    /// The code with which it ends, keepalives aside.
    async fn ended(&mut self) -> ErrorCode {
        loop {
            match self.next().await {
                Ok(leader_message::Message::Answers(answers)) if answers.answers.is_empty() => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error.code,
            }
        }
    }
}

/// A broker that leads, and has heard of a second one.
async fn leader() -> Fixture {
    let fixture = Fixture::start(1).await;
    fixture.controller.add_broker(fake_broker(None));
    fixture.put(topic(REAL)).await;
    fixture
}

async fn others_are_served(fixture: &Fixture) {
    let mut client = fixture.client().await;
    let stored = client.produce(request(0, batch(&["honest"]))).await;
    stored.expect("stored");
}

pub(crate) fn position(leader_epoch: i32, fetch_offset: i64) -> Position {
    Position {
        topic_id: bytes_of(TOPIC),
        partition: 0,
        leader_epoch,
        last_epoch: if fetch_offset > 0 { leader_epoch } else { -1 },
        fetch_offset,
        durable_end_offset: fetch_offset,
        delete_horizon: 0,
        asks: true,
    }
}

fn positions(position: Position) -> follower_message::Message {
    follower_message::Message::Positions(Positions {
        positions: vec![position],
        ..Positions::default()
    })
}

#[tokio::test]
async fn a_follower_of_another_cluster_version_or_run_is_refused_with_the_reason() {
    let fixture = leader().await;
    let foreign = FollowerHello {
        cluster_id: "22222222-2222-4222-8222-222222222222".to_owned(),
        ..hello()
    };
    let newer = FollowerHello {
        versions: Some(VersionRange { min: 2, max: 3 }),
        ..hello()
    };
    let former = FollowerHello {
        incarnation: Some(run(2)),
        ..hello()
    };
    for (hello, expected) in [
        (foreign, ErrorCode::ForeignCluster),
        (newer, ErrorCode::UnsupportedVersion),
        (former, ErrorCode::BrokerFenced),
    ] {
        let hello = follower_message::Message::Hello(hello);
        let refusal = Session::say(&fixture, hello).await.ended().await;
        assert_eq!(refusal, expected);
        let (_, metrics) = ask(&fixture.broker, "GET /metrics", "").await;
        let counted = format!("call=\"replication\",code=\"{}\"}} 1", expected.name());
        assert!(metrics.contains(&counted), "{metrics}");
    }
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn a_follower_of_a_lower_epoch_is_told_so_and_counts_for_nothing() {
    let fixture = leader().await;
    let mut both_in_sync = topic(REAL);
    both_in_sync.isr = vec![REAL, FAKE];
    // In an epoch of its own: that it is obeyed can be seen.
    let now = EPOCH + 1;
    both_in_sync.leader_epoch = now;
    both_in_sync.partition_epoch += 1;
    fixture.put(both_in_sync).await;
    let mut client = fixture.client().await;
    client.send(request(0, batch(&["waits for both"])));
    let mut session = Session::open(&fixture).await;
    for (epoch, expected) in [
        (now - 1, ErrorCode::StaleLeaderEpoch),
        (now + 1, ErrorCode::NotYetKnown),
    ] {
        session.more(positions(position(epoch, 1)));
        let told = loop {
            let leader_message::Message::Answers(answers) = session.next().await.expect("open")
            else {
                panic!("a second hello");
            };
            if let Some(answer) = answers.answers.into_iter().next() {
                break answer;
            }
        };
        let Some(v1::answer::Outcome::Error(error)) = told.outcome else {
            panic!("{told:?}");
        };
        assert_eq!(code(error), expected);
    }
    let report = fixture.controller.report_of(REAL, TOPIC, 0);
    assert_eq!(report.expect("it reports").high_watermark, 0);
    session.more(positions(position(now, 1)));
    client.answer().await.1.expect("both have it");
}

#[tokio::test]
async fn a_follower_that_says_garbage_loses_its_session_and_nothing_else() {
    let fixture = leader().await;
    let garbage = [
        follower_message::Message::Hello(hello()),
        positions(Position {
            topic_id: Bytes::from_static(b"short"),
            ..position(EPOCH, 0)
        }),
        positions(position(-7, 0)),
        positions(position(EPOCH, -3)),
        positions(Position {
            durable_end_offset: i64::MIN,
            ..position(EPOCH, 0)
        }),
    ];
    for garbage in garbage {
        let mut session = Session::open(&fixture).await;
        session.more(garbage.clone());
        let ended = session.ended().await;
        assert_eq!(ended, ErrorCode::InvalidRequest, "{garbage:?}");
    }
    let silent = positions(position(EPOCH, 0));
    let ended = Session::say(&fixture, silent).await.ended().await;
    assert_eq!(ended, ErrorCode::InvalidRequest, "no hello");
    let address = fixture.broker.replication_addr().to_string();
    let path = "/taffrail.v1.Replication/Session";
    let no_message = &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff];
    let status = raw(channel_to(&address), path, no_message).await;
    assert_eq!(from_status(&status).code, ErrorCode::InvalidRequest);
    others_are_served(&fixture).await;
}

/// A leader that answers whatever it was made with, to whoever follows it.
struct FakeLeader {
    address: std::net::SocketAddr,
    sessions: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for FakeLeader {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeLeader {
    /// Session after session it sends these batches; after the last of them nothing.
    async fn start(batches: Vec<Bytes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let sessions = Arc::new(AtomicUsize::new(0));
        let (batches, begun) = (Arc::new(batches), Arc::clone(&sessions));
        let serve = move |request: Request<axum::body::Body>| {
            let batches = batches.get(begun.fetch_add(1, Ordering::Relaxed)).cloned();
            async move { answer(request, batches) }
        };
        let routes = Routes::from(Router::new().fallback(serve));
        let server = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_routes(routes);
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.expect("serves");
        });
        Self {
            address,
            sessions,
            server,
        }
    }
}

fn answer(request: Request<axum::body::Body>, batches: Option<Bytes>) -> Response<Body> {
    let body = Body::new(request.into_body());
    let mut reader = FrameReader::<FollowerMessage>::requests(body, REQUEST_BYTES_MAX);
    let (frames, outgoing) = mpsc::unbounded::<Result<LeaderFrame, Status>>();
    let answer = |answers| LeaderFrame::Answers {
        answers,
        clock_ms: 0,
    };
    tokio::spawn(async move {
        let hello = LeaderHello {
            version: 1,
            broker: FAKE,
            incarnation: Some(run(3)),
        };
        // An error here and below means that the follower has ended the session, as it should.
        let _ = frames.unbounded_send(Ok(LeaderFrame::Hello(hello)));
        let mut batches = batches;
        while let Ok(Some(message)) = reader.next().await {
            let Some(follower_message::Message::Positions(positions)) = message.message else {
                continue;
            };
            let asks = positions.positions.into_iter().find(|p| p.asks);
            let Some((position, chunk)) = asks.and_then(|p| Some((p, batches.take()?))) else {
                let _ = frames.unbounded_send(Ok(answer(Vec::new())));
                continue;
            };
            let head = Answer {
                topic_id: position.topic_id,
                partition: position.partition,
                leader_epoch: position.leader_epoch,
                asked_last_epoch: position.last_epoch,
                asked_offset: position.fetch_offset,
                ..Answer::default()
            };
            let chunks = AnswerChunks {
                chunks: vec![chunk],
                ..AnswerChunks::of(head)
            };
            let _ = frames.unbounded_send(Ok(answer(vec![chunks])));
        }
    });
    respond(outgoing)
}

fn stamped(values: &[&str], base: u64) -> Bytes {
    let mut stamped = batch(values).to_vec();
    taffrail_record::stamp(&mut stamped, Offset(base), LeaderEpoch(EPOCH as u32));
    stamped.into()
}

#[tokio::test]
async fn a_leader_that_answers_garbage_is_told_apart_and_nothing_of_it_is_written() {
    let good = stamped(&["one", "two"], 0);
    let mut flipped = good.to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    let garbage = vec![
        flipped.into(),
        good.slice(..good.len() - 1),
        Bytes::from_static(&[0xab; 300]),
        stamped(&["a gap before it"], 7),
    ];
    let bad = garbage.len();
    let leader = FakeLeader::start([garbage, vec![good]].concat()).await;
    let controller = FakeController::start().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let environment = taffrail_broker::Environment::real(None);
    let broker = taffrail_broker::start_with(config(&dir, &controller), environment).await;
    let broker = broker.expect("starts");
    within("registration", broker.ready()).await;
    controller.add_broker(fake_broker(Some(v1::Endpoint {
        host: leader.address.ip().to_string(),
        port: u32::from(leader.address.port()),
    })));
    controller.put(TOPIC, topic(FAKE));
    until("what is good to be written", async || {
        let report = controller.report_of(REAL, TOPIC, 0);
        report.is_some_and(|r| {
            assert_eq!(r.fault, 0, "garbage took the replica offline");
            assert!([0, 2].contains(&r.log_end_offset), "garbage was written");
            r.log_end_offset == 2
        })
    })
    .await;
    assert_eq!(leader.sessions.load(Ordering::Relaxed), bad + 1);
    let (_, metrics) = ask(&broker, "GET /metrics", "").await;
    let counted = format!("call=\"follow\",code=\"CORRUPT_BATCH\"}} {bad}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    broker.stop().await;
}
