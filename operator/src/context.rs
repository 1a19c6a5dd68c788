//! What every reconciler is given.

use std::sync::Arc;

use kube::Client;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::Applied,
    config::OperatorConfig,
    engines::Engines,
    events::Events,
    metrics::Metrics,
    topic::{Owners, Topics},
    watch::Unreadable,
    writes::Writer,
};

/// What every reconciler is given.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) config: OperatorConfig,
    pub(crate) engines: Arc<Engines>,
    pub(crate) writer: Writer,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) topics: Topics,
    pub(crate) applied: Applied,
    pub(crate) owners: Owners,
    pub(crate) unreadable: Unreadable,
    /// Cancelled when this operator is no longer active.
    pub(crate) stop: CancellationToken,
    /// What must have ended before another term begins.
    pub(crate) tasks: TaskTracker,
}
