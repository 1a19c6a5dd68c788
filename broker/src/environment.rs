//! What comes from outside the process, so that tests can bring their own.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use taffrail_log::{Disk, StdDisk};

use crate::logging::LogControl;

/// Disk, clock, randomness and log level of a broker.
#[derive(Clone)]
pub struct Environment {
    /// Where partitions are kept. The small files of the data directory always go to the real disk.
    pub disk: Arc<dyn Disk>,
    /// Milliseconds since the epoch.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Milliseconds since some moment; never goes back and never jumps: how long something takes.
    pub uptime: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// 64 random bits.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Changes the log level at run time; `None`: `PUT /log-level` says that it cannot.
    pub log_control: Option<LogControl>,
}

impl Environment {
    /// The real ones.
    pub fn real(log_control: Option<LogControl>) -> Self {
        Self {
            disk: Arc::new(StdDisk::default()),
            clock: Arc::new(system_time_ms),
            uptime: Arc::new({
                let started = Instant::now();
                move || started.elapsed().as_millis() as u64
            }),
            random: Arc::new(rand::random::<u64>),
            log_control,
        }
    }
}

fn system_time_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}
