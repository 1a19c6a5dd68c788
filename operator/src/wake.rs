//! Which resources are looked at because of what controllers saw: those that it concerns. Conditions at once; numbers, which always change while
//! there are producers, one topic at a time.

mod groups;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kube::{
    Resource,
    runtime::reflector::{self, ObjectRef},
};
use taffrail_api::v1;
use taffrail_controller::{ControllerHandle, GroupsView, View};
use taffrail_crds::{BrokerCluster, ConsumerGroup, Topic};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    context::Context,
    engines::{ClusterKey, Engine},
    resolve::{Claimant, claimants},
    stores::Stores,
    writes::SUMMARY_INTERVAL,
};
use groups::GroupNews;

/// Changes are put together over this time.
const WAKE_INTERVAL: Duration = Duration::from_millis(300);
/// Resources on their way to a controller, which takes them as fast as it can. More wait with the one who wakes.
pub(crate) const WOKEN_MAX: usize = 256;

/// Groups whose numbers changed are looked at together, so often: a condition may have turned by them.
const GROUPS_INTERVAL: Duration = Duration::from_secs(10);

/// Wakes the resources of every watch.
#[derive(Debug)]
pub(crate) struct Wakers {
    pub(crate) clusters: Vec<Waker<BrokerCluster>>,
    pub(crate) topics: Vec<Waker<Topic>>,
    pub(crate) groups: Vec<Waker<ConsumerGroup>>,
}

/// Wakes the resources of one watch.
#[derive(Debug, Clone)]
pub(crate) struct Waker<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(crate) store: reflector::Store<K>,
    pub(crate) woken: mpsc::Sender<ObjectRef<K>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Waker<K> {
    pub(crate) async fn wake(&self, resource: &ObjectRef<K>) {
        if self.store.get(resource).is_some() {
            // An error means that the operator stops.
            let _ = self.woken.send(resource.clone()).await;
        }
    }
}

/// What a cluster looked like.
#[derive(Debug)]
struct Seen {
    cluster: Arc<BrokerCluster>,
    /// `None`: its controller does not run.
    view: Option<Arc<View>>,
    groups: Arc<GroupsView>,
}

impl Seen {
    fn of(engine: Engine) -> Self {
        let handle = engine.running.map(|running| running.handle);
        Self {
            cluster: engine.cluster,
            view: handle.as_ref().map(ControllerHandle::view),
            groups: handle.map(|handle| handle.groups()).unwrap_or_default(),
        }
    }
}

/// What is new in a view.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    /// Of all topics: their controller is another.
    is_all_new: bool,
    /// Topics that look different.
    turned: BTreeSet<String>,
    /// Topics of which only the numbers changed.
    numbers: BTreeSet<String>,
    brokers: bool,
    groups: GroupNews,
}

/// Topics whose numbers changed, each once, in the order in which they did.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<(ClusterKey, String)>,
    waiting: BTreeSet<(ClusterKey, String)>,
    /// Groups, which do not wait for each other.
    groups: BTreeMap<ClusterKey, BTreeSet<String>>,
}

impl Turns {
    fn push(&mut self, topic: (ClusterKey, String)) {
        if self.waiting.insert(topic.clone()) {
            self.order.push_back(topic);
        }
    }

    fn pop(&mut self) -> Option<(ClusterKey, String)> {
        let next = self.order.pop_front()?;
        self.waiting.remove(&next);
        Some(next)
    }
}

/// Wakes until the operator is stopped.
pub(crate) async fn run(wakers: Wakers, context: Arc<Context>) {
    let work = async {
        let mut changed = context.engines.changed();
        changed.mark_changed();
        let mut seen = BTreeMap::new();
        let mut turns = Turns::default();
        let mut turn = interval(SUMMARY_INTERVAL);
        let mut groups_turn = interval(GROUPS_INTERVAL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        groups_turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    look(&mut seen, &mut turns, &wakers, &context).await;
                    sleep(WAKE_INTERVAL).await;
                }
                _ = turn.tick() => {
                    if let Some((cluster, name)) = turns.pop() {
                        wake_named(&cluster, &[name].into(), &wakers.topics, &context.topics, &context).await;
                    }
                }
                _ = groups_turn.tick() => {
                    for (cluster, names) in std::mem::take(&mut turns.groups) {
                        wake_named(&cluster, &names, &wakers.groups, &context.groups, &context).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = work => {}
    }
}

async fn look(
    seen: &mut BTreeMap<ClusterKey, Seen>,
    turns: &mut Turns,
    wakers: &Wakers,
    context: &Context,
) {
    let before = std::mem::take(seen);
    for key in context.engines.keys() {
        if let Some(engine) = context.engines.get(&key) {
            seen.insert(key, Seen::of(engine));
        }
    }
    // A cluster more or less may be what any resource waits for, or what one without a cluster reference means.
    let mut is_all_new = before.len() != seen.len();
    for (key, now) in &*seen {
        let news = news(before.get(key), now);
        context.metrics.group_losses.note(key, &now.groups);
        is_all_new |= news.is_all_new;
        if news.brokers {
            let cluster = ObjectRef::new(&key.name).within(&key.namespace);
            for waker in &wakers.clusters {
                waker.wake(&cluster).await;
            }
        }
        for name in news.numbers {
            turns.push((key.clone(), name));
        }
        if !news.groups.numbers.is_empty() {
            let waiting = turns.groups.entry(key.clone()).or_default();
            waiting.extend(news.groups.numbers);
        }
        if !news.is_all_new {
            wake_named(key, &news.turned, &wakers.topics, &context.topics, context).await;
            let turned = &news.groups.turned;
            wake_named(key, turned, &wakers.groups, &context.groups, context).await;
        }
    }
    if is_all_new {
        wake_all(&wakers.topics).await;
        wake_all(&wakers.groups).await;
    }
}

async fn wake_all<K>(wakers: &[Waker<K>])
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    for waker in wakers {
        for resource in waker.store.state() {
            waker.wake(&ObjectRef::from_obj(&*resource)).await;
        }
    }
}

/// Wakes the resources that claim these names.
async fn wake_named<K>(
    cluster: &ClusterKey,
    names: &BTreeSet<String>,
    wakers: &[Waker<K>],
    resources: &Stores<K>,
    context: &Context,
) where
    K: Claimant + Clone + std::fmt::Debug + 'static,
{
    if names.is_empty() {
        return;
    }
    let all = resources.all();
    for resource in claimants(cluster, names, &all, &context.engines) {
        for waker in wakers {
            waker.wake(&ObjectRef::from_obj(&**resource)).await;
        }
    }
}

fn news(before: Option<&Seen>, now: &Seen) -> News {
    let is_same_cluster = before.is_some_and(|before| before.cluster.spec == now.cluster.spec);
    let groups = before.map(|before| groups::news(&before.groups, &now.groups));
    let before = before.and_then(|before| before.view.as_ref());
    let (before, now) = match (before, &now.view) {
        (Some(before), Some(now))
            if is_same_cluster && before.controller_epoch == now.controller_epoch =>
        {
            (before, now)
        }
        (None, None) if is_same_cluster => return News::default(),
        _ => {
            return News {
                is_all_new: true,
                brokers: true,
                ..News::default()
            };
        }
    };
    let groups = groups.unwrap_or_default();
    if Arc::ptr_eq(before, now) {
        return News {
            groups,
            ..News::default()
        };
    }
    let mut news = News {
        brokers: !are_brokers_same(&before.brokers, &now.brokers),
        groups,
        ..News::default()
    };
    let names = before.topics.keys().chain(now.topics.keys());
    for name in names.collect::<BTreeSet<_>>() {
        match (before.topics.get(name), now.topics.get(name)) {
            (before, now) if before == now => {}
            (Some(before), Some(now)) if differ_in_numbers_only(before, now) => {
                news.numbers.insert(name.clone());
            }
            _ => {
                news.turned.insert(name.clone());
            }
        }
    }
    news
}

fn differ_in_numbers_only(before: &v1::TopicStatus, now: &v1::TopicStatus) -> bool {
    let with_same_numbers = v1::TopicStatus {
        bytes: before.bytes,
        partitions_under_replicated: before.partitions_under_replicated,
        partitions_under_min_in_sync: before.partitions_under_min_in_sync,
        partitions_moving: before.partitions_moving,
        leaders: before.leaders.clone(),
        oldest_append_time_ms: before.oldest_append_time_ms,
        ..now.clone()
    };
    with_same_numbers == *before
}

/// Free space is shown by nobody's status.
fn are_brokers_same(before: &[v1::BrokerStatus], now: &[v1::BrokerStatus]) -> bool {
    let without_space = |broker: &v1::BrokerStatus| v1::BrokerStatus {
        disk_free_bytes: 0,
        disk_total_bytes: 0,
        ..broker.clone()
    };
    before
        .iter()
        .map(without_space)
        .eq(now.iter().map(without_space))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn topic(name: &str, bytes: u64, online: u32) -> (String, v1::TopicStatus) {
        let status = v1::TopicStatus {
            name: name.to_owned(),
            bytes,
            partitions_online: online,
            ..v1::TopicStatus::default()
        };
        (name.to_owned(), status)
    }

    fn seen(topics: &[(String, v1::TopicStatus)], free: u64) -> Seen {
        let cluster = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "BrokerCluster",
            "metadata": { "name": "main", "namespace": "streams" },
            "spec": { "brokers": 1, "storage": { "size": "1Gi" } },
        });
        let broker = v1::BrokerStatus {
            disk_free_bytes: free,
            ..v1::BrokerStatus::default()
        };
        Seen {
            cluster: Arc::new(serde_json::from_value(cluster).expect("valid")),
            view: Some(Arc::new(View {
                topics: topics.iter().cloned().collect(),
                brokers: vec![broker],
                ..View::default()
            })),
            groups: Arc::default(),
        }
    }

    #[test]
    fn only_the_topic_that_turned_is_looked_at_and_numbers_wait_their_turn() {
        let before = seen(&[topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)], 9);
        let now = seen(&[topic("a", 1, 1), topic("b", 2, 1), topic("c", 2, 0)], 8);
        let found = news(Some(&before), &now);
        assert_eq!(found.turned, ["c".to_owned()].into());
        assert_eq!(found.numbers, ["b".to_owned()].into());
        assert!(!found.is_all_new && !found.brokers, "{found:?}");
    }

    #[test]
    fn a_topic_that_comes_or_goes_turned() {
        let before = seen(&[topic("a", 1, 1)], 9);
        let now = seen(&[topic("b", 1, 1)], 9);
        let found = news(Some(&before), &now);
        assert_eq!(found.turned, ["a".to_owned(), "b".to_owned()].into());
    }

    #[test]
    fn another_controller_concerns_every_topic() {
        let now = seen(&[topic("a", 1, 1)], 9);
        assert!(news(None, &now).is_all_new);
        let stopped = Seen {
            view: None,
            ..seen(&[], 9)
        };
        assert!(news(Some(&now), &stopped).is_all_new);
        assert_eq!(news(Some(&now), &now), News::default());
    }

    #[test]
    fn a_topic_waits_once_and_each_gets_its_turn() {
        let key = ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        };
        let mut turns = Turns::default();
        for name in ["a", "b", "a"] {
            turns.push((key.clone(), name.to_owned()));
        }
        let popped: Vec<_> = std::iter::from_fn(|| turns.pop()).map(|t| t.1).collect();
        assert_eq!(popped, ["a", "b"]);
    }
}
