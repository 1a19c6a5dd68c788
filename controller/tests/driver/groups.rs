//! Consumer groups: what is declared reaches brokers, what coordinators say is shown.

use std::collections::BTreeMap;

use taffrail_api::v1;
use taffrail_controller::{Environment, MemoryStore, WantedGroup, start};
use taffrail_core::group::GroupPolicy;
use tokio::time::timeout;

use crate::{
    DEADLINE, config,
    fake_broker::{FakeBroker, Seen, Volume},
    memory_controller, serve,
};

fn declared<const N: usize>(groups: [(&str, u64); N]) -> BTreeMap<String, WantedGroup> {
    let wanted = |session_timeout_ms| WantedGroup {
        policy: GroupPolicy {
            session_timeout_ms: Some(session_timeout_ms),
            ..GroupPolicy::default()
        },
        forget: false,
    };
    let groups = groups.into_iter();
    groups
        .map(|(name, ms)| (name.to_owned(), wanted(ms)))
        .collect()
}

/// Name and session timeout of each group that an update tells.
fn told(update: &v1::MetadataUpdate) -> Vec<(&str, Option<u32>)> {
    let records = update.groups.iter();
    records
        .map(|record| {
            let policy = record.policy.as_ref();
            let timeout_ms = policy.and_then(|policy| policy.session_timeout_ms);
            (&*record.group, timeout_ms)
        })
        .collect()
}

fn speaks_of_groups(update: &v1::MetadataUpdate) -> bool {
    update.all_groups || !update.groups.is_empty() || !update.removed_groups.is_empty()
}

/// The updates about groups, once there are so many.
async fn updates(broker: &mut FakeBroker, count: usize) -> Vec<v1::MetadataUpdate> {
    let about_groups = |seen: &Seen| -> Vec<v1::MetadataUpdate> {
        let updates = seen.updates.iter();
        updates.filter(|u| speaks_of_groups(u)).cloned().collect()
    };
    let seen = broker
        .until("told of groups", |seen| about_groups(seen).len() >= count)
        .await;
    about_groups(&seen)
}

#[tokio::test]
async fn brokers_are_told_what_is_declared_once_and_then_what_changed() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let mut broker = FakeBroker::start(&address, Volume::new(1));
    broker.registered().await;
    handle
        .set_groups(declared([("billing", 9_000), ("audit", 9_000)]))
        .await;
    handle
        .set_groups(declared([("billing", 9_000), ("audit", 9_000)]))
        .await;
    handle
        .set_groups(declared([("billing", 7_000), ("shipping", 9_000)]))
        .await;
    let updates = updates(&mut broker, 2).await;
    let [all, change] = &updates[..] else {
        panic!("what was said again is no news: {updates:?}");
    };
    assert_eq!(
        told(all),
        [("audit", Some(9_000)), ("billing", Some(9_000))]
    );
    assert!(all.all_groups && !all.full);
    assert_eq!(
        told(change),
        [("billing", Some(7_000)), ("shipping", Some(9_000))]
    );
    assert_eq!(change.removed_groups, ["audit"]);
    assert!(!change.all_groups);
}

#[tokio::test]
async fn a_broker_that_comes_later_hears_of_all_groups() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    handle.set_groups(declared([("billing", 9_000)])).await;
    let mut broker = FakeBroker::start(&address, Volume::new(1));
    let updates = updates(&mut broker, 1).await;
    assert_eq!(told(&updates[0]), [("billing", Some(9_000))]);
    assert!(updates[0].all_groups && updates[0].full);
}

#[tokio::test]
async fn a_controller_that_was_not_told_takes_no_policy_away() {
    let (_, handle) = memory_controller().await;
    let address = serve(&handle).await;
    let mut broker = FakeBroker::start(&address, Volume::new(1));
    let full = |seen: &Seen| seen.updates.iter().any(|update| update.full);
    let seen = broker.until("a full update", full).await;
    assert!(!seen.updates.iter().any(speaks_of_groups));
}

#[tokio::test]
async fn what_a_coordinator_says_is_shown() {
    let mut config = config(1);
    config.defaults.offsets_partitions = 1;
    let handle = start(MemoryStore::default(), config, Environment::system()).await;
    let handle = handle.expect("takes office");
    let address = serve(&handle).await;
    handle.set_groups(declared([("billing", 9_000)])).await;
    let volume = Volume {
        groups: vec![v1::GroupReport {
            group: "billing".to_owned(),
            // The broker leads `__offsets` in its first epoch.
            coordinator_epoch: 1,
            state: v1::GroupState::GroupStable.into(),
            member_partitions: vec![1, 0],
            ..v1::GroupReport::default()
        }],
        ..Volume::new(1)
    };
    let mut broker = FakeBroker::start(&address, volume);
    broker.registered().await;
    let mut changed = handle.groups_changed();
    let is_shown = changed.wait_for(|groups| {
        let billing = groups.get("billing");
        billing.is_some_and(|billing| billing.is_reported && billing.members == 2)
    });
    timeout(DEADLINE, is_shown)
        .await
        .expect("it is shown")
        .expect("the controller runs");
}
