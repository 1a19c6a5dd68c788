//! Obeying the controller, and going on without it.

use taffrail_api::v1::{
    GetMetadataRequest, ListTopicsRequest, admin_client::AdminClient, broker_client::BrokerClient,
    offset_query::Position,
};
use taffrail_broker::{DiskSettings, Environment, start_with};
use taffrail_core::{ErrorCode, TopicId};

use crate::{
    controller::Topic,
    fixture::{Fixture, TOPIC, batch, code, config, fetch_at, request, until, within},
};

fn partition_dir(fixture: &Fixture, partition: u32) -> std::path::PathBuf {
    fixture
        .dir
        .path()
        .join(format!("partitions/{TOPIC}-{partition}"))
}

#[tokio::test]
async fn a_replica_that_cannot_be_deleted_holds_nothing_up_and_is_deleted_once_it_can_be() {
    let fixture = Fixture::start(1).await;
    let partitions = fixture.dir.path().join("partitions");
    let replica = std::fs::read_dir(partitions).expect("there");
    let replica = replica.map(|entry| entry.expect("readable").path()).next();
    let in_the_way = replica.expect("one").join("no-file-of-ours");
    std::fs::create_dir_all(in_the_way.join("x")).expect("made");
    fixture.controller.forget(TOPIC);
    fixture.controller.order_delete(TOPIC, 0, 2);
    let other = TopicId::from_bytes([7; 16]);
    fixture.controller.put(other, Topic::new("other", &[1]));
    until("the next topic is served", async || {
        let report = fixture.controller.report(other, 0);
        report.is_some_and(|report| report.leading)
    })
    .await;
    assert!(fixture.controller.deletes_done().is_empty());
    assert_eq!(fixture.controller.registrations().len(), 1, "one session");
    fixture.controller.order_delete(TOPIC, 0, 2);
    let heard = fixture.controller.heartbeats();
    until("some heartbeats, after it has tried", async || {
        fixture.controller.heartbeats() > heard + 4
    })
    .await;
    assert!(fixture.controller.deletes_done().is_empty());
    // Nobody tells it any more.
    std::fs::remove_dir_all(in_the_way).expect("removed");
    until("the confirmation", async || {
        fixture.controller.deletes_done().len() == 1
    })
    .await;
}

#[tokio::test]
async fn partitions_are_added_without_a_restart() {
    let fixture = Fixture::start(1).await;
    fixture
        .put(Topic {
            partition_epoch: 2,
            generation: 2,
            ..Topic::new("flights", &[1, 1, 1])
        })
        .await;
    let mut client = fixture.client().await;
    client
        .produce(request(2, batch(&["a"])))
        .await
        .expect("stored");
}

#[tokio::test]
async fn a_partition_that_left_the_map_is_kept_and_not_served() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    fixture.controller.forget(TOPIC);
    until("the broker to hear of it", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| !r.leading)
    })
    .await;
    let error = client
        .produce(request(0, batch(&["b"])))
        .await
        .expect_err("not served");
    assert_eq!(error.code, ErrorCode::UnknownPartition);
    assert!(partition_dir(&fixture, 0).exists());
    // It comes back with the map.
    fixture.put(Topic::new("flights", &[1])).await;
    assert_eq!(client.values(0, 0).await, ["a"]);
}

#[tokio::test]
async fn a_partition_is_deleted_by_an_order_that_is_not_older_than_its_assignment() {
    let fixture = Fixture::start(2).await;
    let mut client = fixture.client().await;
    fixture
        .put(Topic {
            partition_epoch: 3,
            ..Topic::new("flights", &[1, 1])
        })
        .await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    fixture.controller.order_delete(TOPIC, 0, 2);
    fixture.controller.order_delete(TOPIC, 1, 3);
    until("the confirmation", async || {
        !fixture.controller.deletes_done().is_empty()
    })
    .await;
    let done = fixture.controller.deletes_done();
    assert_eq!(
        (done.len(), done[0].partition, done[0].partition_epoch),
        (1, 1, 3)
    );
    assert!(partition_dir(&fixture, 0).exists());
    assert!(!partition_dir(&fixture, 1).exists());
    assert_eq!(client.values(0, 0).await, ["a"]);
}

#[tokio::test]
async fn the_data_plane_goes_on_while_the_controller_is_away_and_after_a_restart_too() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    let config = config(&dir, &controller);
    drop(controller);
    client
        .produce(request(0, batch(&["b"])))
        .await
        .expect("stored without a controller");
    broker.stop().await;

    let broker = start_with(config, Environment::real(None))
        .await
        .expect("starts");
    let channel = crate::fixture::channel(&broker);
    let mut client =
        crate::fixture::Client::connect(channel.clone(), taffrail_api::stream::Route::Direct).await;
    let ack = client
        .produce(request(0, batch(&["c"])))
        .await
        .expect("resumes by itself");
    assert_eq!(ack.base_offset, 2);
    assert_eq!(client.values(0, 0).await, ["a", "b", "c"]);
    let metadata = BrokerClient::new(channel.clone())
        .get_metadata(GetMetadataRequest::default())
        .await;
    assert_eq!(
        metadata.expect("answers").into_inner().topics[0].name,
        "flights"
    );
    let status = AdminClient::new(channel)
        .list_topics(ListTopicsRequest::default())
        .await
        .expect_err("nobody to ask");
    assert_eq!(
        taffrail_api::status::from_status(&status).code,
        ErrorCode::ControllerUnavailable
    );
}

#[tokio::test]
async fn a_registration_tells_what_the_volume_holds() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a", "b"])))
        .await
        .expect("stored");
    let fixture = fixture.restart().await;
    let registrations = fixture.controller.registrations();
    let (first, second) = (&registrations[0], &registrations[1]);
    assert_eq!(first.broker_uuid, second.broker_uuid);
    assert_eq!(first.cluster_id, "");
    assert_eq!(second.cluster_id, crate::controller::CLUSTER);
    assert_eq!(
        second.candidates.len(),
        2,
        "the confirmed one and the pending one"
    );
    assert_eq!(second.broker_number, Some(1));
    assert_eq!(
        (
            second.stored[0].durable_end_offset,
            second.stored[0].last_epoch
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn metadata_is_watched() {
    let fixture = Fixture::start(1).await;
    let mut watched = BrokerClient::new(fixture.channel())
        .watch_metadata(GetMetadataRequest::default())
        .await
        .expect("opens")
        .into_inner();
    let first = within("metadata", watched.message())
        .await
        .expect("open")
        .expect("one");
    assert_eq!(first.topics[0].partitions.len(), 1);
    fixture
        .put(Topic {
            partition_epoch: 2,
            ..Topic::new("flights", &[1, 1])
        })
        .await;
    let second = within("a change", watched.message())
        .await
        .expect("open")
        .expect("one");
    assert_eq!(second.topics[0].partitions.len(), 2);
}

#[tokio::test]
async fn heartbeats_go_on() {
    let fixture = Fixture::start(1).await;
    let before = fixture.controller.heartbeats();
    until("heartbeats", async || {
        fixture.controller.heartbeats() > before + 3
    })
    .await;
}

#[tokio::test]
async fn a_smaller_retention_takes_effect_without_a_restart() {
    let fixture = with_expiry(20).await;
    let mut topic = Topic::new("flights", &[1]);
    topic.config.segment_bytes = 1 << 20;
    topic.generation = 2;
    fixture.put(topic.clone()).await;
    let mut client = fixture.client().await;
    let value = "x".repeat(600_000);
    for _ in 0..6 {
        client
            .produce(request(0, batch(&[&value])))
            .await
            .expect("stored");
    }
    assert_eq!(
        client
            .offset(0, Position::Earliest(true))
            .await
            .expect("found")
            .0,
        0
    );
    topic.config.retention_bytes_per_partition = Some(1 << 20);
    topic.generation = 3;
    fixture.put(topic.clone()).await;
    until("the oldest segments to go", async || {
        client
            .offset(0, Position::Earliest(true))
            .await
            .expect("found")
            .0
            >= 3
    })
    .await;
    until("the report", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| r.log_start_offset >= 3)
    })
    .await;
    // A configuration of the past does not count.
    topic.config.retention_bytes_per_partition = None;
    topic.generation = 2;
    fixture.put(topic).await;
    client
        .produce(request(0, batch(&["last"])))
        .await
        .expect("stored");
    let error = client
        .fetch(fetch_at(0, 0), 0)
        .await
        .error
        .expect("expired");
    assert_eq!(code(error), ErrorCode::OffsetOutOfRange);
}

#[tokio::test]
async fn what_a_page_cache_topic_acknowledged_is_there_after_a_restart() {
    let fixture = Fixture::start(1).await;
    fixture.put_page_cache().await;
    let mut client = fixture.client().await;
    for i in 0..100 {
        client.send(request(0, batch(&[&format!("{i}")])));
    }
    for expected in 0..100 {
        assert_eq!(
            client.answer().await.1.expect("stored").base_offset,
            expected
        );
    }
    let fixture = fixture.restart().await;
    assert_eq!(fixture.client().await.values(0, 0).await.len(), 100);
}

async fn with_expiry(expire_interval_ms: u64) -> Fixture {
    let disk = DiskSettings {
        expire_interval_ms,
        ..DiskSettings::default()
    };
    Fixture::in_environment(1, Environment::real(None), disk).await
}

#[tokio::test]
async fn an_update_without_a_stamp_of_an_older_one_or_of_no_cluster_ends_the_session_and_changes_nothing()
 {
    let fixture = Fixture::start(1).await;
    let nonsense: [fn(&mut taffrail_api::v1::MetadataUpdate); 3] = [
        |update| update.stamp = None,
        |update| update.stamp.as_mut().expect("stamped").sequence = 0,
        |update| update.cluster_id = "main".into(),
    ];
    for change in nonsense {
        let before = fixture.controller.registrations().len();
        fixture.controller.say(|update| {
            update.topics.clear();
            update.partitions.clear();
            change(update);
        });
        until("another registration", async || {
            fixture.controller.registrations().len() > before
        })
        .await;
        let mut client = fixture.client().await;
        client
            .produce(request(0, batch(&["a"])))
            .await
            .expect("served on");
    }
}
