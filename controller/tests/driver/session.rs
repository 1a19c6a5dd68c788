//! Sessions of brokers.

use taffrail_api::v1::{
    self, ApplyTopicRequest, admin_client::AdminClient, controller_client::ControllerClient,
    controller_message::Message,
};
use taffrail_controller::{Environment, MemoryStore, Mode, start};
use taffrail_core::ErrorCode;

use crate::{
    DEADLINE, config,
    fake_broker::{FakeBroker, Volume},
    is_true, memory_controller, serve, spec, until,
};

fn refusal(message: Option<Message>) -> v1::Error {
    match message {
        Some(Message::Refused(refused)) => refused.error.expect("says why"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_restarted_broker_keeps_its_number_and_leads_under_a_higher_epoch() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let mut broker = FakeBroker::start(&address, Volume::new(1));
    let first = broker.registered().await;
    handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let before = handle.partitions(&[])[0].clone();

    let mut broker = FakeBroker::start(&address, broker.stop().await);
    assert_eq!(broker.registered().await.broker_number, first.broker_number);
    until(&handle, "ready again", |view| {
        let partition = &view.partitions["flights"][0];
        partition.state == "ONLINE" && partition.leader_epoch > before.leader_epoch
    })
    .await;
}

#[tokio::test]
async fn a_new_session_of_the_same_process_changes_no_epoch_and_writes_nothing() {
    let (store, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let broker = FakeBroker::start(&address, Volume::new(1));
    handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let (puts, epoch) = (store.puts(), handle.partitions(&[])[0].leader_epoch);

    let mut broker = FakeBroker::resume(&address, broker.stop().await);
    broker.registered().await;
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    assert_eq!(
        (store.puts(), handle.partitions(&[])[0].leader_epoch),
        (puts, epoch)
    );
}

#[tokio::test]
async fn a_volume_of_another_cluster_is_refused() {
    let (_, handle) = memory_controller().await;
    let volume = Volume {
        cluster_id: "6f1c5c6a-0123-4567-89ab-cdef00112233".to_owned(),
        ..Volume::new(1)
    };
    let mut broker = FakeBroker::start(&serve(&handle).await, volume);
    let error = refusal(broker.ended().await);
    assert_eq!(error.code(), v1::ErrorCode::ForeignCluster);
    assert!(handle.brokers().is_empty());
}

#[tokio::test]
async fn the_older_of_two_processes_on_one_volume_is_fenced() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let mut older = FakeBroker::start(&address, Volume::new(1));
    older.registered().await;
    let next = Volume {
        generation: 1,
        ..Volume::new(1)
    };
    let mut newer = FakeBroker::start(&address, next);
    newer.registered().await;
    assert_eq!(
        refusal(older.ended().await).code(),
        v1::ErrorCode::BrokerFenced
    );

    let mut again = FakeBroker::resume(&address, older.stop().await);
    assert_eq!(
        refusal(again.ended().await).code(),
        v1::ErrorCode::BrokerFenced
    );
}

#[tokio::test]
async fn an_older_copy_of_a_volume_leads_nothing() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let broker = FakeBroker::start(&address, Volume::new(1));
    handle
        .apply_topic("flights", spec(1), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let backup = broker.stop().await;
    let newer = Volume {
        generation: 7,
        ..backup.clone()
    };
    let mut newer = FakeBroker::start(&address, newer);
    newer.registered().await;
    newer.stop().await;
    until(&handle, "gone", |view| view.brokers[0].state == "OFFLINE").await;

    let mut broker = FakeBroker::start(&address, backup);
    broker.registered().await;
    until(&handle, "offline", |view| {
        let partition = &view.partitions["flights"][0];
        partition.state == "OFFLINE" && partition.leader.is_none() && partition.isr == [0]
    })
    .await;
}

#[tokio::test]
async fn a_silent_or_lost_broker_is_shown_and_its_partitions_are_offline() {
    let (_, handle) = memory_controller().await;
    let broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    handle
        .apply_topic("flights", spec(1), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    // It sends a heartbeat only when it is told something: soon it is silent.
    until(&handle, "suspected", |view| {
        view.brokers[0].state == "SUSPECT"
    })
    .await;
    broker.stop().await;
    until(&handle, "offline", |view| {
        view.brokers[0].state == "OFFLINE"
    })
    .await;
    let view = handle.view();
    assert_eq!(view.topics["flights"].partitions_offline, 1);
    assert_eq!(
        crate::condition(&view, "flights", "Ready"),
        Some(("False".to_owned(), "PartitionsOffline".to_owned()))
    );
    assert_eq!(
        view.partitions["flights"][0].leader,
        Some(0),
        "nobody else can lead it"
    );
}

#[tokio::test]
async fn a_register_that_makes_no_sense_is_refused_with_its_field() {
    let (_, handle) = memory_controller().await;
    let volume = Volume {
        name: String::new(),
        ..Volume::new(1)
    };
    let mut broker = FakeBroker::start(&serve(&handle).await, volume);
    let error = refusal(broker.ended().await);
    assert_eq!(error.code(), v1::ErrorCode::InvalidRequest);
    assert!(error.message.contains("name"), "{}", error.message);
}

#[tokio::test]
async fn a_standby_tells_where_to_look() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = tonic::transport::Server::builder()
        .add_service(taffrail_controller::standby("main-operator-1"))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let mut client = ControllerClient::connect(format!("http://{address}"))
        .await
        .expect("reachable");
    let session = client
        .session(tokio_stream::pending())
        .await
        .expect("answers");
    let first = tokio::time::timeout(DEADLINE, session.into_inner().message()).await;
    let first = first
        .expect("at once")
        .expect("no error")
        .expect("a message");
    let Some(Message::NotActive(not_active)) = first.message else {
        panic!("{first:?}")
    };
    assert_eq!(not_active.hint, "main-operator-1");
    server.abort();
}

#[tokio::test]
async fn topics_of_a_cluster_on_kubernetes_are_kubectls() {
    let mut config = config(1);
    config.mode = Mode::Kubernetes {
        namespace: "streams".to_owned(),
    };
    let handle = start(MemoryStore::default(), config, Environment::system())
        .await
        .expect("takes office");
    let address = format!("http://{}", serve(&handle).await);
    let mut admin = AdminClient::connect(address).await.expect("reachable");
    let request = ApplyTopicRequest {
        name: "flights".to_owned(),
        spec: Some(v1::TopicSpec::default()),
        dry_run: false,
    };
    let status = admin.apply_topic(request).await.expect_err("managed");
    let error = taffrail_api::status::from_status(&status);
    assert_eq!(error.code, ErrorCode::ManagedByKubernetes);
    assert!(
        error.message.contains("kubectl apply -n streams"),
        "{error}"
    );
}
