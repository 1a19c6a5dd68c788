//! PartitionMaps and Brokers that somebody deletes: the controller whose they are is told, and writes them anew from what the brokers have.

use std::{fmt::Debug, pin::pin, sync::Arc};

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event},
    },
};
use taffrail_controller::ControllerHandle;

use crate::{
    active::scoped,
    context::Context,
    engines::{ClusterKey, Engines},
    store::CLUSTER_LABEL,
};

/// Watches one namespace, or all, until the operator is stopped.
pub(crate) async fn run<K>(namespace: Option<String>, context: Arc<Context>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Send
        + Sync
        + 'static,
{
    let records = scoped::<PartialObjectMeta<K>>(&context.client, namespace.as_deref());
    // Also those that lost their label: the store reads them nevertheless.
    let events = watcher::watcher(records, Config::default());
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
                tracing::warn!(%error, kind = %K::kind(&()), "cannot watch; trying again");
            }
            None => return,
        }
    }
}

/// Whose store may lack something. After a new list that is everybody's: nobody saw what went before it.
fn concerned<K>(event: &Event<PartialObjectMeta<K>>, engines: &Engines) -> Vec<ControllerHandle>
where
    K: Resource<DynamicType = ()>,
{
    let gone = match event {
        Event::Delete(record) => Some(record),
        Event::InitDone => None,
        Event::Apply(_) | Event::Init | Event::InitApply(_) => return Vec::new(),
    };
    let is_of = |key: &ClusterKey| {
        gone.is_none_or(|record| {
            let cluster = record.labels().get(CLUSTER_LABEL);
            record.namespace().as_ref() == Some(&key.namespace)
                && cluster.is_none_or(|cluster| *cluster == key.name)
        })
    };
    let handles = engines.handles().into_iter();
    let concerned = handles.filter(|(key, _)| is_of(key));
    concerned.map(|(_, handle)| handle).collect()
}
