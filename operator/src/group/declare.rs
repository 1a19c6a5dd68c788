//! What is declared of consumer groups, handed to the controllers: all that a cluster has, each time that it changed, and to each controller that takes office.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use taffrail_controller::{ControllerHandle, WantedGroup};
use taffrail_core::group::GroupPolicy;
use taffrail_crds::{
    ConsumerGroup, ConsumerGroupStatus, broker_cluster::TopicNamespaces,
    consumer_group::EffectiveGroup,
};
use tokio::time::{Instant, sleep, timeout};

use super::{deletion, policy};
use crate::{
    context::Context,
    engines::ClusterKey,
    paused::is_paused,
    resolve::{home_of, owners},
    wake::Waker,
    watch::Invalid,
};

/// Changes are put together over this time; what is watched has caught up with what woke by then.
const GATHER: Duration = Duration::from_millis(300);
/// A controller takes it, or is told again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A controller's picture is new enough to be believed that a group is gone: it is a few seconds old at most.
const PICTURE_AGE: Duration = Duration::from_secs(5);

/// By name.
type Groups = BTreeMap<String, WantedGroup>;

/// What each cluster's controller was told last.
#[derive(Debug, Default)]
pub(crate) struct Declared(Mutex<BTreeMap<ClusterKey, Told>>);

#[derive(Debug, Default)]
struct Told {
    /// Of the controller that was told.
    office: Office,
    groups: Groups,
    /// Groups that it is to forget, and since when it knows.
    forgets: BTreeMap<String, Instant>,
}

/// Which controller it is. Epochs alone say nothing: a cluster that is made again under its old name counts from the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Office {
    cluster_id: String,
    controller_epoch: u64,
}

impl Declared {
    /// Was the cluster's controller told to forget the group, long enough ago for its picture to show it?
    pub(super) fn is_to_forget(&self, cluster: &ClusterKey, name: &str) -> bool {
        let told = self.lock();
        let since = told.get(cluster).and_then(|told| told.forgets.get(name));
        since.is_some_and(|since| since.elapsed() >= PICTURE_AGE)
    }

    /// The names of groups of which the controller knows something else, if it was told anything.
    fn news(&self, cluster: &ClusterKey, office: &Office, groups: &Groups) -> Option<Vec<String>> {
        let told = self.lock();
        let Some(told) = told.get(cluster).filter(|told| told.office == *office) else {
            return Some(groups.keys().cloned().collect());
        };
        let all: BTreeSet<_> = groups.keys().chain(told.groups.keys()).collect();
        let differs = |name: &&String| groups.get(*name) != told.groups.get(*name);
        let news: Vec<_> = all.into_iter().filter(differs).cloned().collect();
        (!news.is_empty()).then_some(news)
    }

    fn note(&self, cluster: &ClusterKey, office: &Office, groups: Groups) {
        let mut all = self.lock();
        let told = all.entry(cluster.clone()).or_default();
        if told.office != *office {
            *told = Told {
                office: office.clone(),
                ..Told::default()
            };
        }
        let now = Instant::now();
        let forgotten = groups.iter().filter(|(_, wanted)| wanted.forget);
        told.forgets = forgotten
            .map(|(name, _)| (name.clone(), told.forgets.get(name).copied().unwrap_or(now)))
            .collect();
        told.groups = groups;
    }

    /// Forgets what all but these were told.
    fn keep(&self, clusters: &BTreeSet<&ClusterKey>) {
        self.lock().retain(|cluster, _| clusters.contains(cluster));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterKey, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Declares until the operator is stopped.
pub(crate) async fn run(wakers: Vec<Waker<ConsumerGroup>>, context: Arc<Context>) {
    let work = async {
        if !(context.groups.ready().await && context.topics.ready().await) {
            return;
        }
        let mut engines = context.engines.changed();
        let mut resources = context.resources.subscribe();
        let mut unreadable = context.unreadable.changed();
        let mut offices = Vec::new();
        let mut is_due = true;
        loop {
            let now = current_offices(&context);
            if is_due || now != offices {
                is_due = !declare_all(&now, &wakers, &context).await;
                offices = now;
            }
            tokio::select! {
                changed = engines.changed() => if changed.is_err() { return },
                _ = resources.changed() => is_due = true,
                _ = unreadable.changed() => is_due = true,
                () = sleep(ANSWER_TIMEOUT), if is_due => {}
            }
            sleep(GATHER).await;
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = work => {}
    }
}

/// What decides who is told what, resources aside.
#[derive(Debug, Clone)]
struct Seat {
    cluster: ClusterKey,
    namespaces: Option<TopicNamespaces>,
    office: Office,
    handle: ControllerHandle,
}

impl PartialEq for Seat {
    fn eq(&self, other: &Self) -> bool {
        (&self.cluster, &self.namespaces, &self.office)
            == (&other.cluster, &other.namespaces, &other.office)
    }
}

/// Controllers that know what they are: before its first view one seems to have no cluster.
fn current_offices(context: &Context) -> Vec<Seat> {
    let keys = context.engines.keys().into_iter();
    let seats = keys.filter_map(|cluster| {
        let engine = context.engines.get(&cluster)?;
        // Of a cluster that cannot be read nobody knows whose groups it takes: what brokers remember holds.
        engine.defaults.as_ref()?;
        let handle = engine.running?.handle;
        let office = Office {
            cluster_id: handle.cluster_id(),
            controller_epoch: handle.view().controller_epoch,
        };
        (!office.cluster_id.is_empty()).then(|| Seat {
            cluster,
            namespaces: engine.cluster.spec.topic_namespaces.clone(),
            office,
            handle,
        })
    });
    seats.collect()
}

/// False if a controller could not be told.
async fn declare_all(seats: &[Seat], wakers: &[Waker<ConsumerGroup>], context: &Context) -> bool {
    let resources = context.groups.all();
    let uids = resources.iter().filter_map(|group| group.uid()).collect();
    context.settling.keep(&uids);
    context.checks.keep(&uids);
    context.told_losses.keep(&uids);
    context.metrics.group_conditions.keep(&uids);
    let clusters = seats.iter().map(|seat| &seat.cluster).collect();
    context.declared.keep(&clusters);
    let mut wanted = wanted(&resources, context);
    let mut is_told = true;
    for seat in seats {
        let groups = wanted.remove(&seat.cluster).unwrap_or_default();
        let news = context.declared.news(&seat.cluster, &seat.office, &groups);
        let Some(news) = news else {
            continue;
        };
        let told = timeout(ANSWER_TIMEOUT, seat.handle.set_groups(groups.clone())).await;
        if told.is_err() {
            tracing::warn!(cluster = %seat.cluster, "the controller does not take the groups' policies; telling it again");
            is_told = false;
            continue;
        }
        tracing::debug!(cluster = %seat.cluster, groups = groups.len(), "groups declared");
        context.declared.note(&seat.cluster, &seat.office, groups);
        wake(&seat.cluster, &news, &resources, wakers, context).await;
    }
    is_told
}

/// What is in force of them is shown in their status.
async fn wake(
    cluster: &ClusterKey,
    names: &[String],
    resources: &[Arc<ConsumerGroup>],
    wakers: &[Waker<ConsumerGroup>],
    context: &Context,
) {
    let owners = owners(resources, &context.engines);
    for name in names {
        if let Some(group) = owners.get(&(cluster.clone(), name.clone())) {
            for waker in wakers {
                waker.wake(&ObjectRef::from_obj(&***group)).await;
            }
        }
    }
}

/// All that is declared, by cluster.
fn wanted(resources: &[Arc<ConsumerGroup>], context: &Context) -> BTreeMap<ClusterKey, Groups> {
    let mut wanted = BTreeMap::<ClusterKey, Groups>::new();
    let owners = owners(resources, &context.engines);
    for ((cluster, name), group) in &owners {
        let policy = policy::of(group, cluster, name, context);
        if let Some(group) = declared(group, cluster, name, policy) {
            let groups = wanted.entry(cluster.clone()).or_default();
            groups.insert(name.clone(), group);
        }
    }
    let unreadable = context.unreadable.of::<ConsumerGroup>();
    let unreadable = unreadable.iter().filter_map(remembered);
    for (cluster, name, group) in strayed(resources, &owners).chain(unreadable) {
        let groups = wanted.entry(cluster).or_default();
        groups.entry(name).or_insert(group);
    }
    wanted
}

/// A resource that came to be refused where it was accepted keeps what it said before, unless the name is somebody else's by now: one that names another
/// cluster, or whose cluster does not take groups of its namespace any more.
fn strayed<T>(
    resources: &[Arc<ConsumerGroup>],
    owners: &BTreeMap<(ClusterKey, String), T>,
) -> impl Iterator<Item = (ClusterKey, String, WantedGroup)> {
    resources.iter().filter_map(|group| {
        let place = (
            home_of(&**group)?,
            group.status.as_ref()?.group_name.clone()?,
        );
        if owners.contains_key(&place) {
            return None;
        }
        let (cluster, name) = place;
        let wanted = WantedGroup {
            policy: (&last(group, &cluster, &name)?).into(),
            forget: false,
        };
        Some((cluster, name, wanted))
    })
}

/// What is declared of a group by the resource that owns its name. One that is paused, or says something that cannot be, keeps what it said before.
fn declared<E>(
    group: &ConsumerGroup,
    cluster: &ClusterKey,
    name: &str,
    policy: Result<EffectiveGroup, E>,
) -> Option<WantedGroup> {
    let is_paused = is_paused(group);
    let forget = !is_paused && deletion::is_to_be_forgotten(group);
    let effective = match policy {
        Ok(effective) if !is_paused => Some(effective),
        _ => last(group, cluster, name),
    };
    match effective {
        Some(effective) => Some(WantedGroup {
            policy: (&effective).into(),
            forget,
        }),
        None => forget.then(|| WantedGroup {
            policy: GroupPolicy::default(),
            forget,
        }),
    }
}

/// What was handed over last under this name.
fn last(group: &ConsumerGroup, cluster: &ClusterKey, name: &str) -> Option<EffectiveGroup> {
    let status = group.status.as_ref()?;
    let is_same = status.cluster.as_deref() == Some(&*cluster.to_string())
        && status.group_name.as_deref() == Some(name);
    is_same.then(|| status.effective.clone()).flatten()
}

/// A resource that cannot be read keeps what it said before.
fn remembered(invalid: &Invalid) -> Option<(ClusterKey, String, WantedGroup)> {
    let status: ConsumerGroupStatus = serde_json::from_value(invalid.status.clone()).ok()?;
    let (namespace, name) = status.cluster.as_deref()?.split_once('/')?;
    let cluster = ClusterKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let wanted = WantedGroup {
        policy: status.effective.as_ref()?.into(),
        forget: false,
    };
    Some((cluster, status.group_name?, wanted))
}

#[cfg(test)]
mod tests;
