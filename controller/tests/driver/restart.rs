//! Controllers that stop, crash between writes, or find less than they wrote.

use std::time::Duration;

use taffrail_controller::{
    ControllerError, Environment, FileStore, MemoryStore, start, store::Fault,
};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

use crate::{
    DEADLINE, config, controller,
    fake_broker::{FakeBroker, Volume},
    is_true, serve, spec, until,
};

#[tokio::test]
async fn a_restart_on_the_same_directory_keeps_everything() {
    let dir = TempDir::new().expect("a temporary directory");
    let handle = controller(FileStore::open(dir.path()).expect("free"), 1).await;
    let broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    let applied = handle
        .apply_topic("flights", spec(3), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let (cluster, before) = (handle.cluster_id(), handle.partitions(&[]));
    let volume = broker.stop().await;
    handle.stop().await;

    let handle = controller(FileStore::open(dir.path()).expect("free again"), 1).await;
    assert_eq!(handle.cluster_id(), cluster);
    assert_eq!(handle.view().controller_epoch, 2);
    let mut broker = FakeBroker::start(&serve(&handle).await, volume);
    assert_eq!(broker.registered().await.broker_number, 0);
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let status = handle.topic_status("flights").expect("kept");
    assert_eq!(status.topic_id[..], applied.topic_id.as_bytes()[..]);
    for (before, after) in before.iter().zip(handle.partitions(&[])) {
        assert_eq!(before.replicas, after.replicas);
        assert!(
            after.leader_epoch > before.leader_epoch,
            "a new process, a new epoch"
        );
    }
}

/// The same history with a store that ends after `puts` puts; then another controller and process come.
async fn crash_after(puts: usize) -> bool {
    let store = MemoryStore::default();
    let first = start(store.clone(), config(1), Environment::system())
        .await
        .expect("takes office");
    let limit = store.puts() + puts as u64;
    store.inject([Fault::Nothing].repeat(puts));
    store.inject([Fault::Unavailable].repeat(10_000));
    let broker = FakeBroker::start(&serve(&first).await, Volume::new(1));
    let applying = {
        let first = first.clone();
        tokio::spawn(async move { first.apply_topic("flights", spec(300), false).await })
    };
    let mut poll = interval(Duration::from_millis(2));
    let end = timeout(DEADLINE, async {
        while store.puts() <= limit && !is_true(&first.view(), "flights", "Ready") {
            poll.tick().await;
        }
    });
    end.await.expect("a refused put, or none needed");
    applying.abort();
    let was_ready = is_true(&first.view(), "flights", "Ready");
    let volume = broker.stop().await;
    first.stop().await;
    store.heal();

    let second = controller(store.clone(), 1).await;
    let _broker = FakeBroker::start(&serve(&second).await, volume);
    second
        .apply_topic("flights", spec(300), false)
        .await
        .expect("valid");
    until(&second, "ready", |view| is_true(view, "flights", "Ready")).await;
    let root = store.snapshot().root.expect("written").value;
    assert_eq!(root.topics.len(), 1, "after {puts} puts");
    // A number that was spent and never given is lost.
    assert_eq!(second.brokers().len(), 1);
    assert!(root.next_broker_number <= 2, "{}", root.next_broker_number);
    was_ready
}

#[tokio::test]
async fn a_crash_between_any_two_writes_leaves_what_the_next_controller_completes() {
    let mut puts = 0;
    while !crash_after(puts).await {
        puts += 1;
        assert!(puts < 20, "a topic and a broker take a few puts");
    }
    assert!(
        puts >= 6,
        "root and broker, three maps and the root: {puts}"
    );
}

#[tokio::test]
async fn conflicts_and_lost_answers_are_read_again_and_nobody_notices() {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    let faults = [
        Fault::Conflict,
        Fault::UnknownWritten,
        Fault::UnknownLost,
        Fault::Nothing,
        Fault::UnknownWritten,
        Fault::UnknownWritten,
    ];
    store.inject(faults);
    let _broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    handle
        .apply_topic("flights", spec(300), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    assert!(handle.is_active());
}

#[tokio::test]
async fn a_store_without_its_root_is_not_taken_over() {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    let mut broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    broker.registered().await;
    handle.stop().await;
    let mut snapshot = store.snapshot();
    snapshot.root = None;
    store.restore(snapshot);
    let error = start(store, config(1), Environment::system())
        .await
        .expect_err("no root");
    assert!(matches!(error, ControllerError::RootVanished), "{error}");
}

#[tokio::test]
async fn maps_deleted_by_hand_come_back_from_the_broker() {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    let broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    handle
        .apply_topic("flights", spec(3), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let epoch = handle.partitions(&[])[0].leader_epoch;
    let volume = broker.stop().await;
    handle.stop().await;
    let mut snapshot = store.snapshot();
    snapshot.maps.clear();
    snapshot.brokers.clear();
    store.restore(snapshot);

    let handle = controller(store.clone(), 1).await;
    assert_eq!(handle.partitions(&[])[0].state, "UNKNOWN");
    let mut broker = FakeBroker::start(&serve(&handle).await, volume);
    assert_eq!(
        broker.registered().await.broker_number,
        0,
        "the number it had"
    );
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    assert!(handle.partitions(&[])[0].leader_epoch > epoch);
}

#[tokio::test]
async fn maps_deleted_under_a_controller_come_back_once_it_is_told() {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    let address = serve(&handle).await;
    let mut broker = FakeBroker::start(&address, Volume::new(1));
    handle
        .apply_topic("flights", spec(3), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let epoch = handle.partitions(&[])[0].leader_epoch;
    // Nothing is missing: nothing is written.
    let puts = store.puts();
    handle.store_changed().await;
    handle.set_defaults(config(1).defaults).await;
    assert_eq!(store.puts(), puts);

    let mut snapshot = store.snapshot();
    snapshot.maps.clear();
    store.restore(snapshot);
    handle.store_changed().await;
    broker.ended().await;
    let _broker = FakeBroker::resume(&address, broker.stop().await);
    until(&handle, "ready again", |view| {
        is_true(view, "flights", "Ready") && view.partitions["flights"][0].leader_epoch > epoch
    })
    .await;
    assert_eq!(store.snapshot().maps.len(), 1);
}

#[tokio::test]
async fn a_store_that_went_back_in_time_gets_epochs_above_all_that_brokers_saw() {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    let address = serve(&handle).await;
    let broker = FakeBroker::start(&address, Volume::new(1));
    handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let backup = store.snapshot();
    handle
        .apply_topic("flights", spec(4), false)
        .await
        .expect("valid");
    let mut broker = FakeBroker::start(&address, broker.stop().await);
    broker.registered().await;
    until(&handle, "4 online", |view| {
        view.topics["flights"].partitions_online == 4
    })
    .await;
    let epoch = handle.partitions(&[])[0].leader_epoch;
    let volume = broker.stop().await;
    handle.stop().await;
    store.restore(backup);

    let handle = controller(store.clone(), 1).await;
    let address = serve(&handle).await;
    // The broker obeyed a later term: it is told to come again, once this controller has a still later one.
    let mut broker = FakeBroker::start(&address, volume);
    if let Some(taffrail_api::v1::controller_message::Message::NotActive(_)) =
        broker.ended_or_registered().await
    {
        broker = FakeBroker::start(&address, broker.stop().await);
    }
    broker.registered().await;
    until(&handle, "4 online", |view| {
        view.topics["flights"].partitions_online == 4
    })
    .await;
    assert!(handle.partitions(&[])[0].leader_epoch > epoch);
}
