//! Sessions between brokers, one side of which is the test: strangers on the replication port, and a leader that sends garbage.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::channel::mpsc;
use taffrail_api::{
    status::from_status,
    stream::{FrameReader, replicate},
    v1::{
        self, FollowerHello, FollowerMessage, LeaderMessage, follower_message, leader_message,
        replication_server::{Replication, ReplicationServer},
    },
};
use taffrail_core::{ErrorCode, LeaderEpoch, Offset, TopicId};
use taffrail_record::stamp;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    controller::{CLUSTER, Topic},
    fixture::{DEADLINE, Fixture, batch, channel_to, until, within},
};

type Change = fn(&mut FollowerHello);

/// Says hello to a leader; its hello, or why not.
async fn greet(address: SocketAddr, hello: FollowerHello) -> Result<v1::LeaderHello, ErrorCode> {
    Greeted::by(address, hello)
        .await
        .map(|greeted| greeted.hello)
}

/// A session that a leader has accepted.
struct Greeted {
    hello: v1::LeaderHello,
    _messages: mpsc::UnboundedSender<FollowerMessage>,
    answers: FrameReader<LeaderMessage>,
}

impl Greeted {
    async fn by(address: SocketAddr, hello: FollowerHello) -> Result<Self, ErrorCode> {
        let (messages, outgoing) = mpsc::unbounded();
        let hello = FollowerMessage {
            message: Some(follower_message::Message::Hello(hello)),
        };
        messages.unbounded_send(hello).expect("open");
        let channel = channel_to(&address.to_string());
        let mut answers = replicate(channel, outgoing).await.expect("opens");
        let first = within("an answer", answers.next()).await;
        let first = first.map_err(|s| from_status(&s).code)?.expect("one");
        match first.message {
            Some(leader_message::Message::Hello(hello)) => Ok(Self {
                hello,
                _messages: messages,
                answers,
            }),
            other => panic!("{other:?}"),
        }
    }

    /// Why the leader ended it.
    async fn ended(mut self) -> ErrorCode {
        let ended = async {
            loop {
                if let Err(status) = self.answers.next().await {
                    return from_status(&status).code;
                }
            }
        };
        within("the end", ended).await
    }
}

fn run(generation: u64) -> v1::Incarnation {
    v1::Incarnation {
        generation,
        random: 1,
    }
}

/// What broker 2 says to broker 1.
fn hello() -> FollowerHello {
    FollowerHello {
        cluster_id: CLUSTER.to_owned(),
        broker: 2,
        incarnation: Some(run(5)),
        leader: 1,
        versions: Some(v1::VersionRange { min: 1, max: 1 }),
        window_bytes: 1 << 20,
    }
}

/// A broker that knows of broker 2.
async fn leader() -> (Fixture, SocketAddr) {
    let fixture = Fixture::start(1).await;
    fixture.controller.add_broker(v1::BrokerRecord {
        number: 2,
        incarnation: Some(run(5)),
        ..v1::BrokerRecord::default()
    });
    let address = fixture.broker.replication_addr();
    until("the second broker to be known", async || {
        greet(address, hello()).await.is_ok()
    })
    .await;
    (fixture, address)
}

#[tokio::test]
async fn a_session_is_refused_to_those_who_are_no_followers() {
    let (_fixture, address) = leader().await;
    let welcome = greet(address, hello()).await.expect("welcome");
    assert_eq!((welcome.broker, welcome.version), (1, 1));
    let refused: [(Change, ErrorCode); 5] = [
        (
            |h| h.cluster_id = "22222222-2222-4222-8222-222222222222".into(),
            ErrorCode::ForeignCluster,
        ),
        (
            |h| h.versions = Some(v1::VersionRange { min: 7, max: 9 }),
            ErrorCode::UnsupportedVersion,
        ),
        (|h| h.leader = 3, ErrorCode::NotYetKnown),
        (|h| h.broker = 3, ErrorCode::NotYetKnown),
        (
            |h| h.incarnation = Some(v1::Incarnation::default()),
            ErrorCode::BrokerFenced,
        ),
    ];
    for (change, code) in refused {
        let mut bad = hello();
        change(&mut bad);
        assert_eq!(greet(address, bad).await, Err(code));
    }
}

#[tokio::test]
async fn a_later_session_of_a_follower_ends_the_earlier_one_and_a_run_that_is_over_none() {
    let (_fixture, address) = leader().await;
    let first = Greeted::by(address, hello()).await.expect("welcome");
    let newer = FollowerHello {
        incarnation: Some(run(6)),
        ..hello()
    };
    let second = Greeted::by(address, newer).await.expect("welcome");
    assert_eq!(first.ended().await, ErrorCode::BrokerFenced);
    assert_eq!(greet(address, hello()).await, Err(ErrorCode::BrokerFenced));
    assert_eq!(second.hello.broker, 1);
}

#[tokio::test]
async fn a_connection_that_says_no_hello_does_not_keep_its_room() {
    let fixture = Fixture::start(1).await;
    let address = fixture.broker.replication_addr();
    let mut stranger = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    let mut byte = [0; 1 << 10];
    let closed = async {
        // Settings may come first.
        while stranger.read(&mut byte).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(DEADLINE, closed)
        .await
        .expect("closed");
}

/// The topic that the fake leader leads.
const LED: TopicId = TopicId::from_bytes([0x99; 16]);
/// Its number.
const FAKE: u32 = 9;

/// Answers each first position with a batch: where it belongs, or elsewhere.
#[derive(Debug, Default)]
struct FakeLeader {
    is_honest: AtomicBool,
    sessions: AtomicUsize,
}

impl FakeLeader {
    fn answer(&self, position: &v1::Position) -> v1::Answer {
        let base = if self.is_honest.load(Ordering::Relaxed) {
            position.fetch_offset as u64
        } else {
            position.fetch_offset as u64 + 7
        };
        let mut batches = batch(&["a", "b"]).to_vec();
        stamp(&mut batches, Offset(base), LeaderEpoch(1));
        let batches = v1::ReplicatedBatches {
            batches: batches.into(),
            append_time_ms: 1,
        };
        v1::Answer {
            topic_id: position.topic_id.clone(),
            partition: position.partition,
            leader_epoch: position.leader_epoch,
            asked_last_epoch: position.last_epoch,
            asked_offset: position.fetch_offset,
            outcome: Some(v1::answer::Outcome::Batches(batches)),
            ..v1::Answer::default()
        }
    }
}

impl FakeLeader {
    /// Until the follower has enough of it.
    async fn keep(
        &self,
        mut incoming: Streaming<FollowerMessage>,
        sender: UnboundedSender<Result<LeaderMessage, Status>>,
    ) {
        let say = |message| {
            let message = Some(message);
            // The follower may have gone.
            let _ = sender.send(Ok(LeaderMessage { message }));
        };
        while let Ok(Some(received)) = incoming.message().await {
            match received.message.expect("a message") {
                follower_message::Message::Hello(_) => {
                    say(leader_message::Message::Hello(v1::LeaderHello {
                        version: 1,
                        broker: FAKE,
                        incarnation: None,
                    }));
                }
                follower_message::Message::Positions(positions) => {
                    let mut positions = positions.positions.iter();
                    if let Some(first) = positions.find(|p| p.asks && p.fetch_offset == 0) {
                        let answers = vec![self.answer(first)];
                        let answers = v1::Answers {
                            answers,
                            clock_ms: 0,
                        };
                        say(leader_message::Message::Answers(answers));
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Shared(Arc<FakeLeader>);

#[async_trait]
impl Replication for Shared {
    type SessionStream = UnboundedReceiverStream<Result<LeaderMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<FollowerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let leader = Arc::clone(&self.0);
        leader.sessions.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move { leader.keep(request.into_inner(), sender).await });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }
}

/// A broker that follows the fake leader.
async fn followed(leader: FakeLeader) -> (Fixture, Arc<FakeLeader>) {
    let fixture = Fixture::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let leader = Arc::new(leader);
    let service = ReplicationServer::new(Shared(Arc::clone(&leader)));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    fixture.controller.add_broker(v1::BrokerRecord {
        number: FAKE,
        incarnation: Some(v1::Incarnation::default()),
        replication: Some(v1::Endpoint::parse(&address.to_string()).expect("valid")),
        ..v1::BrokerRecord::default()
    });
    let mut topic = Topic::new("led", &[FAKE]);
    (topic.replicas, topic.isr) = (vec![FAKE, 1], vec![FAKE, 1]);
    fixture.controller.put(LED, topic);
    (fixture, leader)
}

#[tokio::test]
async fn nothing_of_a_leader_that_sends_garbage_is_written_and_it_is_dialled_again() {
    let (fixture, leader) = followed(FakeLeader::default()).await;
    until("the garbage to be refused several times", async || {
        leader.sessions.load(Ordering::Relaxed) >= 3
    })
    .await;
    let report = fixture.controller.report_of(1, LED, 0).expect("a replica");
    assert_eq!(report.log_end_offset, 0);
    leader.is_honest.store(true, Ordering::Relaxed);
    until("what follows to be written", async || {
        let report = fixture.controller.report_of(1, LED, 0);
        report.is_some_and(|r| (r.log_end_offset, r.durable_end_offset) == (2, 2))
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_says_nothing_any_more_is_doubted_and_dialled_again() {
    let (fixture, leader) = followed(FakeLeader {
        is_honest: true.into(),
        ..FakeLeader::default()
    })
    .await;
    until("a doubt of its silence", async || {
        let doubts = fixture.controller.doubts(1);
        doubts
            .iter()
            .any(|d| d.broker == FAKE && !d.refused && d.silent_ms >= 2_000)
    })
    .await;
    until("another session", async || {
        leader.sessions.load(Ordering::Relaxed) >= 2
    })
    .await;
    until("no doubt", async || fixture.controller.doubts(1).is_empty()).await;
}
