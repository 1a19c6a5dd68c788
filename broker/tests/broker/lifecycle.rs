//! Starting, being refused, stopping.

use taffrail_api::v1;
use taffrail_broker::{Environment, start_with};
use taffrail_core::ErrorCode;
use tempfile::TempDir;

use crate::{
    controller::FakeController,
    fixture::{Fixture, batch, config, request, until, within},
};

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused() {
    let fixture = Fixture::start(1).await;
    let Fixture { dir, broker, .. } = fixture;
    broker.stop().await;
    let foreign = FakeController::of_cluster("22222222-2222-4222-8222-222222222222", 9).await;
    let mut broker = start_with(config(&dir, &foreign), Environment::real(None))
        .await
        .expect("starts");
    let error = within("the refusal", broker.failed()).await;
    assert_eq!(error.code(), ErrorCode::ForeignCluster);
    assert!(
        error.to_string().contains("use the right data directory"),
        "{error}"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_broker() {
    let controller = FakeController::start().await;
    controller.refuse(v1::Error {
        code: v1::ErrorCode::UnsupportedVersion.into(),
        retriable: false,
        message: "upgrade the broker".into(),
    });
    let dir = tempfile::tempdir().expect("temp dir");
    let mut broker = start_with(config(&dir, &controller), Environment::real(None))
        .await
        .expect("starts");
    let error = within("the refusal", broker.failed()).await;
    assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
}

#[tokio::test]
async fn a_broker_that_stops_serves_until_others_lead() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    fixture.controller.be_slow_to_hand_over();
    let controller = fixture.controller;
    let stop = tokio::spawn(fixture.broker.stop());
    until("it says that it stops", async || {
        controller.stopping() == [1]
    })
    .await;
    let stored = client.produce(request(0, batch(&["a"]))).await;
    assert_eq!(stored.expect("still served").base_offset, 0);
    controller.hand_over();
    within("the stop", stop).await.expect("stopped");
    assert_eq!(controller.stopping(), [1], "said once");
}

#[tokio::test]
async fn a_controller_that_does_not_answer_keeps_no_broker_from_stopping() {
    let fixture = Fixture::start(1).await;
    fixture.controller.be_slow_to_hand_over();
    within("the stop", fixture.broker.stop()).await;
    assert_eq!(fixture.controller.stopping(), [1]);
}

/// The data directory of a broker that was stopped, and its controller.
async fn stopped() -> (TempDir, FakeController) {
    let Fixture {
        dir,
        broker,
        controller,
    } = Fixture::start(1).await;
    broker.stop().await;
    (dir, controller)
}

#[tokio::test]
async fn a_data_directory_of_a_newer_format_is_refused() {
    let (dir, controller) = stopped().await;
    let path = dir.path().join("identity");
    let text = std::fs::read_to_string(&path).expect("reads");
    std::fs::write(&path, text.replace("format=1", "format=2")).expect("writes");
    let error = start_with(config(&dir, &controller), Environment::real(None))
        .await
        .expect_err("newer");
    assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
    assert!(
        error
            .to_string()
            .contains("start the release that wrote it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_identity_is_an_error_and_not_a_new_broker() {
    let (dir, controller) = stopped().await;
    let path = dir.path().join("identity");
    let text = std::fs::read_to_string(&path).expect("reads");
    std::fs::write(&path, text.replace("broker_uuid", "broker_uuie")).expect("writes");
    let error = start_with(config(&dir, &controller), Environment::real(None))
        .await
        .expect_err("damaged");
    assert!(
        error.to_string().contains("identity is unreadable"),
        "{error}"
    );
    assert_eq!(error.code(), ErrorCode::StorageError, "not a bug");
}

/// A volume that was restored in part: it would take part as a new broker, or without what it was told.
#[tokio::test]
async fn without_its_identity_or_metadata_a_broker_that_has_partitions_does_not_start() {
    let (dir, controller) = stopped().await;
    for name in ["identity", "metadata"] {
        let path = dir.path().join(name);
        let kept = std::fs::read(&path).expect("reads");
        std::fs::remove_file(&path).expect("removes");
        let error = start_with(config(&dir, &controller), Environment::real(None))
            .await
            .expect_err("it is missing");
        assert!(
            error
                .to_string()
                .contains(&format!("{name} is unreadable: it is missing")),
            "{error}"
        );
        assert!(!path.exists(), "nothing was made in its place");
        std::fs::write(&path, kept).expect("writes");
    }
    start_with(config(&dir, &controller), Environment::real(None))
        .await
        .expect("starts again")
        .stop()
        .await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_produce_loses_nothing_acknowledged() {
    let fixture = Fixture::start(4).await;
    let mut client = fixture.client().await;
    for i in 0..2_000 {
        client.send(request(i % 4, batch(&[&format!("{}", i / 4)])));
    }
    let (_, first) = client.answer().await;
    first.expect("stored");
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    let ((), (acknowledged, end)) = tokio::join!(broker.stop(), async {
        let mut acknowledged = 1;
        loop {
            match within("an answer", client.next_result()).await {
                Ok(true) => acknowledged += 1,
                Ok(false) => {}
                Err(error) => return (acknowledged, error),
            }
        }
    });
    assert_eq!(end.code, ErrorCode::ShuttingDown, "{end}");

    let broker = start_with(config(&dir, &controller), Environment::real(None))
        .await
        .expect("starts");
    within("registration", broker.ready()).await;
    let fixture = Fixture {
        dir,
        controller,
        broker,
    };
    let client = fixture.client().await;
    let mut total = 0;
    for partition in 0..4 {
        let stored = client.values(partition, 0).await;
        let expected: Vec<_> = (0..stored.len()).map(|i| i.to_string()).collect();
        assert_eq!(stored, expected);
        total += stored.len();
    }
    assert!(
        total >= acknowledged,
        "{total} stored, {acknowledged} acknowledged"
    );
}
