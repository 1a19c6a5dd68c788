//! Internal topics, over files.

use taffrail_api::{
    status::from_status,
    v1::{DeleteTopicRequest, admin_client::AdminClient},
};
use taffrail_controller::{ControllerConfig, ControllerHandle, Environment, FileStore, start};
use taffrail_core::{
    ErrorCode,
    internal::{OFFSETS, OFFSETS_PARTITIONS_DEFAULT},
};
use tempfile::TempDir;

use crate::{
    config,
    fake_broker::{FakeBroker, Volume},
    is_true, serve, spec, until,
};

async fn controller(dir: &TempDir) -> ControllerHandle {
    let mut config: ControllerConfig = config(1);
    config.defaults.offsets_partitions = OFFSETS_PARTITIONS_DEFAULT;
    let store = FileStore::open(dir.path()).expect("free");
    start(store, config, Environment::system())
        .await
        .expect("takes office")
}

async fn until_ready(handle: &ControllerHandle) {
    until(handle, "ready", |view| is_true(view, OFFSETS, "Ready")).await;
}

#[tokio::test]
async fn offsets_come_by_themselves_and_are_found_again_after_a_restart() {
    let dir = TempDir::new().expect("a temporary directory");
    let handle = controller(&dir).await;
    assert_eq!(handle.topic_status(OFFSETS), None, "no broker has come");
    let broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    until_ready(&handle).await;
    let status = handle.topic_status(OFFSETS).expect("ready");
    assert_eq!(status.partitions_online, OFFSETS_PARTITIONS_DEFAULT);
    assert_eq!(handle.brokers()[0].leads, OFFSETS_PARTITIONS_DEFAULT);
    let volume = broker.stop().await;
    handle.stop().await;

    let handle = controller(&dir).await;
    let _broker = FakeBroker::start(&serve(&handle).await, volume);
    until_ready(&handle).await;
    let again = handle.topic_status(OFFSETS).expect("ready");
    assert_eq!(again.topic_id, status.topic_id);
}

#[tokio::test]
async fn nobody_applies_or_deletes_an_internal_topic() {
    let dir = TempDir::new().expect("a temporary directory");
    let handle = controller(&dir).await;
    let address = serve(&handle).await;
    let _broker = FakeBroker::start(&address, Volume::new(1));
    until_ready(&handle).await;
    for name in [OFFSETS, "__others"] {
        let applied = handle.apply_topic(name, spec(1), false).await;
        let error = applied.expect_err("internal");
        assert_eq!(error.code(), ErrorCode::InvalidSpec, "{error}");
    }
    let mut admin = AdminClient::connect(format!("http://{address}"))
        .await
        .expect("reachable");
    let name = OFFSETS.to_owned();
    let deleted = admin.delete_topic(DeleteTopicRequest { name }).await;
    let error = from_status(&deleted.expect_err("internal"));
    assert_eq!(error.code, ErrorCode::InternalTopic, "{error}");
    until_ready(&handle).await;
}
