//! What every reconciler is given.

use std::sync::Arc;

use kube::Client;
use taffrail_crds::{ConsumerGroup, Topic};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::Applied,
    config::OperatorConfig,
    engines::Engines,
    events::Events,
    group::{Checks, Declared, Settling, ToldLosses},
    metrics::Metrics,
    stores::Stores,
    topic::Owners,
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
    pub(crate) topics: Stores<Topic>,
    pub(crate) groups: Stores<ConsumerGroup>,
    /// A Topic or ConsumerGroup says something else, or is gone.
    pub(crate) resources: watch::Sender<()>,
    pub(crate) applied: Applied,
    pub(crate) owners: Owners,
    pub(crate) declared: Declared,
    pub(crate) checks: Checks,
    pub(crate) settling: Settling,
    pub(crate) told_losses: ToldLosses,
    pub(crate) unreadable: Unreadable,
    /// When this operator became the active one.
    pub(crate) began: Instant,
    /// Cancelled when this operator is no longer active.
    pub(crate) stop: CancellationToken,
    /// What must have ended before another term begins.
    pub(crate) tasks: TaskTracker,
}
