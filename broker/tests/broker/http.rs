//! /metrics, /livez, /readyz, PUT /log-level; health and reflection.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use taffrail_broker::{BrokerConfig, BrokerError, DiskSettings, Environment, run_with, start_with};
use taffrail_core::ErrorCode;
use taffrail_log::sim::SimDisk;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    controller::FakeController,
    fixture::{Fixture, TOPIC, batch, config, request, until, within},
};

/// Status line and body of one HTTP/1.1 exchange.
pub(crate) async fn ask(
    broker: &taffrail_broker::RunningBroker,
    head: &str,
    body: &str,
) -> (String, String) {
    ask_at(broker.http_addr().expect("listens"), head, body).await
}

async fn ask_at(address: std::net::SocketAddr, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let text = format!(
        "{head} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer))
        .await
        .expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (
        head.lines().next().expect("a status").to_owned(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn metrics_have_their_documented_names() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a", "b"])))
        .await
        .expect("stored");
    client
        .produce(request(0, bytes::Bytes::new()))
        .await
        .expect_err("nothing");
    client.values(0, 0).await;
    // An answer is sent before the room of its request is given back.
    until("the queue to be empty", async || {
        let (_, text) = ask(&fixture.broker, "GET /metrics", "").await;
        text.contains("taffrail_broker_queue_bytes 0")
    })
    .await;
    let (status, text) = ask(&fixture.broker, "GET /metrics", "").await;
    assert!(status.contains("200"), "{status}");
    for line in [
        "taffrail_broker_produce_records_total{topic=\"flights\"} 2",
        "taffrail_broker_produce_bytes_total{topic=\"flights\"} ",
        "taffrail_broker_fetch_bytes_total{topic=\"flights\"} ",
        "taffrail_broker_requests_total{call=\"produce\"} 2",
        "taffrail_broker_errors_total{call=\"produce\",code=\"INVALID_REQUEST\"} 1",
        "taffrail_broker_produce_seconds_count 2",
        "taffrail_broker_sync_seconds_count ",
        "taffrail_broker_group_bytes_count ",
        "taffrail_broker_connections 1",
        "taffrail_broker_controller_connected 1",
        "taffrail_broker_partitions{state=\"leader\"} 1",
        "taffrail_broker_partition_high_watermark{topic=\"flights\",partition=\"0\"} 2",
        "taffrail_broker_partition_log_bytes{topic=\"flights\",partition=\"0\"} ",
        "taffrail_broker_disk_free_bytes ",
        "taffrail_broker_disk_full 0",
        "taffrail_broker_queue_bytes 0",
        "taffrail_broker_open_files ",
        "taffrail_broker_open_files_max ",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_broker_is_live_at_once_and_ready_once_registered() {
    let fixture = Fixture::start(1).await;
    assert!(
        ask(&fixture.broker, "GET /livez", "")
            .await
            .0
            .contains("200")
    );
    assert!(
        ask(&fixture.broker, "GET /readyz", "")
            .await
            .0
            .contains("200")
    );

    let controller = FakeController::start().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let config = config(&dir, &controller);
    drop(controller);
    let alone = start_with(config, Environment::real(None))
        .await
        .expect("starts");
    assert!(ask(&alone, "GET /livez", "").await.0.contains("200"));
    let (status, reason) = ask(&alone, "GET /readyz", "").await;
    assert!(status.contains("503"), "{status}");
    assert!(reason.contains("not registered"), "{reason}");
}

#[tokio::test]
async fn a_broker_is_live_and_not_ready_while_it_opens_its_logs() {
    let disk = SimDisk::new(1);
    let on = |disk: &SimDisk| Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::real(None)
    };
    let no_reserve = DiskSettings {
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(1, on(&disk), no_reserve.clone()).await;
    let mut client = fixture.client().await;
    let stored = client.produce(request(0, batch(&["a"]))).await;
    stored.expect("stored");
    drop(client);
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    let address = broker.http_addr().expect("listens");
    // As a crash would leave it: what recovery finds is written down.
    let disk = disk.copy(2);
    broker.stop().await;
    // Partitions are looked for on the real disk, also where another one has their files.
    let partition = dir.path().join(format!("partitions/{TOPIC}-0"));
    fs::create_dir_all(&partition).expect("it can be made");
    let again = BrokerConfig {
        http_listen: Some(address),
        disk: no_reserve,
        ..config(&dir, &controller)
    };
    let held = disk.hold("checkpoint");
    let starting = tokio::spawn(start_with(again.clone(), on(&disk)));
    until("a log that is being opened", async || {
        held.waiting() > 0 || starting.is_finished()
    })
    .await;
    assert!(!starting.is_finished(), "nothing holds it");
    let (status, _) = ask_at(address, "GET /livez", "").await;
    assert!(status.contains("200"), "{status}");
    let (status, reason) = ask_at(address, "GET /readyz", "").await;
    assert!(status.contains("503"), "{status}");
    assert_eq!(reason, "recovering\n");
    let (_, text) = ask_at(address, "GET /metrics", "").await;
    assert!(text.contains("taffrail_broker_connections 0"), "{text}");
    drop(held);
    let broker = starting.await.expect("no panic").expect("starts");
    within("registration", broker.ready()).await;
    let (status, _) = ask(&broker, "GET /readyz", "").await;
    assert!(status.contains("200"), "{status}");
    let (_, text) = ask(&broker, "GET /metrics", "").await;
    assert!(text.contains("taffrail_broker_disk_full 0"), "{text}");

    // Told to end meanwhile, it does not wait for its logs.
    let disk = disk.copy(3);
    broker.stop().await;
    let held = disk.hold("checkpoint");
    let told_to_end = until("a log that is being opened", async || held.waiting() > 0);
    let ended = run_with(again, on(&disk), told_to_end);
    within("the end", ended).await.expect("nothing failed");
    assert!(held.waiting() > 0, "it is still being opened");
}

#[tokio::test]
async fn the_log_level_changes_only_where_there_is_one() {
    let fixture = Fixture::start(1).await;
    let (status, _) = ask(&fixture.broker, "PUT /log-level", "debug").await;
    assert!(status.contains("501"), "{status}");
}

/// An address of this machine that is not loopback, as a scraper would come from. None: the machine has no network.
async fn outer_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: the kernel only looks for a route.
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect("192.0.2.1:9").await.ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback()).then_some(ip)
}

#[tokio::test]
async fn the_log_level_changes_only_from_the_machine_itself() {
    let controller = FakeController::start().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let everywhere = BrokerConfig {
        http_listen: Some("0.0.0.0:0".parse().expect("address")),
        ..config(&dir, &controller)
    };
    let broker = start_with(everywhere, Environment::real(None))
        .await
        .expect("starts");
    let port = broker.http_addr().expect("listens").port();
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    // This process has no level to change, and says so to whoever may ask.
    let (status, _) = ask_at(local, "PUT /log-level", "debug").await;
    assert!(status.contains("501"), "{status}");
    let Some(outer) = outer_address().await else {
        return;
    };
    let (status, said) = ask_at((outer, port).into(), "PUT /log-level", "debug").await;
    assert!(status.contains("403"), "{status}");
    assert!(said.contains("port-forward"), "{said}");
    let (status, _) = ask_at((outer, port).into(), "GET /livez", "").await;
    assert!(status.contains("200"), "{status}");
}

#[tokio::test]
async fn silent_connections_keep_no_probe_from_its_answer() {
    let fixture = Fixture::start(1).await;
    let address = fixture.broker.http_addr().expect("listens");
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    for _ in 0..3 {
        assert!(
            ask(&fixture.broker, "GET /livez", "")
                .await
                .0
                .contains("200")
        );
    }
    let mut heard = Vec::new();
    // Closed or reset: the oldest made way.
    let _ = within("the end", silent[0].read_to_end(&mut heard)).await;
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let fixture = Fixture::start(1).await;
    let health = HealthClient::new(fixture.channel())
        .check(HealthCheckRequest {
            service: "taffrail.v1.Broker".into(),
        })
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut answers = ServerReflectionClient::new(fixture.channel())
        .server_reflection_info(futures::stream::iter([list]))
        .await
        .expect("opens")
        .into_inner();
    let answer = answers.message().await.expect("answers").expect("one");
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}");
    };
    assert!(
        services
            .service
            .iter()
            .any(|s| s.name == "taffrail.v1.Broker"),
        "{services:?}"
    );
}

/// A clock that the disk-writer thread dies of, once told so.
fn deadly_clock() -> (Environment, Arc<AtomicBool>) {
    let deadly = Arc::new(AtomicBool::new(false));
    let (real, armed) = (Environment::real(None), Arc::clone(&deadly));
    let clock = Arc::clone(&real.clock);
    let environment = Environment {
        clock: Arc::new(move || {
            let is_writer = std::thread::current().name() == Some("disk-writer");
            assert!(!(is_writer && armed.load(Ordering::Acquire)), "injected");
            clock()
        }),
        ..real
    };
    (environment, deadly)
}

#[tokio::test]
async fn a_broker_whose_disk_thread_panics_is_not_ready_and_fails() {
    let (environment, deadly) = deadly_clock();
    let mut fixture = Fixture::in_environment(1, environment, DiskSettings::default()).await;
    let mut client = fixture.client().await;
    deadly.store(true, Ordering::Release);
    let error = client
        .produce(request(0, batch(&["a"])))
        .await
        .expect_err("nobody writes");
    assert_eq!(error.code, ErrorCode::ShuttingDown);
    let failure = within("the failure", fixture.broker.failed()).await;
    assert!(matches!(failure, BrokerError::DiskThread), "{failure}");
    let (status, body) = ask(&fixture.broker, "GET /readyz", "").await;
    assert!(status.contains("503"), "{status}");
    assert_eq!(body, "a disk thread panicked\n");
    within("the stop", fixture.broker.stop()).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let fixture = Fixture::start(1).await;
    let mut silent = TcpStream::connect(fixture.broker.client_addr())
        .await
        .expect("connects");
    let mut heard = Vec::new();
    // Closed or reset: either way it takes no room any more.
    let _ = within("the end", silent.read_to_end(&mut heard)).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("others are served");
}
