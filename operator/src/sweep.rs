//! Resources that vanished. A cluster's controller stops; a topic is no longer served and its data stays, to be adopted by a new Topic. Nothing is
//! deleted because an object vanished.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::runtime::reflector;
use taffrail_controller::Deleted;
use taffrail_core::{DeletionPolicy, internal::is_internal};
use taffrail_crds::BrokerCluster;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{context::Context, engines::ClusterKey, resolve::claimed_names, topic::delete, watch};

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(2);
/// A topic without a resource is served for this long: what is watched may be behind what was written.
const TOPIC_GRACE: Duration = Duration::from_secs(4);

/// Looks until the operator is stopped.
pub(crate) async fn run(clusters: Vec<reflector::Store<BrokerCluster>>, context: Arc<Context>) {
    let work = async {
        for store in &clusters {
            if !watch::is_filled(store).await {
                return;
            }
        }
        if !context.topics.ready().await {
            return;
        }
        let mut missing = BTreeMap::new();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            stop_vanished_clusters(&clusters, &context).await;
            retain_vanished_topics(&mut missing, &context).await;
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = work => {}
    }
}

async fn stop_vanished_clusters(clusters: &[reflector::Store<BrokerCluster>], context: &Context) {
    if !context.unreadable.is_empty() {
        return;
    }
    let live: Vec<_> = clusters
        .iter()
        .flat_map(reflector::Store::state)
        .map(|c| ClusterKey::of(&c))
        .collect();
    for key in context
        .engines
        .keys()
        .into_iter()
        .filter(|key| !live.contains(key))
    {
        if let Some(running) = context
            .engines
            .remove(&key)
            .and_then(|engine| engine.running)
        {
            tracing::info!(cluster = %key, "cluster is gone; its metadata and volumes stay");
            running.handle.stop().await;
        }
    }
}

async fn retain_vanished_topics(
    missing: &mut BTreeMap<(ClusterKey, String), Instant>,
    context: &Context,
) {
    if !context.unreadable.is_empty() {
        // It may be the resource of any topic.
        missing.clear();
        return;
    }
    let topics = context.topics.all();
    let mut still_missing = BTreeMap::new();
    for (key, handle) in context.engines.handles() {
        let claimed = claimed_names(&key, &topics, &context.engines);
        for topic in handle.topics() {
            if claimed.contains(&topic.name) || is_internal(&topic.name) {
                continue;
            }
            let place = (key.clone(), topic.name.clone());
            let since = *missing.get(&place).unwrap_or(&Instant::now());
            if since.elapsed() < TOPIC_GRACE {
                still_missing.insert(place, since);
                continue;
            }
            match delete(&handle, &topic.name, DeletionPolicy::Retain).await {
                Ok(
                    Deleted::Gone
                    | Deleted::Retained
                    | Deleted::NotEmpty
                    | Deleted::Deleting { .. },
                ) => {
                    context.owners.forget(&key, &topic.name);
                    tracing::info!(cluster = %key, topic = topic.name, "topic has no resource any more; its data stays");
                }
                Err(error) => {
                    tracing::warn!(cluster = %key, topic = topic.name, %error, "cannot take the topic out of service");
                    still_missing.insert(place, since);
                }
            }
        }
    }
    *missing = still_missing;
}
