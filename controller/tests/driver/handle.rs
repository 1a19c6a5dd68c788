//! Topics through the handle.

use taffrail_controller::{ApplyOutcome, Deleted};
use taffrail_core::{Adoption, DeletionPolicy, ErrorCode, TopicId, TopicSpec};

use crate::{
    condition,
    fake_broker::{FakeBroker, Volume},
    is_true, memory_controller, serve, spec, until,
};

#[tokio::test]
async fn a_topic_becomes_ready_once_a_broker_leads_its_partitions() {
    let (_, handle) = memory_controller().await;
    let applied = handle
        .apply_topic("flights", spec(6), false)
        .await
        .expect("valid");
    assert_eq!(applied.outcome, ApplyOutcome::Created);
    let waiting = condition(&handle.view(), "flights", "Accepted").expect("shown at once");
    assert_eq!(waiting, ("False".to_owned(), "NotEnoughBrokers".to_owned()));

    let _broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let view = handle.view();
    assert_eq!(view.topics["flights"].partitions_online, 6);
    assert_eq!(view.topics["flights"].bytes, 600);
    assert_eq!(view.brokers[0].leads, 6);
    for kind in [
        "Accepted",
        "FullyReplicated",
        "PlacementSatisfied",
        "CapacityOK",
    ] {
        assert!(is_true(&view, "flights", kind), "{kind}");
    }
    assert!(!is_true(&view, "flights", "Progressing"));
}

#[tokio::test]
async fn the_same_spec_again_changes_and_writes_nothing() {
    let (store, handle) = memory_controller().await;
    handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    let puts = store.puts();
    let again = handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    assert_eq!(
        (again.outcome, store.puts()),
        (ApplyOutcome::Unchanged, puts)
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let (store, handle) = memory_controller().await;
    let before = store.snapshot();
    let applied = handle
        .apply_topic("flights", spec(2), true)
        .await
        .expect("valid");
    assert_eq!(applied.outcome, ApplyOutcome::Created);
    assert_eq!(store.snapshot(), before);
    assert_eq!(handle.topic_status("flights"), None);
}

#[tokio::test]
async fn fewer_partitions_are_refused_with_what_to_do() {
    let (_, handle) = memory_controller().await;
    handle
        .apply_topic("flights", spec(6), false)
        .await
        .expect("valid");
    let error = handle
        .apply_topic("flights", spec(3), false)
        .await
        .expect_err("shrinks");
    assert_eq!(error.code(), ErrorCode::InvalidSpec);
    assert!(
        error.to_string().contains("create a new Topic and copy"),
        "{error}"
    );
}

#[tokio::test]
async fn three_brokers_keep_three_copies_unless_a_topic_says_otherwise_and_more_do_not_fit() {
    let store = taffrail_controller::MemoryStore::default();
    let handle = crate::controller(store, 3).await;
    handle
        .apply_topic("flights", TopicSpec::default(), false)
        .await
        .expect("valid");
    let effective = handle.topic_status("flights").and_then(|s| s.effective);
    let effective = effective.expect("in force");
    assert_eq!((effective.replicas, effective.min_in_sync), (3, 2));

    let spec = TopicSpec {
        replicas: Some(5),
        ..TopicSpec::default()
    };
    let error = handle
        .apply_topic("crumbs", spec, false)
        .await
        .expect_err("5 replicas");
    assert_eq!(error.code(), ErrorCode::NotEnoughBrokers);
}

#[tokio::test]
async fn new_settings_and_partitions_reach_a_running_broker() {
    let (_, handle) = memory_controller().await;
    let mut broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    handle
        .apply_topic("flights", spec(1), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;

    let more = TopicSpec {
        retention_bytes_per_partition: Some(1 << 30),
        ..spec(3)
    };
    let applied = handle
        .apply_topic("flights", more, false)
        .await
        .expect("valid");
    assert_eq!(applied.outcome, ApplyOutcome::Configured);
    until(&handle, "3 online", |view| {
        view.topics["flights"].partitions_online == 3
    })
    .await;
    let seen = broker.until("told", |seen| {
        let topics = seen.updates.iter().flat_map(|update| &update.topics);
        let newest = topics.max_by_key(|topic| topic.generation);
        newest
            .and_then(|t| t.config)
            .is_some_and(|c| c.retention_bytes_per_partition == Some(1 << 30))
    });
    assert!(seen.await.updates.iter().skip(1).all(|update| !update.full));
}

#[tokio::test]
async fn retained_data_waits_for_its_adoption() {
    let (_, handle) = memory_controller().await;
    let mut broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    let first = handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let deleted = handle.delete_topic("flights", DeletionPolicy::Retain).await;
    assert_eq!(deleted, Ok(Deleted::Retained));
    assert_eq!(handle.topic_status("flights"), None);
    let told = |seen: &crate::fake_broker::Seen| {
        let removed = seen
            .updates
            .iter()
            .flat_map(|update| &update.removed_topics);
        removed
            .into_iter()
            .any(|id| id[..] == first.topic_id.as_bytes()[..])
    };
    let seen = broker.until("told to stop serving", told).await;
    assert!(seen.updates.iter().all(|update| update.deletes.is_empty()));

    let error = handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect_err("retained");
    assert_eq!(error.code(), ErrorCode::RetainedDataExists);
    let by_name = TopicSpec {
        adoption: Adoption::ByName,
        ..spec(4)
    };
    let adopted = handle
        .apply_topic("flights", by_name, false)
        .await
        .expect("adopted");
    assert_eq!(adopted.topic_id, first.topic_id);
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
}

#[tokio::test]
async fn a_fresh_topic_leaves_retained_data_alone() {
    let (store, handle) = memory_controller().await;
    let first = handle
        .apply_topic("flights", spec(1), false)
        .await
        .expect("valid");
    handle
        .delete_topic("flights", DeletionPolicy::Retain)
        .await
        .expect("in office");
    let fresh = TopicSpec {
        adoption: Adoption::Fresh,
        ..spec(1)
    };
    let second = handle
        .apply_topic("flights", fresh, false)
        .await
        .expect("fresh");
    assert_ne!(first.topic_id, second.topic_id);
    let root = store.snapshot().root.expect("written").value;
    assert_eq!(root.topics.len(), 2);
}

#[tokio::test]
async fn a_tombstone_stays_until_an_absent_broker_confirmed() {
    let (store, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let broker = FakeBroker::start(&address, Volume::new(1));
    handle
        .apply_topic("flights", spec(2), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;
    let volume = broker.stop().await;
    assert_eq!(volume.stored.len(), 2);

    let deleted = handle.delete_topic("flights", DeletionPolicy::Delete).await;
    assert_eq!(deleted, Ok(Deleted::Deleting { pending: 2 }));
    let tombstone = store.snapshot().root.expect("written").value.topics;
    assert_eq!(tombstone[0].pending.len(), 2);

    let broker = FakeBroker::start(&address, volume);
    let mut left = Ok(Deleted::Deleting { pending: 2 });
    let gone = async {
        while left != Ok(Deleted::Gone) {
            left = handle.delete_topic("flights", DeletionPolicy::Delete).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::DEADLINE, gone)
        .await
        .expect("confirmed");
    assert!(broker.stop().await.stored.is_empty());
    let snapshot = store.snapshot();
    assert!(snapshot.root.expect("written").value.topics.is_empty());
    assert!(
        snapshot
            .maps
            .iter()
            .all(|map| map.value.partitions.is_empty())
    );
}

#[tokio::test]
async fn a_topic_that_is_not_known_to_be_empty_keeps_its_data() {
    let (_, handle) = memory_controller().await;
    let broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    for topic in ["away", "empty"] {
        handle
            .apply_topic(topic, spec(1), false)
            .await
            .expect("valid");
        until(&handle, "ready", |view| is_true(view, topic, "Ready")).await;
    }
    let empty = handle
        .delete_topic("empty", DeletionPolicy::DeleteIfEmpty)
        .await;
    assert!(matches!(empty, Ok(Deleted::Deleting { .. })), "{empty:?}");
    broker.stop().await;
    until(&handle, "suspected", |view| {
        view.brokers[0].state != "ONLINE"
    })
    .await;
    let away = handle
        .delete_topic("away", DeletionPolicy::DeleteIfEmpty)
        .await;
    assert_eq!(away, Ok(Deleted::NotEmpty));
}

#[tokio::test]
async fn a_thousand_partitions_cost_eight_maps_and_the_root() {
    let (store, handle) = memory_controller().await;
    let _broker = FakeBroker::start(&serve(&handle).await, Volume::new(1));
    until(&handle, "a broker", |view| {
        view.brokers.iter().any(|b| b.state == "ONLINE")
    })
    .await;
    let puts = store.puts();
    handle
        .apply_topic("wide", spec(1000), false)
        .await
        .expect("valid");
    until(&handle, "ready", |view| is_true(view, "wide", "Ready")).await;
    assert_eq!(store.puts() - puts, 9);
    let counted: u64 = handle.writes().iter().map(|write| write.count).sum();
    assert_eq!(counted, store.puts());
}

#[tokio::test]
async fn a_new_topic_gets_the_identity_that_is_asked_for_unless_another_has_it() {
    let (_, handle) = memory_controller().await;
    let id = TopicId::from_bytes([7; 16]);
    let applied = handle.apply_topic_as(Some(id), "flights", spec(1)).await;
    assert_eq!(applied.expect("valid").topic_id, id);
    let deleted = handle.delete_topic("flights", DeletionPolicy::Retain).await;
    assert_eq!(deleted, Ok(Deleted::Retained));
    let fresh = TopicSpec {
        adoption: Adoption::Fresh,
        ..spec(1)
    };
    let applied = handle.apply_topic_as(Some(id), "flights", fresh).await;
    assert_ne!(applied.expect("valid").topic_id, id);
}
