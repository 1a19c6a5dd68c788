//! PartitionMaps that somebody deletes: the controller whose they are is told, and writes them anew from what the brokers have.

use std::{pin::pin, sync::Arc};

use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event},
    },
};
use taffrail_controller::ControllerHandle;
use taffrail_crds::PartitionMap;

use crate::{
    active::scoped,
    context::Context,
    engines::{ClusterKey, Engines},
    store::CLUSTER_LABEL,
};

/// Watches one namespace, or all, until the operator is stopped.
pub(crate) async fn run(namespace: Option<String>, context: Arc<Context>) {
    let maps = scoped::<PartialObjectMeta<PartitionMap>>(&context.client, namespace.as_deref());
    let events = watcher::watcher(maps, Config::default().labels(CLUSTER_LABEL));
    let mut events = pin!(events.default_backoff());
    loop {
        let event = tokio::select! {
            () = context.stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                for handle in concerned(&event, &context.engines) {
                    handle.store_changed().await;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot watch PartitionMaps; trying again");
            }
            None => return,
        }
    }
}

/// Whose store may lack something. After a new list that is everybody's: nobody saw what went before it.
fn concerned(
    event: &Event<PartialObjectMeta<PartitionMap>>,
    engines: &Engines,
) -> Vec<ControllerHandle> {
    let gone = match event {
        Event::Delete(map) => Some(map),
        Event::InitDone => None,
        Event::Apply(_) | Event::Init | Event::InitApply(_) => return Vec::new(),
    };
    let of = gone.map(|map| ClusterKey {
        namespace: map.namespace().unwrap_or_default(),
        name: map.labels().get(CLUSTER_LABEL).cloned().unwrap_or_default(),
    });
    let handles = engines.handles().into_iter();
    let concerned = handles.filter(|(key, _)| of.as_ref().is_none_or(|of| of == key));
    concerned.map(|(_, handle)| handle).collect()
}
