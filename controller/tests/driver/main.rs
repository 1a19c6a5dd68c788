//! The controller as its users meet it: a handle, sessions over gRPC, a store below.

mod duel;
mod fake_broker;
mod groups;
mod handle;
mod internal;
mod racks;
mod restart;
mod session;

use std::time::Duration;

use taffrail_controller::{
    ControllerConfig, ControllerHandle, Environment, MemoryStore, Mode, Store, View, start,
};
use taffrail_core::{TopicDefaults, TopicSpec};
use tokio::{net::TcpListener, time::timeout};

/// Nothing here takes this long on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Of a cluster without internal topics: the tests count what they made.
pub(crate) fn config(brokers_wanted: u32) -> ControllerConfig {
    let defaults = TopicDefaults {
        brokers_wanted,
        offsets_partitions: 0,
        ..TopicDefaults::default()
    };
    ControllerConfig::new("main", Mode::Embedded, defaults)
}

pub(crate) async fn controller(store: impl Store, brokers_wanted: u32) -> ControllerHandle {
    start(store, config(brokers_wanted), Environment::system())
        .await
        .expect("takes office")
}

pub(crate) async fn memory_controller() -> (MemoryStore, ControllerHandle) {
    let store = MemoryStore::default();
    let handle = controller(store.clone(), 1).await;
    (store, handle)
}

/// Serves `handle` on a port of its own.
pub(crate) async fn serve(handle: &ControllerHandle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let handle = handle.clone();
    tokio::spawn(async move {
        let stopped = handle.clone();
        let served =
            taffrail_controller::serve(handle, listener, async move { stopped.deposed().await });
        served.await.expect("serves until the end");
    });
    address
}

/// Waits until the view satisfies `holds`.
pub(crate) async fn until(handle: &ControllerHandle, what: &str, holds: impl Fn(&View) -> bool) {
    let mut changed = handle.changed();
    let waiting = async {
        while !holds(&handle.view()) {
            changed.changed().await.expect("the controller runs");
        }
    };
    let waited = timeout(DEADLINE, waiting).await;
    assert!(
        waited.is_ok(),
        "never: {what}; the view is {:#?}",
        handle.view()
    );
}

pub(crate) fn spec(partitions: u32) -> TopicSpec {
    TopicSpec {
        partitions: Some(partitions),
        replicas: Some(1),
        ..TopicSpec::default()
    }
}

/// Is the condition `kind` of the topic True?
pub(crate) fn is_true(view: &View, topic: &str, kind: &str) -> bool {
    condition(view, topic, kind).is_some_and(|(status, _)| status == "True")
}

/// Status and reason of a topic's condition.
pub(crate) fn condition(view: &View, topic: &str, kind: &str) -> Option<(String, String)> {
    let conditions = &view.topics.get(topic)?.conditions;
    let found = conditions.iter().find(|c| c.r#type == kind)?;
    Some((found.status.clone(), found.reason.clone()))
}
