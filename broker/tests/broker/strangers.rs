//! What a stranger may ask for, over real connections: a clear error, and others are served.

use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, stream};
use http::Request;
use http_body::Frame;
use taffrail_api::{
    status::from_status,
    stream::{Route, fetch},
    v1::{
        FetchRequest, GetMetadataRequest, ListOffsetsRequest, OffsetQuery, PublishRecord,
        PublishRequest, SubscribeRequest, broker_client::BrokerClient,
        gateway_client::GatewayClient,
    },
};
use taffrail_core::ErrorCode;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::{
    controller::{FakeController, Topic},
    fixture::{Client, Fixture, TOPIC, batch, channel_to, code, fetch_at, request, until, within},
};

async fn others_are_served(fixture: &Fixture) {
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["honest"])))
        .await
        .expect("stored");
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (ErrorCode, String) {
    let error = from_status(&answer.expect_err("refused"));
    (error.code, error.message)
}

#[tokio::test]
async fn metadata_of_a_million_topics_is_refused() {
    let fixture = Fixture::start(1).await;
    let mut client = BrokerClient::new(fixture.channel());
    for topics in [20_000, 1_000_000] {
        let named = GetMetadataRequest {
            topics: vec!["t".to_owned(); topics],
        };
        let (got, message) = refused(client.get_metadata(named.clone()).await);
        assert_eq!(got, ErrorCode::InvalidRequest, "{message}");
        refused(client.watch_metadata(named).await);
    }
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn a_subscription_to_a_million_partitions_is_refused() {
    let fixture = Fixture::start(1).await;
    let mut client = GatewayClient::new(fixture.channel());
    let subscribe = SubscribeRequest {
        topic: "flights".into(),
        partitions: vec![0; 200_000],
        ..SubscribeRequest::default()
    };
    let (got, message) = refused(client.subscribe(subscribe).await);
    assert_eq!(got, ErrorCode::InvalidRequest, "{message}");
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn offsets_of_too_many_partitions_are_refused() {
    let fixture = Fixture::start(1).await;
    let request = ListOffsetsRequest {
        queries: vec![OffsetQuery::default(); 20_000],
    };
    let answer = BrokerClient::new(fixture.channel())
        .list_offsets(request)
        .await;
    let (got, message) = refused(answer);
    assert_eq!(got, ErrorCode::InvalidRequest, "{message}");
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn a_fetch_of_too_many_partitions_is_told_so_once_and_the_stream_goes_on() {
    let fixture = Fixture::start(1).await;
    let (requests, stream) = mpsc::unbounded();
    let mut answers = fetch(fixture.channel(), Route::Direct, stream)
        .await
        .expect("opens");
    for partitions in [20_000, 1] {
        let request = FetchRequest {
            request_id: partitions as u64,
            partitions: vec![fetch_at(0, 0); partitions],
            ..FetchRequest::default()
        };
        requests.unbounded_send(request).expect("open");
        let answer = within("an answer", answers.next())
            .await
            .expect("open")
            .expect("an answer");
        assert_eq!(answer.request_id, partitions as u64);
        let [only] = &answer.partitions[..] else {
            panic!("{} answers", answer.partitions.len());
        };
        let error = only.error.clone().map(code);
        assert_eq!(error, (partitions > 1).then_some(ErrorCode::InvalidRequest));
    }
}

#[tokio::test]
async fn fetches_that_wait_for_too_many_partitions_are_refused_and_others_wait_on() {
    let fixture = Fixture::start(1).await;
    let (requests, stream) = mpsc::unbounded();
    let mut answers = fetch(fixture.channel(), Route::Direct, stream)
        .await
        .expect("opens");
    for request_id in 1..=3 {
        let request = FetchRequest {
            request_id,
            partitions: vec![fetch_at(0, 0); 9_000],
            max_wait_ms: 60_000,
            ..FetchRequest::default()
        };
        requests.unbounded_send(request).expect("open");
    }
    let answer = within("the refusal", answers.next())
        .await
        .expect("open")
        .expect("an answer");
    assert_eq!(answer.request_id, 3);
    let error = answer.partitions[0].error.clone().map(code);
    assert_eq!(error, Some(ErrorCode::ResourceExhausted));
    others_are_served(&fixture).await;
    let answer = within("a record", answers.next())
        .await
        .expect("open")
        .expect("an answer");
    assert_eq!(answer.partitions[0].error, None);
}

#[tokio::test]
async fn a_million_empty_records_are_refused_before_they_are_decoded() {
    let fixture = Fixture::start(1).await;
    let mut client = GatewayClient::new(fixture.channel());
    let publish = PublishRequest {
        topic: "flights".into(),
        records: vec![PublishRecord::default(); 1_000_000],
        timeout_ms: 0,
    };
    let (got, message) = refused(client.publish(publish).await);
    assert_eq!(got, ErrorCode::InvalidRequest);
    assert!(message.contains("more than 10000 records"), "{message}");
    let header = taffrail_api::v1::Header::default();
    let publish = PublishRequest {
        topic: "flights".into(),
        records: vec![PublishRecord {
            headers: vec![header; 200_000],
            ..PublishRecord::default()
        }],
        timeout_ms: 0,
    };
    let (got, message) = refused(client.publish(publish).await);
    assert_eq!(got, ErrorCode::InvalidRequest);
    assert!(message.contains("more than 100000 headers"), "{message}");
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn headers_larger_than_any_client_sends_are_refused() {
    let fixture = Fixture::start(1).await;
    let mut huge = tonic::Request::new(GetMetadataRequest::default());
    let value = "x".repeat(60_000).parse().expect("a value");
    huge.metadata_mut().insert("huge", value);
    let answer = BrokerClient::new(fixture.channel())
        .get_metadata(huge)
        .await;
    answer.expect_err("refused");
    others_are_served(&fixture).await;
}

#[tokio::test]
async fn more_calls_than_a_connection_may_have_are_refused_and_other_connections_have_theirs() {
    let fixture = Fixture::with_limits(taffrail_broker::Limits {
        calls_max: 1,
        ..taffrail_broker::Limits::default()
    })
    .await;
    let mut client = BrokerClient::new(fixture.channel());
    let mut watches = Vec::new();
    let refusal = loop {
        match client.watch_metadata(GetMetadataRequest::default()).await {
            Ok(watch) => watches.push(watch.into_inner()),
            Err(status) => break from_status(&status),
        }
        assert!(watches.len() < 100, "nobody refuses");
    };
    assert_eq!(watches.len(), 9, "eight of its own, and one of all");
    assert_eq!(
        (refusal.code, refusal.retriable),
        (ErrorCode::ResourceExhausted, true)
    );
    others_are_served(&fixture).await;
    watches.clear();
    within("room", async {
        while client
            .get_metadata(GetMetadataRequest::default())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn batches_above_a_connections_own_room_are_stored_one_after_the_other() {
    let fixture = Fixture::with_limits(taffrail_broker::Limits {
        intake_bytes_max: 1 << 20,
        ..taffrail_broker::Limits::default()
    })
    .await;
    let value = "x".repeat(900_000);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(fixture.client().await);
    }
    for _ in 0..3 {
        for client in &mut clients {
            client.send(request(0, batch(&[&value])));
        }
    }
    for client in &mut clients {
        for _ in 0..3 {
            client.answer().await.1.expect("stored");
        }
    }
}

/// A broker in a process of its own, whose memory can be seen. Killed when dropped.
struct Alone {
    process: Child,
    address: String,
    controller: FakeController,
    _dir: tempfile::TempDir,
}

impl Alone {
    async fn start() -> Self {
        const FREE: &str = "127.0.0.1:0";
        let controller = FakeController::start().await;
        let dir = tempfile::tempdir().expect("temp dir");
        let config = dir.path().join("broker.toml");
        let text = format!(
            "data_dir = \"{}\"\nclient_listen = {FREE:?}\nreplication_listen = {FREE:?}\nhttp_listen = {FREE:?}\ncontrollers = [{:?}]\n",
            dir.path().join("data").display(),
            controller.addr.to_string(),
        );
        std::fs::write(&config, text).expect("writes");
        let process = Command::new(env!("CARGO_BIN_EXE_taffrail-broker"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        controller.put(TOPIC, Topic::new("flights", &[1]));
        until("the partition is served", async || {
            controller.report(TOPIC, 0).is_some_and(|r| r.leading)
        })
        .await;
        let registered = controller.registrations().remove(0);
        let client = registered.client_endpoint.expect("it says where it is");
        Self {
            process,
            address: format!("{}:{}", client.host, client.port),
            controller,
            _dir: dir,
        }
    }

    fn anonymous_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
        kib.and_then(|n| n.parse::<u64>().ok()).expect("a number") << 10
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Half of a message of sixteen mebibytes, and then nothing. The call ends when what is returned is dropped.
fn half_a_message(mut channel: Channel, path: &'static str) -> tokio::task::JoinHandle<()> {
    static ZEROES: [u8; 1 << 20] = [0; 1 << 20];
    let prefix = Bytes::from_static(&[0, 1, 0, 0, 0]);
    let half = std::iter::repeat_n(Bytes::from_static(&ZEROES), 8);
    let frames = stream::iter(std::iter::once(prefix).chain(half))
        .map(|slice| Ok::<_, Status>(Frame::data(slice)))
        .chain(stream::pending());
    let mut request = Request::new(Body::new(http_body_util::StreamBody::new(frames)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    let grpc = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", grpc);
    tokio::spawn(async move {
        let Ok(channel) = channel.ready().await else {
            return;
        };
        if let Ok(response) = channel.call(request).await {
            let mut body = http_body_util::BodyStream::new(response.into_body());
            while let Some(Ok(_)) = body.next().await {}
        }
    })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn half_messages_take_a_bounded_memory_and_honest_clients_go_on() {
    // Without limits it would be the two gibibytes that are sent.
    const MAX: u64 = 320 << 20;
    const STRANGERS: usize = 256;
    /// Of sixteen mebibytes each, in the 64 that all have together.
    const WITH_ROOM: usize = 4;
    const PATIENCE: std::time::Duration = std::time::Duration::from_mins(3);
    let broker = Alone::start().await;
    let mut honest = Client::connect(channel_to(&broker.address), Route::Direct).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let channel = channel_to(&broker.address);
        for i in 0..STRANGERS / 4 {
            let path = match i % 2 {
                0 => "/taffrail.v1.Broker/Produce",
                _ => "/taffrail.v1.Gateway/Publish",
            };
            strangers.push(half_a_message(channel.clone(), path));
        }
    }
    let value = "x".repeat(200_000);
    let mut most = 0;
    let began = tokio::time::Instant::now();
    let mut stored = 0;
    // Until those that waited in vain have been refused too.
    let mut refused = 0;
    while refused < STRANGERS - WITH_ROOM || stored <= 20 {
        assert!(
            began.elapsed() < PATIENCE,
            "{refused} were refused, {stored} records stored"
        );
        honest
            .produce(request(0, batch(&[&value])))
            .await
            .expect("an honest client goes on");
        stored += 1;
        most = broker.anonymous_bytes().max(most);
        assert!(most < MAX, "{most} bytes after {stored} records");
        refused = strangers.iter().filter(|s| s.is_finished()).count();
    }
    assert!(most > 40 << 20, "the strangers were heard: {most}");
    assert!(broker.controller.heartbeats() > 0);
}
