//! Watches resources one at a time: one that cannot be read is said, and the others go on.

mod guarded;
mod news;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _, reflector,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use taffrail_crds::{BrokerCluster, ConsumerGroup, Topic};
use tokio::{sync::watch, time::timeout};

pub(crate) use guarded::{Guarded, Invalid};
use news::News;

/// How often it is asked whether a store is filled.
const FILLED_INTERVAL: Duration = Duration::from_millis(100);

/// A resource that the operator watches.
pub(crate) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Stands for a resource that cannot be read: only who it is counts.
    fn stand_in(metadata: ObjectMeta) -> Option<Self>;
    /// What of its status decides anything: where it was accepted, and as what.
    fn accepted_as(&self) -> serde_json::Value;
}

impl Watched for Topic {
    fn stand_in(metadata: ObjectMeta) -> Option<Self> {
        from_json(&metadata, &serde_json::json!({}))
    }

    fn accepted_as(&self) -> serde_json::Value {
        let status = self.status.as_ref();
        serde_json::json!(status.map(|s| (&s.cluster, &s.topic_id, &s.topic_name)))
    }
}

impl Watched for ConsumerGroup {
    fn stand_in(metadata: ObjectMeta) -> Option<Self> {
        from_json(&metadata, &serde_json::json!({}))
    }

    fn accepted_as(&self) -> serde_json::Value {
        let status = self.status.as_ref();
        serde_json::json!(status.map(|s| (&s.cluster, &s.group_name, &s.effective)))
    }
}

impl Watched for BrokerCluster {
    fn stand_in(metadata: ObjectMeta) -> Option<Self> {
        // Which namespaces it takes is not known: nothing is refused for that.
        let spec = serde_json::json!({
            "brokers": 1, "storage": { "size": "1Gi" }, "topicNamespaces": { "from": "All" },
        });
        from_json(&metadata, &spec)
    }

    fn accepted_as(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

fn from_json<K: Watched>(metadata: &ObjectMeta, spec: &serde_json::Value) -> Option<K> {
    let value = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(value).ok()
}

/// Waits until a store was filled once. False if whoever fills it is gone.
///
/// Of several that wait for one store kube wakes only the one that asked last, its own controller included: so this asks again.
pub(crate) async fn is_filled<K>(store: &reflector::Store<K>) -> bool
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    loop {
        if let Ok(filled) = timeout(FILLED_INTERVAL, store.wait_until_ready()).await {
            return filled.is_ok();
        }
    }
}

/// The resources that are there but cannot be read, by kind and name. While there are any, no topic is taken for vanished.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unreadable {
    by_name: Arc<Mutex<BTreeMap<String, Noted>>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Noted {
    invalid: Invalid,
    /// False from when a new list begins until it shows the resource again.
    is_listed: bool,
}

impl Unreadable {
    /// Is every resource readable that may decide what becomes of a topic or cluster? A ConsumerGroup does not.
    pub(crate) fn is_empty(&self) -> bool {
        let groups = format!("{} ", ConsumerGroup::kind(&()));
        self.lock().keys().all(|name| name.starts_with(&groups))
    }

    /// Those of one kind.
    pub(crate) fn of<K: Watched>(&self) -> Vec<Invalid> {
        let prefix = format!("{} ", K::kind(&()));
        let by_name = self.lock();
        let ours = by_name.iter().filter(|(name, _)| name.starts_with(&prefix));
        ours.map(|(_, noted)| noted.invalid.clone()).collect()
    }

    /// The one of this name.
    pub(crate) fn get<K: Watched>(&self, namespace: &str, name: &str) -> Option<Invalid> {
        let name = format!("{} {namespace}/{name}", K::kind(&()));
        self.lock().get(&name).map(|noted| noted.invalid.clone())
    }

    /// Another resource, or the same one in another way, cannot be read.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The resource, or the note that it cannot be read.
    pub(crate) fn sort<K: Watched>(&self, guarded: Guarded<K>) -> Option<K> {
        let name = name_of(&guarded);
        match guarded.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                tracing::warn!(
                    object = name,
                    error = invalid.reason,
                    "resource cannot be read and is left as it was; correct its spec"
                );
                let noted = Noted {
                    invalid,
                    is_listed: true,
                };
                self.lock().insert(name, noted);
                self.changed.send_replace(());
                None
            }
        }
    }

    /// What of an event can be read, on its way to the store.
    fn sort_event<K: Watched>(&self, event: Event<Guarded<K>>) -> Option<Event<K>> {
        match event {
            Event::Apply(guarded) => self.sort(guarded).map(Event::Apply),
            Event::InitApply(guarded) => self.sort(guarded).map(Event::InitApply),
            Event::Delete(guarded) => {
                let object = guarded
                    .0
                    .map_or_else(|invalid| K::stand_in(invalid.metadata), Some);
                object.map(Event::Delete)
            }
            Event::Init => Some(Event::Init),
            Event::InitDone => Some(Event::InitDone),
        }
    }

    /// After the store has an event: what was noted stays so until then, or for a moment the resource would be in neither. `prefix`: what the names
    /// of all resources of the watch begin with.
    fn settle_event<K: Watched>(&self, event: &Event<K>, prefix: &str) {
        let mut by_name = self.lock();
        match event {
            Event::Apply(object) | Event::Delete(object) => {
                by_name.remove(&name_of(object));
            }
            Event::Init => {
                let ours = by_name
                    .iter_mut()
                    .filter(|(name, _)| name.starts_with(prefix));
                ours.for_each(|(_, noted)| noted.is_listed = false);
            }
            // The store has it when the list is complete.
            Event::InitApply(_) => {}
            Event::InitDone => {
                by_name.retain(|name, noted| noted.is_listed || !name.starts_with(prefix));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Noted>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{} {namespace}/{}", K::kind(&()), object.name_any())
}

/// A controller of every resource of `api` that can be read. `changed` is told when its store says something else.
pub(crate) fn controller<K: Watched>(
    api: Api<Guarded<K>>,
    unreadable: &Unreadable,
    changed: Option<watch::Sender<()>>,
) -> Controller<K> {
    let prefix = match api.namespace() {
        Some(namespace) => format!("{} {namespace}/", K::kind(&())),
        None => format!("{} ", K::kind(&())),
    };
    let writer = reflector::store::Writer::<K>::default();
    let reader = writer.as_reader();
    let events = watcher::watcher(api, watcher::Config::default());
    let events = readable(events, unreadable.clone());
    let unreadable = unreadable.clone();
    let mut news = News::default();
    let stored = reflector(writer, events).inspect(move |event| {
        let Ok(event) = event else { return };
        unreadable.settle_event(event, &prefix);
        if news.is_in(event)
            && let Some(changed) = &changed
        {
            changed.send_replace(());
        }
    });
    Controller::for_stream(stored.applied_objects(), reader)
}

fn readable<K: Watched>(
    events: impl Stream<Item = watcher::Result<Event<Guarded<K>>>> + Send,
    unreadable: Unreadable,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    events.filter_map(move |event| {
        let sorted = match event {
            Ok(event) => unreadable.sort_event(event).map(Ok),
            Err(error) => Some(Err(error)),
        };
        std::future::ready(sorted)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn topic(spec: &Value) -> Guarded<Topic> {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": { "name": "flights", "namespace": "streams" },
            "spec": spec,
        });
        serde_json::from_value(value).expect("the metadata can be read")
    }

    #[tokio::test]
    async fn everybody_who_waits_for_a_store_hears_that_it_is_filled() {
        let (store, mut writer) = reflector::store::<Topic>();
        let waiting = [store.clone(), store.clone(), store];
        let waiting = waiting.map(|store| tokio::spawn(async move { is_filled(&store).await }));
        // All of them wait by now: this test has one thread.
        tokio::task::yield_now().await;
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        for waits in waiting {
            let filled = timeout(Duration::from_secs(10), waits).await;
            assert!(filled.expect("it is told").expect("it does not panic"));
        }
    }

    /// As a watch of all namespaces does.
    fn see(unreadable: &Unreadable, event: Event<Guarded<Topic>>) -> Option<Event<Topic>> {
        let event = unreadable.sort_event(event)?;
        unreadable.settle_event(&event, "Topic ");
        Some(event)
    }

    #[test]
    fn a_resource_that_cannot_be_read_is_noted_until_it_can() {
        let unreadable = Unreadable::default();
        let bad = Event::Apply(topic(&json!({ "minInSync": 5_000_000_000_u64 })));
        assert!(see(&unreadable, bad).is_none());
        assert!(!unreadable.is_empty());
        let good = Event::Apply(topic(&json!({})));
        assert!(matches!(see(&unreadable, good), Some(Event::Apply(_))));
        assert!(unreadable.is_empty());
    }

    #[test]
    fn a_resource_that_could_not_be_read_still_goes() {
        let unreadable = Unreadable::default();
        let bad = topic(&json!({ "minInSync": -1 }));
        let noted = see(&unreadable, Event::Apply(bad.clone()));
        assert!(noted.is_none() && !unreadable.is_empty());
        let gone = see(&unreadable, Event::Delete(bad));
        assert!(matches!(gone, Some(Event::Delete(topic)) if topic.name_any() == "flights"));
        assert!(unreadable.is_empty());
        assert!(BrokerCluster::stand_in(ObjectMeta::default()).is_some());
        assert!(ConsumerGroup::stand_in(ObjectMeta::default()).is_some());
    }

    #[test]
    fn a_group_that_cannot_be_read_keeps_no_topic_from_ending() {
        let unreadable = Unreadable::default();
        let group = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": { "name": "billing", "namespace": "streams" },
            "spec": { "partitoins": 3 },
        });
        let group: Guarded<ConsumerGroup> =
            serde_json::from_value(group).expect("the metadata can be read");
        assert!(unreadable.sort(group).is_none());
        assert_eq!(unreadable.of::<ConsumerGroup>().len(), 1);
        assert!(unreadable.is_empty());
        see(
            &unreadable,
            Event::Apply(topic(&json!({ "minInSync": -1 }))),
        );
        assert!(!unreadable.is_empty(), "a topic does");
    }

    #[test]
    fn a_new_list_forgets_only_what_it_does_not_show_and_when_it_is_complete() {
        let bad = || topic(&json!({ "minInSync": -1 }));
        for (listed, stays) in [
            (Some(bad()), true),
            (Some(topic(&json!({}))), false),
            (None, false),
        ] {
            let unreadable = Unreadable::default();
            see(&unreadable, Event::Apply(bad()));
            see(&unreadable, Event::Init);
            assert!(!unreadable.is_empty(), "the list has just begun");
            if let Some(listed) = listed {
                see(&unreadable, Event::InitApply(listed));
            }
            assert!(!unreadable.is_empty(), "the store does not have it yet");
            unreadable.settle_event(&Event::<Topic>::InitDone, "Group ");
            assert!(!unreadable.is_empty(), "another watch");
            see(&unreadable, Event::InitDone);
            assert_eq!(unreadable.of::<Topic>().len(), usize::from(stays));
        }
    }
}
