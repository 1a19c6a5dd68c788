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

/// Makes sure that the cluster's controller runs with `defaults`. `None`: with what held before, or else with what changes nothing that is there.
pub(super) async fn ensure(
    key: &ClusterKey,
    defaults: Option<TopicDefaults>,
    context: &Arc<Context>,
) -> Result<(), OperatorError> {
    if let Some(defaults) = &defaults {
        context.engines.set_defaults(key, defaults.clone());
    }
    let engine = context.engines.get(key);
    let before = engine.as_ref().and_then(|engine| engine.defaults.clone());
    let running = engine.and_then(|engine| engine.running);
    if let Some(running) = running.filter(|running| running.handle.is_active()) {
        if let Some(defaults) = defaults {
            // A controller that does not take them now is told again with the next look.
            let _ = timeout(ANSWER_TIMEOUT, running.handle.set_defaults(defaults)).await;
        }
        return Ok(());
    }
    let store = KubeStore::new(context.client.clone(), &key.namespace, &key.name);
    let mode = Mode::Kubernetes {
        namespace: key.namespace.clone(),
    };
    let defaults = before.unwrap_or_else(without_settings);
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

/// For a controller that elects and says how things are, and is handed no topics: see [`crate::topic`]. It makes none of its own either.
fn without_settings() -> TopicDefaults {
    TopicDefaults {
        offsets_partitions: 0,
        ..TopicDefaults::default()
    }
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
