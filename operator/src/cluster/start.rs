//! The controller of a cluster: started once, told of new defaults, started again when it lost its office.

use std::{sync::Arc, time::Duration};

use taffrail_controller::{ControllerConfig, ControllerHandle, Environment, Mode};
use taffrail_core::TopicDefaults;
use tokio::time::timeout;
use tonic::service::Routes;

use crate::{
    context::Context,
    engines::{ClusterKey, Running},
    error::OperatorError,
    store::KubeStore,
};

/// A controller answers, or is told again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes sure that the cluster's controller runs with `defaults`.
pub(super) async fn ensure(
    key: &ClusterKey,
    defaults: TopicDefaults,
    context: &Arc<Context>,
) -> Result<(), OperatorError> {
    let running = context.engines.get(key).and_then(|engine| engine.running);
    if let Some(running) = running.filter(|running| running.handle.is_active()) {
        // A controller that does not take them now is told again with the next look.
        let _ = timeout(ANSWER_TIMEOUT, running.handle.set_defaults(defaults)).await;
        return Ok(());
    }
    let store = KubeStore::new(context.client.clone(), &key.namespace, &key.name);
    let mode = Mode::Kubernetes {
        namespace: key.namespace.clone(),
    };
    let config = ControllerConfig::new(key.name.clone(), mode, defaults);
    let started = taffrail_controller::start(store, config, Environment::system()).await;
    let handle = started.map_err(|source| OperatorError::Controller {
        cluster: key.to_string(),
        source,
    })?;
    tracing::info!(cluster = %key, "controller took office");
    let (sessions, admin) = handle.services();
    let routes = Routes::new(sessions).add_service(admin).into_axum_router();
    let running = Running {
        handle: handle.clone(),
        routes,
    };
    context.engines.set_running(key, Some(running));
    context
        .tasks
        .spawn(follow(key.clone(), handle, context.clone()));
    Ok(())
}

/// Passes on what the controller sees until it loses its office or this operator does.
async fn follow(key: ClusterKey, handle: ControllerHandle, context: Arc<Context>) {
    let mut view = handle.changed();
    let mut groups = handle.groups_changed();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            () = handle.deposed() => {
                tracing::warn!(cluster = %key, "controller lost its office");
                break;
            }
            changed = view.changed() => match changed {
                Ok(()) => context.engines.touch(),
                Err(_) => break,
            },
            changed = groups.changed() => match changed {
                Ok(()) => context.engines.touch(),
                Err(_) => break,
            }
        }
    }
    let ours = context.engines.get(&key).and_then(|engine| engine.running);
    if ours.is_some_and(|running| !running.handle.is_active()) || context.stop.is_cancelled() {
        context.engines.set_running(&key, None);
    }
    handle.stop().await;
}
