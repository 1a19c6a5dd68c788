//! What a controller is told, and what it gets from outside.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use taffrail_core::TopicDefaults;

/// Who owns the topics of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Whoever calls `ApplyTopic` and `DeleteTopic`.
    Embedded,
    /// Kubernetes resources: those calls answer `MANAGED_BY_KUBERNETES` and name the kubectl line.
    Kubernetes {
        /// Of the cluster's resources.
        namespace: String,
    },
}

/// Settings of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Who owns the topics.
    pub mode: Mode,
    /// For messages to people.
    pub cluster_name: String,
    /// For topics that do not say, and for internal ones; `brokers_wanted` also says for how many brokers a first placement waits.
    pub defaults: TopicDefaults,
    /// How often brokers are asked to report.
    pub heartbeat_interval: Duration,
    /// A broker silent or gone for this long is suspected, or offline.
    pub suspect_after: Duration,
    /// A session silent for this long is ended.
    pub session_timeout: Duration,
    /// How long placement waits for the wanted number of brokers since one came or went.
    pub settle_time: Duration,
}

impl ControllerConfig {
    /// The usual settings.
    pub fn new(cluster_name: impl Into<String>, mode: Mode, defaults: TopicDefaults) -> Self {
        Self {
            mode,
            cluster_name: cluster_name.into(),
            defaults,
            heartbeat_interval: Duration::from_secs(1),
            suspect_after: Duration::from_secs(3),
            session_timeout: Duration::from_secs(10),
            settle_time: Duration::from_secs(10),
        }
    }
}

/// Time and chance.
pub struct Environment {
    /// Time since a fixed moment of this process. Never goes back.
    pub clock: Box<dyn Fn() -> Duration + Send>,
    /// Milliseconds since the epoch, as brokers say when records were appended. For what is shown, never for what is decided.
    pub wall_clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// 64 random bits: for identities.
    pub random: Box<dyn FnMut() -> u64 + Send>,
}

impl Environment {
    /// The machine's.
    pub fn system() -> Self {
        let start = Instant::now();
        Self {
            clock: Box::new(move || start.elapsed()),
            wall_clock: Arc::new(|| {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
                since_epoch.map_or(0, |since| since.as_millis() as u64)
            }),
            random: Box::new(rand::random),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
